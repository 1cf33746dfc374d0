//! A row of the table `job` that is to be inserted.

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::unique::OnConflict;

use super::row::{later, micros};
use crate::check;
use crate::error::Result;

/// One row for the table `job`, as the statement below takes it apart.
#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) key: Option<String>,
    pub(super) kind: String,
    pub(super) state: JobState,
    pub(super) max_attempts: u32,
    pub(super) max_snoozes: u32,
    pub(super) version: u32,
    pub(super) timeout_ms: i64,
    pub(super) retry: String,
    pub(super) payload: String,
    pub(super) batch: Option<BatchId>,
    pub(super) seq: Option<i64>,
    pub(super) items: u64,
    /// `None` takes the batch's own.
    pub(super) generation: Option<u32>,
    pub(super) idempotency_key: Option<String>,
    pub(super) unique: Option<UniqueColumns>,
    pub(super) trace: Option<String>,
    pub(super) run_at: Option<i64>,
}

/// The columns of a unique key.
#[derive(Debug, Clone)]
pub(super) struct UniqueColumns {
    pub(super) key: String,
    pub(super) rule: Option<String>,
    pub(super) until: Option<i64>,
}

impl JobRow {
    /// Whether nothing but its id can be there already.
    pub(super) fn is_plain(&self) -> bool {
        self.idempotency_key.is_none() && self.unique.is_none() && self.seq.is_none()
    }

    /// The row of a requested job.
    pub(super) fn of(job: &NewJob, now: i64) -> Result<Self> {
        let run_at = due(job, now).filter(|run_at| *run_at > now);
        Ok(Self {
            id: job.id,
            tenant: job.tenant.clone(),
            queue: job.queue.clone(),
            priority: job.priority,
            key: job.key.clone(),
            kind: job.kind.clone(),
            state: if run_at.is_some() { JobState::Scheduled } else { JobState::Queued },
            max_attempts: job.max_attempts,
            max_snoozes: job.max_snoozes,
            version: job.version.max(1),
            timeout_ms: millis(job.timeout),
            retry: check::json(&job.retry)?,
            payload: check::payload(&job.payload)?,
            batch: job.batch,
            seq: None,
            items: 0,
            generation: None,
            idempotency_key: job.idempotency_key.clone(),
            unique: job.unique.as_ref().map(|unique| UniqueColumns {
                key: unique.key.clone(),
                rule: unique.hold.rule(),
                until: unique.hold.period().map(|period| later(now, period)),
            }),
            trace: job.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
            run_at,
        })
    }
}

/// When a job is due. A job to be debounced waits for others from the start.
pub(super) fn due(job: &NewJob, now: i64) -> Option<i64> {
    match (job.run, job.unique.as_ref().map(|unique| unique.conflict)) {
        (RunAt::Now, Some(OnConflict::Debounce { wait, .. })) => Some(later(now, wait)),
        (RunAt::Now, _) => None,
        (RunAt::In(wait), _) => Some(later(now, wait)),
        (RunAt::At(at), _) => Some(micros(at)),
    }
}

/// A timeout as it is stored: at least a millisecond, at most what fits.
pub(super) fn millis(timeout: std::time::Duration) -> i64 {
    i64::try_from(timeout.as_millis()).unwrap_or(check::MILLIS_MAX).clamp(1, check::MILLIS_MAX)
}
