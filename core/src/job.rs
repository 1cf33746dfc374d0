//! One unit of work: its states, and the fence that distinguishes one attempt from another.
//!
//! ```text
//! scheduled → queued → running → done
//!               ↑         ├→ retry (run_at) → queued
//!               │         ├→ dead (attempts spent | permanent) —redrive→ queued
//!               │         └→ queued (released at a graceful stop, or rescued)
//!   any state that is not final → cancelled
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Instant;
use crate::id::{BatchId, JobId, WorkerId};
pub use crate::job_state::JobState;
use crate::retry::RetryPolicy;
use crate::unique::Unique;
pub use crate::words::UnknownWord;

crate::words! {
    /// Which of a queue's three priorities a job has.
    #[derive(Default, PartialOrd, Ord)]
    pub enum Priority {
        /// Before everything else.
        High = "high",
        /// The usual one.
        #[default]
        Normal = "normal",
        /// When nothing else waits.
        Low = "low",
    }
}

impl Priority {
    /// 0 for high, 1 for normal, 2 for low: how the store keeps and sorts it.
    pub fn rank(self) -> i16 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// The priority of a rank, if there is one.
    pub fn from_rank(rank: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.rank() == rank)
    }
}

/// The queue when none is given.
pub const DEFAULT_QUEUE: &str = "default";

/// The most bytes that a job's payload may have as JSON: 1 MiB.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// The most levels of arrays and objects inside one another that a payload may have. A reader of JSON gives up at 128,
/// and a payload stands inside other documents.
pub const PAYLOAD_DEPTH_MAX: usize = 100;

/// A job that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its id, chosen by the enqueuer.
    pub id: JobId,
    /// Its tenant.
    pub tenant: String,
    /// Its queue.
    pub queue: String,
    /// Its priority.
    pub priority: Priority,
    /// Its key for turns and limits, such as a customer: at most [`crate::limit::KEY_BYTES_MAX`] bytes.
    pub key: Option<String>,
    /// What it does.
    pub kind: String,
    /// Which version of its kind's payload this is, 1 or more. Only workers that read this version claim the job.
    pub version: u32,
    /// Its input. At most [`PAYLOAD_BYTES_MAX`] as JSON, and at most [`PAYLOAD_DEPTH_MAX`] levels deep.
    pub payload: Value,
    /// When it may start. `None` is now.
    pub run: RunAt,
    /// How many attempts it has, at least 1.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// How many times its handler may say "come again later" without an attempt being spent.
    pub max_snoozes: u32,
    /// A second enqueue with the same key returns the first job's id and creates nothing.
    pub idempotency_key: Option<String>,
    /// Its unique key: how long it keeps other jobs out, and what happens when another job holds it.
    pub unique: Option<Unique>,
    /// The W3C trace context of its cause.
    pub trace: Option<String>,
    /// The batch that it belongs to, when it is part of one without being a chunk (aggregate, effects).
    pub batch: Option<BatchId>,
}

/// When a job may start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum RunAt {
    /// As soon as a worker is free.
    #[default]
    Now,
    /// This long after the database's current time.
    In(Duration),
    /// At this instant, by the database's clock.
    At(Instant),
}

impl NewJob {
    /// A job of a kind with everything else at its default: queue `default`, normal priority, now, 5 attempts, 15
    /// minutes for each, exponential waits.
    pub fn new(id: JobId, kind: impl Into<String>, payload: Value) -> Self {
        Self {
            id,
            tenant: crate::id::DEFAULT_TENANT.to_owned(),
            queue: DEFAULT_QUEUE.to_owned(),
            priority: Priority::Normal,
            key: None,
            kind: kind.into(),
            version: 1,
            payload,
            run: RunAt::Now,
            max_attempts: 5,
            timeout: Duration::from_secs(15 * 60),
            retry: RetryPolicy::default(),
            max_snoozes: crate::settle::SNOOZES_MAX,
            idempotency_key: None,
            unique: None,
            trace: None,
            batch: None,
        }
    }
}

/// The name by which a worker declares that it serves a kind and one version of its payload: `kind` for version 1,
/// `kind@VERSION` for others.
pub fn served(kind: &str, version: u32) -> String {
    if version == 1 { kind.to_owned() } else { format!("{kind}@{version}") }
}

/// Which attempt at which job, by which worker. Only the holder may record how that attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// Which of its attempts, counted from 1. Only claiming raises it.
    pub attempt: u32,
    /// The worker incarnation that claimed it.
    pub worker: WorkerId,
}

/// A job that a worker has claimed and must now run.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedJob {
    /// The right to settle it.
    pub fence: Fence,
    /// Its tenant.
    pub tenant: String,
    /// The queue that it waited on.
    pub queue: String,
    /// Its priority.
    pub priority: Priority,
    /// Its key for turns and limits.
    pub key: Option<String>,
    /// What it does.
    pub kind: String,
    /// Which version of its kind's payload this is.
    pub version: u32,
    /// Its input.
    pub payload: Value,
    /// The batch that it belongs to.
    pub batch: Option<BatchId>,
    /// Its number among the batch's chunks, when it is one.
    pub seq: Option<i64>,
    /// The batch's generation that it counts for.
    pub generation: u32,
    /// How many attempts it has in all.
    pub max_attempts: u32,
    /// How many of them were snoozed, and so not spent.
    pub snoozes: u32,
    /// How many times it may be snoozed.
    pub max_snoozes: u32,
    /// How long this attempt may take.
    pub timeout: Duration,
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// The W3C trace context of its cause.
    pub trace: Option<String>,
    /// When it was enqueued.
    pub created_at: Instant,
    /// When it became claimable.
    pub queued_at: Instant,
    /// When it was claimed, by the database's clock.
    pub started_at: Instant,
}
