//! Logs of attempts: what a handler and its programs said while the attempt ran.
//!
//! A log is one row, written again as a whole while the attempt runs, and bounded by who writes it. It decides nothing:
//! an attempt is settled whether its log could be written or not. It goes with its job, or before it, after
//! `[retention] logs`.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::attempt_log::LogLine;
use gristmill_core::id::JobId;
use gristmill_core::job::Fence;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// How many logs [`Logs::logs`] returns at most.
pub const LOGS_MAX: u32 = 20;

/// What attempts have said.
#[async_trait]
pub trait Logs: Debug + Send + Sync + 'static {
    /// Keeps what attempts have said so far, in one statement. A log takes the place of an older one of the same attempt:
    /// one with a lower revision, or one of another worker, which had the same number and gave the job back, while the worker
    /// of the new one holds the job. A log is left out whose job is gone, has had no such attempt, or is held by another worker
    /// in that attempt: it comes late. Returns how many were written.
    async fn write_logs(&self, logs: &[NewLog]) -> Result<u64>;

    /// Returns the logs of a job, those of its last attempts first: of one attempt if it is named, and at most `limit`.
    async fn logs(&self, tenant: &str, job: JobId, attempt: Option<u32>, limit: u32) -> Result<Vec<LogView>>;

    /// Removes at most `limit` logs that were written last before an instant, of all tenants. Returns how many it was.
    async fn prune_logs(&self, before: Instant, limit: u32) -> Result<u64>;
}

/// What an attempt has said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLog {
    /// The attempt, and who runs it.
    pub fence: Fence,
    /// Rises with each writing of this worker.
    pub revision: u64,
    /// How many lines it has said.
    pub said: u64,
    /// Those that are kept.
    pub lines: Vec<LogLine>,
}

/// What an attempt has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogView {
    /// Which of the job's attempts.
    pub attempt: u32,
    /// When it was written last.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub written_at: Instant,
    /// How many lines it has said; those that are not among `lines` were cut out.
    pub said: u64,
    /// Its first and its last lines.
    pub lines: Vec<LogLine>,
}
