//! Batches, from their creation to the seal.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::{ChunkPayload, SourceFingerprint};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, JobId};
use serde_json::Value;

use crate::Dispatched;
use crate::error::Result;

/// Batches, from their creation to the seal.
#[async_trait]
pub trait Batches: Debug + Send + Sync + 'static {
    /// Creates a batch in state `open` without chunks. A known idempotency key gives the first one.
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch>;

    /// Adds chunks: jobs, `remaining += n`, `input += items` and one outbox row in one transaction. At most
    /// [`GROUP_JOBS_MAX`]. A chunk number that exists already is left as it is, so that a planner
    /// that does not know whether it had committed may simply go on. Refused with
    /// [`StoreError::Conflict`](crate::StoreError::Conflict) when the batch is not `open`.
    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched>;

    /// Seal: no more chunks will come. Fires the aggregate at once when nothing remains. Sealing a
    /// sealed batch is a no-op.
    async fn seal(&self, batch: BatchId) -> Result<Dispatched>;

    /// Takes a batch back whose plan failed before it was sealed: the batch and all that belongs to
    /// it vanish. Refused with [`StoreError::Conflict`](crate::StoreError::Conflict) when it is not `open`, or a chunk has been
    /// claimed already: then the caller cancels it instead.
    async fn discard_batch(&self, batch: BatchId) -> Result<()>;

    /// Batches that are still `open` although no chunk was added for so long: their planner is
    /// gone. Tenant and id, the oldest first. Views alone; what becomes of them is the caller's.
    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>>;
}

/// A batch that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBatch {
    /// Its id.
    pub id: BatchId,
    /// Whose it is.
    pub tenant: String,
    /// The name of its definition.
    pub name: String,
    /// A copy of its definition.
    pub definition: BatchDefinition,
    /// What the source looks like now.
    pub fingerprint: SourceFingerprint,
    /// Parameters of this run.
    pub params: Value,
    /// A second creation with the same key gives the first one's id and makes nothing.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the caller.
    pub trace: Option<String>,
}

/// What a creation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedBatch {
    /// The batch, or the one that stands in its place.
    pub id: BatchId,
    /// Whether it was made just now.
    pub created: bool,
}

/// A chunk that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewChunk {
    /// The id of its job.
    pub id: JobId,
    /// Its number in the batch, counted from 0.
    pub seq: i64,
    /// Where its items are. `payload.items` is added to the batch's input.
    pub payload: ChunkPayload,
}
