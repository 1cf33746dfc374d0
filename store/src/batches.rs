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
    /// Creates a batch in state `open` without chunks. A known idempotency key returns the batch that has it.
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch>;

    /// Adds chunks: jobs, `remaining += n`, `input += items` and one outbox row in one transaction. At most
    /// [`GROUP_JOBS_MAX`](crate::GROUP_JOBS_MAX). A chunk number that exists already is left as it is, so that a planner that does not know
    /// whether it committed can simply continue. Refused with [`StoreError::Conflict`](crate::StoreError::Conflict)
    /// when the batch is not `open`.
    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched>;

    /// Seals the batch: no more chunks will come. Fires the aggregate at once when nothing remains. Sealing a sealed
    /// batch is a no-op.
    async fn seal(&self, batch: BatchId) -> Result<Dispatched>;

    /// Discards a batch whose plan failed before it was sealed: the batch and everything that belongs to it is deleted.
    /// Refused with [`StoreError::Conflict`](crate::StoreError::Conflict) when it is not `open`, or when a chunk has
    /// already been claimed: then the caller cancels it instead.
    async fn discard_batch(&self, batch: BatchId) -> Result<()>;

    /// Returns the batches that are still `open` although no chunk was added for that long: their planner is gone.
    /// Tenant and id, oldest first. Only reads; the caller decides what becomes of them.
    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>>;
}

/// A batch that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBatch {
    /// Its id.
    pub id: BatchId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The name of its definition.
    pub name: String,
    /// A copy of its definition.
    pub definition: BatchDefinition,
    /// What the source looks like now.
    pub fingerprint: SourceFingerprint,
    /// Parameters of this run.
    pub params: Value,
    /// A second creation with the same key returns the first one's id and creates nothing.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the caller.
    pub trace: Option<String>,
}

/// The outcome of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedBatch {
    /// The batch, or the existing one with the same key.
    pub id: BatchId,
    /// Whether it was created just now.
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
