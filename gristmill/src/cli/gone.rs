//! What is not there: it never was, or it was deleted after its time.

use gristmill_core::id::{BatchId, JobId};
use gristmill_store::{PruneNoun, Result, StoreHandle};

use crate::exit_code::CommandError;

/// What is said of rows that are deleted.
const KEPT: &str = "[retention] says how long they are kept, and its `archive` where they are written first";

/// The error for a job that is not there.
pub(crate) async fn no_job(store: &StoreHandle, tenant: &str, job: JobId) -> CommandError {
    if job_gone(store, job).await.unwrap_or(false) {
        return CommandError::not_found(format!("the job {job} is gone: jobs as old as it are deleted")).hint(KEPT);
    }
    CommandError::not_found(format!("there is no job {job} of `{tenant}`")).hint("see `gristmill job list` for the ids")
}

/// The error for a batch that is not there.
pub(crate) async fn no_batch(store: &StoreHandle, tenant: &str, batch: BatchId) -> CommandError {
    if batch_gone(store, batch).await.unwrap_or(false) {
        let text = format!("the batch {batch} is gone: batches as old as it are deleted");
        return CommandError::not_found(text).hint(KEPT);
    }
    CommandError::not_found(format!("there is no batch {batch} of `{tenant}`"))
        .hint("see `gristmill batch list` for the ids")
}

async fn job_gone(store: &StoreHandle, job: JobId) -> Result<bool> {
    Ok(!store.gone_jobs(&[job]).await?.is_empty())
}

async fn batch_gone(store: &StoreHandle, batch: BatchId) -> Result<bool> {
    let pruned = store.pruned().await?;
    let of_batches = pruned.iter().find(|view| view.noun == PruneNoun::Batches);
    Ok(of_batches.and_then(|view| view.horizon).is_some_and(|horizon| batch.0 <= horizon))
}
