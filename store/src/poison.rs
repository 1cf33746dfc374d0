//! Messages that no process can act upon, kept as evidence.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;
use crate::{ControlReport, Page};

/// How many bytes of one message are kept at most, the same limit as in the migrations: 64 KiB.
pub const POISON_BYTES_MAX: usize = 64 * 1024;

/// Poison: messages that no process can act upon, kept as evidence.
#[async_trait]
pub trait Poison: Debug + Send + Sync + 'static {
    /// Keeps messages, in one transaction. One that is already kept, by queue and hash, is counted. To be committed
    /// before the message is acknowledged: afterwards this is the only copy.
    async fn record_poison(&self, poison: &[NewPoison]) -> Result<()>;

    /// Returns the given ids that no job has, that no job of a discarded batch had, and that are younger than all jobs
    /// that were deleted.
    async fn unknown_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>>;

    /// Returns the kept messages, newest first.
    async fn poison(&self, page: &Page) -> Result<Vec<PoisonView>>;

    /// Returns one of them with its headers and bytes. `None` when there is none.
    async fn poison_message(&self, id: i64) -> Result<Option<PoisonMessage>>;

    /// Deletes kept messages. Unknown ids are skipped.
    async fn drop_poison(&self, ids: &[i64], dry_run: bool) -> Result<ControlReport>;
}

/// Which consumer met a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoisonSource {
    /// A worker, on a priority of a queue.
    Worker,
    /// The scheduler, among the messages that the broker gave up on.
    Returned,
}

impl PoisonSource {
    /// Its name in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Returned => "returned",
        }
    }
}

/// A message to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPoison {
    /// The queue that it came through; empty when that is not known.
    pub queue: String,
    /// The SHA-256 of the whole message, in hexadecimal.
    pub sha256: String,
    /// How many bytes the whole message has.
    pub size: u64,
    /// Its first bytes; at most [`POISON_BYTES_MAX`] are kept.
    pub bytes: Vec<u8>,
    /// Its properties and headers, as far as they are worth keeping: a JSON object.
    pub headers: Value,
    /// Why no process can act upon it. Never quotes it.
    pub reason: String,
    /// Which consumer met it.
    pub source: PoisonSource,
}

/// A message that was kept, without its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PoisonView {
    /// Its number; also its key in lists.
    pub id: i64,
    /// The queue that it came through; empty when that is not known.
    pub queue: String,
    /// The SHA-256 of the whole message, in hexadecimal.
    pub sha256: String,
    /// How many bytes the whole message has.
    pub size: u64,
    /// Why no process can act upon it, as reported last.
    pub reason: String,
    /// Which consumer met it last.
    pub source: String,
    /// How often it came.
    pub seen: u64,
    /// When it came first.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub first_at: Instant,
    /// When it came last.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub last_at: Instant,
}

/// A message that was kept, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct PoisonMessage {
    /// What the list says of it.
    pub view: PoisonView,
    /// Its properties and headers, from the last time that it came.
    pub headers: Value,
    /// Its first bytes, at most [`POISON_BYTES_MAX`].
    pub bytes: Vec<u8>,
}
