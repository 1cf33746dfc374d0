//! What an operator pauses, cancels and resumes.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::audit::fingerprint;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job_edit::{Edited, JobEdit, NotEdited, Waiting};
use serde_json::{Value, json};

use crate::error::{Result, StoreError};
use crate::{Dispatched, check};

/// What an operator pauses, cancels and resumes.
#[async_trait]
pub trait Control: Debug + Send + Sync + 'static {
    /// Pauses the claiming of all jobs of a batch, or with `None` resumes it. Resuming dispatches what waits. A batch
    /// that has ended cannot be paused, but can be resumed if it was paused before it ended: its follow-up jobs wait
    /// for that. A batch that is paused already keeps its first pause.
    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Cancels a batch for good: its unfinished jobs become `cancelled`, and no aggregate will run. More than 5,000 chunks
    /// are cancelled in several transactions: the first decides, and ends what runs; nothing starts between them; and when
    /// the caller dies in between, [`Duties::continue_stops`](crate::Duties::continue_stops) does the rest.
    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Cancels a job that is not final. A chunk's items count as cancelled. If it is running, the attempt is closed as
    /// `cancelled` in the same transaction: its worker is fenced from then on, and learns of it through
    /// [`Workers::wait_for_revocation`](crate::Workers::wait_for_revocation).
    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Cancels the named jobs that are not final, at most [`GROUP_JOBS_MAX`](crate::GROUP_JOBS_MAX), in one transaction. All others are
    /// skipped, and so are aggregates, without which their batch could not end: safe to repeat after a partial run.
    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport>;

    /// Lets a job in state `retry` or `scheduled` run now. For a dead one, see [`Redrives::redrive_dead`](crate::Redrives::redrive_dead).
    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport>;

    /// Changes a job that waits, as [`gristmill_core::job_edit`] decides: its priority, its queue, its time, its payload. It
    /// keeps its id, its attempts and its unique key; where it may be claimed afterwards, it is dispatched anew, and a
    /// message of before is stale where the worker does not serve the queue. [`StoreError::Conflict`](crate::StoreError)
    /// for one that does not wait, or is another edition.
    async fn edit_job(&self, tenant: &str, job: JobId, edit: &JobEdit, dry_run: bool) -> Result<ControlReport>;

    /// Pauses the claiming from a queue, or with `None` resumes it. Resuming dispatches what waits and is not held back
    /// otherwise; a queue that is not paused is left as it is, and one that is paused already keeps its first pause.
    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport>;
}

/// What the audit says of an edited job: what of it is another than before. Of payloads it has the hashes alone.
pub(crate) fn edited(was: &Waiting<'_>, is: &Edited) -> [Value; 2] {
    let payload = |payload: &Value| is.payload.is_some().then(|| fingerprint(&payload.to_string()));
    let shown = |state, queue: &str, priority, run_at, payload| {
        let mut shown = json!({ "state": state, "queue": queue, "priority": priority, "run_at": run_at });
        if let (Some(payload), Some(fields)) = (payload, shown.as_object_mut()) {
            fields.insert("payload".to_owned(), json!(payload));
        }
        shown
    };
    let after = is.payload.as_ref().unwrap_or(was.payload);
    [
        shown(was.state, was.queue, was.priority, was.run_at, payload(was.payload)),
        shown(is.state, &is.queue, is.priority, is.run_at, payload(after)),
    ]
}

/// Refuses an edit that no store can keep.
pub(crate) fn editable(edit: &JobEdit) -> Result<()> {
    edit.queue.iter().try_for_each(|queue| check::queue(queue))?;
    edit.payload
        .iter()
        .try_for_each(|payload| check::readable(payload).and_then(|()| check::payload(payload).map(drop)))
}

/// There is no such job.
pub(crate) fn no_job(job: JobId) -> StoreError {
    StoreError::NotFound(format!("there is no job {job}; `gristmill job list` shows those that are there"))
}

/// The refusal of an edit.
pub(crate) fn not_edited(job: JobId, why: &NotEdited) -> StoreError {
    StoreError::Conflict(format!("job {job} {why}"))
}

/// What an operator's command did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ControlReport {
    /// How many jobs (or items) it changed.
    pub affected: u64,
    /// Up to five of them as samples.
    pub samples: Vec<String>,
    /// The batch's generation afterwards, if one was opened.
    pub generation: Option<u32>,
    /// What may be published now. Empty for a dry run.
    pub dispatched: Dispatched,
}

/// What is recorded about a pause, for operators who wonder later. Texts are cut at 1,000 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    /// Who pauses it, such as `USER@HOST`.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}
