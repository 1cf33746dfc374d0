//! Completions: how attempts end, and what follows for their batches.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::chunk::ChunkResult;
use gristmill_core::id::BatchId;
use gristmill_core::job::{Fence, NewJob};
use gristmill_core::settle::{Ending, Verdict};
use serde_json::Value;

use crate::error::Result;
use crate::{ControlReport, Dispatched, NewMessages, Publication};

/// How many completions one transaction takes at most.
pub const COMPLETIONS_MAX: usize = 1_000;

/// Completions: how attempts end, and what follows for their batches.
#[async_trait]
pub trait Completions: Debug + Send + Sync + 'static {
    /// Completes: closes attempts, all in one transaction. Attempts whose fence no longer holds are left alone and
    /// reported. Results, quarantine, counters, the fan-in and what follows are in the same transaction. At most
    /// [`COMPLETIONS_MAX`].
    ///
    /// A verdict that would retry a job whose last attempt is spent is refused with
    /// [`StoreError::Invalid`](crate::StoreError::Invalid), and the whole group with it, as is a result that does not
    /// count its chunk's items.
    ///
    /// A completion with [`Completion::sql`] must come alone: a refusal by the user's table is
    /// [`StoreError::Sink`](crate::StoreError::Sink), and then nothing of it has happened.
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport>;

    /// Asks the database whether rows with these columns could be written to a user's table. Nothing is written.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sink`](crate::StoreError::Sink) when there is no such table, it lacks a column, or this user may
    /// not write to it.
    async fn try_sink(&self, table: &str, columns: &[String]) -> Result<()>;

    /// Finds the rows that a user's own table refuses for what is in them, after [`Completions::complete`] was refused:
    /// all are written as it writes them, in halves where they are refused, and then rolled back. Empty when the table
    /// takes all of them now.
    ///
    /// # Errors
    ///
    /// [`StoreError::Sink`](crate::StoreError::Sink) when the rows are not at fault, but the table is: it is missing,
    /// lacks a column, may not be written to, or takes no row at all.
    async fn refused_rows(&self, rows: &SqlRows) -> Result<Vec<RefusedRow>>;

    /// Halts a batch that is over its failure budget: its unfinished chunks become `cancelled`, the fan-in fires, and
    /// the aggregate that runs then declares it `halted`. A no-op on a batch that has halted or ended already, and on
    /// one in another generation than the one that was judged: a restart forgives, and a late judgement must not undo
    /// that. Of more than 5,000 chunks the first are cancelled, with whatever runs; no other starts, and
    /// [`Duties::continue_stops`](crate::Duties::continue_stops) does the rest.
    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport>;
}

/// How one attempt ended, to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Which attempt.
    pub fence: Fence,
    /// How it ended.
    pub ending: Ending,
    /// What becomes of the job, as `settle` decided.
    pub verdict: Verdict,
    /// What went wrong, if anything. At most 4,000 characters are kept.
    pub error: Option<String>,
    /// The job's output, stored with it.
    pub output: Option<Value>,
    /// For a chunk that is done: its result.
    pub chunk: Option<ChunkResult>,
    /// For an aggregate that is done: how the batch ends.
    pub batch_end: Option<BatchEnd>,
    /// Rows for the user's own table, written in the same transaction.
    pub sql: Option<SqlRows>,
    /// Further jobs, enqueued in the same transaction, if the fence holds.
    pub follow: Vec<NewJob>,
    /// For a chunk of a mailing that is done: the messages that its items become, enqueued in the same transaction, if
    /// the fence holds.
    pub messages: Option<NewMessages>,
    /// Events, published in the same transaction, if the fence holds. One whose id its source has used is left out.
    pub events: Vec<Publication>,
}

impl Completion {
    /// A completion with nothing but its ending and verdict.
    pub fn new(fence: Fence, ending: Ending, verdict: Verdict) -> Self {
        Self {
            fence,
            ending,
            verdict,
            error: None,
            output: None,
            chunk: None,
            batch_end: None,
            sql: None,
            follow: Vec::new(),
            messages: None,
            events: Vec::new(),
        }
    }
}

/// How a batch ends: recorded by the completion of its aggregate. Guarded by state `aggregating` and by the generation.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchEnd {
    /// The batch.
    pub batch: BatchId,
    /// For which generation.
    pub generation: u32,
    /// `Complete` or `Halted`.
    pub state: BatchState,
    /// The merged result, as it is shown.
    pub result: Value,
    /// Why it halted.
    pub reason: Option<String>,
}

/// Rows for a table in the store's own database.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlRows {
    /// The table; it may have a schema before a dot.
    pub table: String,
    /// The columns.
    pub columns: Vec<String>,
    /// A JSON array of objects that have those columns as keys.
    pub rows: Vec<Value>,
}

impl SqlRows {
    /// Some of the rows.
    pub(crate) fn piece(&self, which: std::ops::Range<usize>) -> Self {
        let rows = self.rows.get(which).unwrap_or_default().to_vec();
        Self { table: self.table.clone(), columns: self.columns.clone(), rows }
    }
}

/// A row that a user's own table refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place among the rows.
    pub index: usize,
    /// What the database says about it.
    pub reason: String,
}

/// What became of a group of completions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompleteReport {
    /// How many were recorded.
    pub settled: u64,
    /// Those whose fence no longer held: the job has been rescued, cancelled or completed meanwhile.
    pub fenced: Vec<Fence>,
    /// What may be published now.
    pub dispatched: Dispatched,
    /// The batches that changed, as they are now.
    pub progress: Vec<BatchProgress>,
}

/// How far a batch is.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchProgress {
    /// The batch.
    pub batch: BatchId,
    /// Its state.
    pub state: BatchState,
    /// Its generation.
    pub generation: u32,
    /// Its counts.
    pub counts: Counts,
    /// How many of its chunks are not final.
    pub remaining: u64,
    /// Whether it is halting: over its budget, its chunks are being cancelled.
    pub halting: bool,
    /// How many of its items may be quarantined, according to its definition or its last restart.
    pub failure_budget: FailureBudget,
}
