//! Batches that are late are told of, and copies of inputs that nobody reads any more are removed.

use std::time::Duration;

use gristmill_jobs::source::remove_spooled;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Result, StoreError, StoreHandle};

/// How many batches one step looks at.
const LIMIT: u32 = 100;

/// Enqueues what `on.late` says for batches that have not ended by their deadline: how many jobs those are.
///
/// # Errors
///
/// Those of the store.
pub async fn late(store: &StoreHandle, dispatcher: &Dispatcher) -> Result<u64> {
    Ok(dispatcher.after(store.notify_late(LIMIT)).await?.moved)
}

/// Removes the copies of inputs that batches have left behind: how many files they were. Those of a batch that ended
/// with work undone are kept for `keep`, because a restart or a redrive reads them again. A copy in a folder that
/// cannot be seen from this machine is left to a scheduler that can see it.
///
/// # Errors
///
/// Those of the store, and the first file that cannot be removed; the next call comes back to it.
pub async fn spools(store: &StoreHandle, keep: Duration) -> Result<u64> {
    let mut files = 0;
    for (batch, fingerprint) in store.spools(keep, LIMIT).await? {
        let removed = tokio::task::spawn_blocking(move || remove_spooled(&fingerprint)).await;
        let removed = removed.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        // A disk that refuses may take it tomorrow.
        match removed.map_err(|error| StoreError::Unavailable(error.to_string()))? {
            Some(removed) => {
                files += u64::from(removed);
                store.spools_removed(batch).await?;
            }
            None => tracing::debug!(batch.id = %batch, "its spools are on another machine"),
        }
    }
    Ok(files)
}
