//! What an enqueue answers.

use gristmill_core::id::JobId;
use gristmill_core::job::{NewJob, Priority};
use gristmill_store::{EnqueueOutcome, Enqueued};
use serde::{Deserialize, Serialize};

/// The outcome of a request for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnqueuedOneDocument {
    /// The job, or the one that stands in its place.
    pub job: Enqueued,
}

/// The outcome of a request for many jobs: how many of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnqueuedManyDocument {
    /// Made just now.
    pub enqueued: u64,
    /// There already, and left as they were.
    pub existing: u64,
    /// Took the place of one that had not begun.
    pub replaced: u64,
    /// Made one that had not begun wait anew.
    pub debounced: u64,
    /// The jobs, in the order of the request.
    #[serde(default)]
    pub ids: Vec<JobId>,
    /// How they have ended, where that was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndedJobsDocument>,
}

/// How jobs have ended: how many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EndedJobsDocument {
    /// Succeeded.
    pub done: u64,
    /// Failed for good.
    pub dead: u64,
    /// Were called off.
    pub cancelled: u64,
}

impl EnqueuedManyDocument {
    /// Adds the outcomes of further jobs.
    pub fn add(&mut self, jobs: &[Enqueued]) {
        self.ids.extend(jobs.iter().map(|job| job.id));
        for job in jobs {
            *match job.outcome {
                EnqueueOutcome::Created => &mut self.enqueued,
                EnqueueOutcome::Existing => &mut self.existing,
                EnqueueOutcome::Replaced => &mut self.replaced,
                EnqueueOutcome::Debounced => &mut self.debounced,
            } += 1;
        }
    }
}

/// What a dry run answers to a request for one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldEnqueueDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// Always 1.
    pub would_enqueue: u64,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Its priority.
    pub priority: Priority,
    /// How many attempts it would have.
    pub max_attempts: u32,
}

impl From<&NewJob> for WouldEnqueueDocument {
    fn from(job: &NewJob) -> Self {
        Self {
            dry_run: true,
            would_enqueue: 1,
            kind: job.kind.clone(),
            queue: job.queue.clone(),
            priority: job.priority,
            max_attempts: job.max_attempts,
        }
    }
}

/// What a dry run answers to a request for many jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldEnqueueManyDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// How many jobs were asked for.
    pub would_enqueue: u64,
}
