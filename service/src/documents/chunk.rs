//! A chunk: its job, as a part of its batch, and the outcome.

use gristmill_core::Instant;
use gristmill_core::chunk::{ChunkResult, OutputPart};
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::JobState;
use gristmill_store::{JobView, StoredResult};
use serde::Serialize;

/// A chunk of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChunkDocument {
    /// Its batch.
    pub batch: BatchId,
    /// Its number there, counted from 0; also its key in lists.
    pub seq: i64,
    /// The generation that it counts towards.
    pub generation: u32,
    /// Its job.
    pub job: JobId,
    /// That job's state.
    pub state: JobState,
    /// How many items it holds.
    pub items: u64,
    /// Attempts made.
    pub attempt: u32,
    /// Attempts it has in all.
    pub max_attempts: u32,
    /// What went wrong last.
    pub error: Option<String>,
    /// The worker that runs it.
    pub worker: Option<WorkerId>,
    /// When its last attempt began.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub started_at: Option<Instant>,
    /// When it became final.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub finished_at: Option<Instant>,
    /// Its outcome, once it is done.
    pub result: Option<ChunkResultDocument>,
}

/// The outcome of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ChunkResultDocument {
    /// Items that passed.
    pub ok: u64,
    /// Items that a transform dropped.
    pub skipped: u64,
    /// Items set aside.
    pub quarantined: u64,
    /// The files that it wrote.
    pub parts: Vec<OutputPart>,
}

impl ChunkDocument {
    /// The chunk that a job is, with its stored result; `None` for a job that is not a chunk.
    pub fn new(job: &JobView, stored: Option<&StoredResult>) -> Option<Self> {
        Some(Self {
            batch: job.batch?,
            seq: job.seq?,
            generation: job.generation,
            job: job.id,
            state: job.state,
            items: job.items,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            error: job.error.clone(),
            worker: job.worker,
            started_at: job.started_at,
            finished_at: job.finished_at,
            result: stored.map(|stored| ChunkResultDocument::from(&stored.result)),
        })
    }
}

impl From<&ChunkResult> for ChunkResultDocument {
    fn from(result: &ChunkResult) -> Self {
        let ChunkResult { ok, skipped, quarantined, parts, partial: _, set_aside: _ } = result;
        Self { ok: *ok, skipped: *skipped, quarantined: *quarantined, parts: parts.clone() }
    }
}
