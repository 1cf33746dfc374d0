//! The outbox: what was committed and waits to be published.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use serde::Serialize;

use crate::error::Result;

pub use gristmill_core::dispatch::{Dispatch, Purpose};

/// The outbox: what was committed and waits to be published.
#[async_trait]
pub trait Outbox: Debug + Send + Sync + 'static {
    /// Takes outbox rows that are older than `older_than` and that no relay holds, and holds them for 30 seconds, so
    /// that two relays do not publish the same rows at once.
    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>>;

    /// Removes outbox rows whose confirms are all in.
    async fn outbox_done(&self, ids: &[i64]) -> Result<()>;

    /// Returns how many outbox rows wait, and since when the oldest does.
    async fn outbox_backlog(&self) -> Result<OutboxBacklog>;

    /// Writes outbox rows for at most `limit` jobs that have been `queued` for longer than `older_than` without one
    /// (the broker has lost their messages). Paused jobs are left alone, and so are misrouted ones, whose messages
    /// would be misrouted again, and limited ones, which need none. Nothing is dispatched while 20,000 of the queue's
    /// jobs wait to be published: the relay is behind, and what is lost is found when it has caught up.
    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched>;
}

/// How many ids of one queue may wait to be published when the broker's losses are looked for.
pub(crate) const UNPUBLISHED_MAX: i64 = 20_000;

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
