//! What is published: ids of jobs that have been committed as claimable.

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::job::Priority;

/// Ids that have been committed as claimable and may now be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The outbox row that holds them.
    pub outbox: i64,
    /// The queue.
    pub queue: String,
    /// The priority.
    pub priority: Priority,
    /// What the ids are for.
    pub purpose: Purpose,
    /// The jobs.
    pub jobs: Vec<JobId>,
}

/// What the copy of a dead job says beside its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: String,
    /// Its last attempt.
    pub attempt: u32,
    /// Why it is dead.
    pub error: Option<String>,
    /// The W3C trace context of its cause.
    pub trace: Option<String>,
}

/// Where an outbox row is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To the dispatch queue, for a worker to claim them.
    Dispatch,
    /// To the dead letter queue: a copy, so that the broker's own tools show it.
    DeadLetter,
}
