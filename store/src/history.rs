//! History: how much passed through queues in each minute and hour, and how long it waited and ran.
//!
//! The transaction that creates jobs or ends attempts also writes what has passed with it, as a few rows of the table
//! `flow`: one for each queue, kind and bucket of times, whatever the number of jobs. [`History::fold_history`] moves
//! those rows into minutes and hours. Each row has the instant of its own transaction, so that every job counts in its own
//! minute exactly once, however late the transaction is committed or the rows are moved.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::history::{HistoryStep, Throughput};

use crate::error::Result;

/// How many rows [`History::fold_history`] moves at most.
pub const FOLD_ROWS_MAX: u32 = 5_000;

/// How many points [`History::history`] returns at most.
pub const HISTORY_POINTS_MAX: u32 = 50_000;

/// What has passed, and when.
#[async_trait]
pub trait History: Debug + Send + Sync + 'static {
    /// Moves at most `limit` rows of what has passed into their minutes and hours, in one
    /// transaction. Returns how many it was; fewer than `limit` means that none is left. Several processes may do this at
    /// once.
    async fn fold_history(&self, limit: u32) -> Result<u64>;

    /// Returns points of history by time, queue and kind, those in which anything passed. What was not moved yet is not
    /// among them.
    async fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryPoint>>;

    /// Removes at most `limit` points of a step that begin before an instant, of all tenants. Returns how many it was.
    async fn prune_history(&self, step: HistoryStep, before: Instant, limit: u32) -> Result<u64>;
}

/// Selects points of history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryFilter {
    /// Of this tenant.
    pub tenant: String,
    /// Of this length.
    pub step: HistoryStep,
    /// That begin at or after this instant.
    pub from: Instant,
    /// That begin before this instant.
    pub until: Instant,
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// How many, at most [`HISTORY_POINTS_MAX`]; the newest come first into it.
    pub limit: u32,
}

/// What passed in a minute or an hour through one queue, of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPoint {
    /// When the minute or hour begins.
    pub at: Instant,
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// How much it was.
    pub passed: Throughput,
}
