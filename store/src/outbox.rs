//! The outbox: what was committed and waits to be published.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use serde::Serialize;

use crate::error::Result;

pub use gristmill_core::dispatch::{DeadLetter, Dispatch, Purpose};

/// The outbox: what was committed and waits to be published.
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Takes outbox rows that are older than `older_than` and that no relay holds, at most `limit`, and holds them for
    /// 30 seconds, so that two relays do not publish the same rows at once. Of each purpose, queue and priority at most
    /// the oldest `share` rows are held at any time, and each contributes in its turn: a backlog of one does not keep
    /// the rows of others waiting.
    async fn outbox_take(&self, older_than: Duration, share: u32, limit: u32) -> Result<Vec<Dispatch>>;

    /// Removes outbox rows whose confirms are all in.
    async fn outbox_done(&self, ids: &[i64]) -> Result<()>;

    /// Returns how many outbox rows wait, and since when the oldest does.
    async fn outbox_backlog(&self) -> Result<OutboxBacklog>;

    /// Redispatch: writes outbox rows for jobs that have been `queued` for longer than `lost.older_than` (the broker
    /// has lost their messages, or never had one). They are taken by priority, then by age (a job of a batch is as old as its batch), after `lost.after`. Paused
    /// jobs are left alone, and so are misrouted ones, whose messages would be misrouted again, limited ones, which
    /// need none, and those of a priority for which outbox rows have been waiting for as long: these are published
    /// first.
    async fn redispatch(&self, queue: &str, lost: &LostJobs) -> Result<Dispatched>;

    /// Returns what is known of jobs that are dead, for their copies. A job that is dead no longer is left out.
    async fn dead_letters(&self, jobs: &[JobId]) -> Result<Vec<DeadLetter>>;
}

/// Which jobs of a queue are redispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostJobs {
    /// Only those that have been queued for so long: the message of a younger one may be on its way.
    pub older_than: Duration,
    /// Only those that come after this job of this priority, which was the last one of the page before.
    pub after: Option<(Priority, JobId)>,
    /// How many at most.
    pub limit: u32,
}

/// What a transition made claimable, for its caller to publish after the commit. Empty when no broker is configured
/// (then nothing is written to the outbox; the hint is enough).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// The outbox rows of this transaction.
    pub dispatches: Vec<Dispatch>,
    /// How many jobs changed their state.
    pub moved: u64,
}

/// How much waits to be published.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OutboxBacklog {
    /// Rows.
    pub rows: u64,
    /// When the oldest was written.
    pub oldest: Option<Instant>,
}
