//! What an operator stops, cancels and lets go.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::id::{BatchId, JobId};

use crate::Dispatched;
use crate::error::Result;

/// What an operator stops, cancels and lets go.
#[async_trait]
pub trait Control: Debug + Send + Sync + 'static {
    /// Stops the claiming of all jobs of a batch, or with `None` lets it go. Resuming dispatches what waits. One that has
    /// ended cannot be paused, but resumed if it was paused before it ended: what it sends waits for that. What is
    /// paused already stays so, as it was paused first.
    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Cancels a batch for good: its unfinished jobs become `cancelled`, no aggregate will run.
    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Cancels a job that is not final. A chunk's items count as cancelled. Of one that runs, the attempt is closed
    /// as `cancelled` in the same transaction: its worker is fenced from then on, and told by
    /// [`Workers::wait_for_revocation`](crate::Workers::wait_for_revocation).
    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Cancels those of the named jobs that are not final, at most [`GROUP_JOBS_MAX`], in one transaction. Others, and
    /// aggregates, without which their batch could not end, are passed over: safe to be run again after a part.
    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Lets a job in state `retry` or `scheduled` run now. For a dead one, see [`Redrives::redrive_dead`](crate::Redrives::redrive_dead).
    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport>;

    /// Stops the claiming from a queue, or with `None` lets it go. Resuming dispatches what waits and nothing else holds;
    /// a queue that is not paused is left as it is, and one that is, as it was paused first.
    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;
}

/// What a command by hand did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ControlReport {
    /// How many jobs (or items) it changed.
    pub affected: u64,
    /// Up to five of them, as samples.
    pub samples: Vec<String>,
    /// The batch's generation afterwards, where one was opened.
    pub generation: Option<u32>,
    /// What may now be published. Empty at a dry run.
    pub dispatched: Dispatched,
}

/// What is said of a pause, for operators who wonder later. Texts are cut at 1,000 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    /// Who pauses, such as `USER@HOST`.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}
