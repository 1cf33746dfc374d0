//! Spools: removes the spools of inputs that no batch reads any more.

use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_jobs::source::remove_spooled;
use gristmill_store::{Duties, Result, StoreError};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How many batches are looked at each time.
const LIMIT: u32 = 100;

/// Removes the spools that batches have left behind, and returns how many files there were. Those of a batch that ended
/// with work undone are kept for `keep`, because a restart or a redrive reads them again. A spool in a folder that
/// cannot be seen from this machine is left to a scheduler that can see it.
///
/// # Errors
///
/// Store errors, and the first file that cannot be removed; the next call comes back to it.
pub async fn spools(store: &dyn Duties, keep: Duration) -> Result<u64> {
    let mut files = 0;
    for (batch, fingerprint) in store.spools(keep, LIMIT).await? {
        let removed = tokio::task::spawn_blocking(move || remove_spooled(&fingerprint)).await;
        let removed = removed.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        // A disk that refuses now may accept it tomorrow.
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

/// Removes what is older than `keep`.
pub(super) struct Spools {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) keep: Duration,
}

impl Duty for Spools {
    fn name(&self) -> &'static str {
        "spools"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            spools(&*self.common.store, self.keep).await?;
            Ok(Next::Beat)
        })
    }
}
