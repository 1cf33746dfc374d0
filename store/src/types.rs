//! What goes into the store and what comes out.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::chunk::{ChunkPayload, ChunkResult, SourceFingerprint};
use gristmill_core::definition::BatchDefinition;
pub use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::{BatchId, JobId, WorkerId};
pub use gristmill_core::item_patch::{ItemPatch, Patch};
use gristmill_core::job::{ClaimedJob, Fence, JobState, NewJob};
use gristmill_core::settle::{Ending, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most jobs or chunks in one transaction that creates them.
pub const GROUP_JOBS_MAX: usize = 1_000;

/// The most completions in one transaction.
pub const COMPLETIONS_MAX: usize = 1_000;

/// What a transition made claimable, for whoever publishes after the commit. Empty when no broker
/// is configured (nothing is written to the outbox then; the hint is enough).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// The outbox rows of this transaction.
    pub dispatches: Vec<Dispatch>,
    /// How many jobs changed their state.
    pub moved: u64,
}

/// What an enqueue did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnqueueReport {
    /// One for each job asked for, in the same order.
    pub jobs: Vec<Enqueued>,
    /// What may now be published.
    pub dispatched: Dispatched,
}

/// What became of one job asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueued {
    /// Its id, or that of the job that stands in its place.
    pub id: JobId,
    /// Whether it was made just now.
    pub created: bool,
    /// What became of what was asked for.
    pub outcome: EnqueueOutcome,
}

impl Enqueued {
    /// A job that was made just now.
    pub fn created(id: JobId) -> Self {
        Self { id, created: true, outcome: EnqueueOutcome::Created }
    }

    /// Another job stands in its place.
    pub fn by(id: JobId, outcome: EnqueueOutcome) -> Self {
        Self { id, created: false, outcome }
    }
}

gristmill_core::words! {
    /// What an enqueue came to.
    pub enum EnqueueOutcome {
        /// A job was made.
        Created = "created",
        /// One was there already, and is as it was.
        Existing = "existing",
        /// The holder of the unique key had not begun, and took over payload, priority and time.
        Replaced = "replaced",
        /// The holder of the unique key had not begun, took over the payload, and waits anew.
        Debounced = "debounced",
    }
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
    /// The W3C trace context of whoever caused it.
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

/// Who claims, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The incarnation.
    pub worker: WorkerId,
    /// Only from these queues (for `claim_next`); empty is all.
    pub queues: Vec<String>,
    /// Only these kinds and versions, as [`gristmill_core::job::served`] calls them: those for which the worker has a
    /// handler.
    pub kinds: Vec<String>,
    /// The most jobs: never more than there are free slots.
    pub limit: u32,
}

/// What a claim by message found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimReport {
    /// Claimed: run them.
    pub claimed: Vec<ClaimedJob>,
    /// Still queued, but not to be had just now (row locked, over the limit, or the claiming incarnation is
    /// over): put the message back.
    pub busy: Vec<JobId>,
    /// Still queued, but of a kind or version that the claiming worker lacks: drop the message. The job is noted as
    /// astray, and workers that have its kind find it by [`crate::Store::misrouted`].
    pub foreign: Vec<JobId>,
    /// Still queued, but claimed by limits and turns: drop the message, and ask [`crate::Store::claim_limited`].
    pub limited: Vec<JobId>,
    /// Not to be claimed by this message any more: drop it. Whoever makes the job claimable again
    /// (resume, promote, rescue) dispatches it anew.
    pub stale: Vec<JobId>,
    /// No job has this id, and none ever had that a message of ours may still name: keep the message as poison.
    /// (Jobs of a batch that was taken back before it was sealed are stale.)
    pub unknown: Vec<JobId>,
}

/// How one attempt ended, to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Which attempt.
    pub fence: Fence,
    /// How it ended.
    pub ending: Ending,
    /// What becomes of the job, as `settle` has decided.
    pub verdict: Verdict,
    /// What went wrong, where anything did. No more than 4,000 characters are kept.
    pub error: Option<String>,
    /// The job's output, kept with it.
    pub output: Option<Value>,
    /// For a chunk that is done: what came of it.
    pub chunk: Option<ChunkResult>,
    /// For an aggregate that is done: how the batch ends.
    pub batch_end: Option<BatchEnd>,
    /// Rows for the user's own table, written in the same transaction.
    pub sql: Option<SqlRows>,
    /// Further jobs, enqueued in the same transaction, if the fence holds.
    pub follow: Vec<NewJob>,
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
        }
    }
}

/// How a batch ends: written by the completion of its aggregate. Guarded by state `aggregating` and
/// by the generation.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchEnd {
    /// The batch.
    pub batch: BatchId,
    /// For which generation.
    pub generation: u32,
    /// `Complete` or `Halted`.
    pub state: BatchState,
    /// The merged result, as people see it.
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

/// What a group of completions did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompleteReport {
    /// How many were written down.
    pub settled: u64,
    /// Those whose fence no longer held: the job has been rescued, cancelled or completed meanwhile.
    pub fenced: Vec<Fence>,
    /// What may now be published.
    pub dispatched: Dispatched,
    /// The batches that moved, as they are now.
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
    /// How many of its items may be quarantined: as its definition said, or its last restart.
    pub failure_budget: FailureBudget,
}

/// A process incarnation that enters.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorker {
    /// Fresh at each start.
    pub id: WorkerId,
    /// `worker`, `scheduler` or `dev`.
    pub role: String,
    /// The machine's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// The queues that it serves; empty is all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, as [`gristmill_core::job::served`] calls them; empty is none.
    pub kinds: Vec<String>,
    /// How long its first lease is.
    pub lease: Duration,
}

/// A process incarnation as the store sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerView {
    /// The incarnation.
    pub id: WorkerId,
    /// `worker`, `scheduler` or `dev`.
    pub role: String,
    /// The machine's name.
    pub host: String,
    /// The process id.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// How many it said it runs at its last beat.
    pub running: u32,
    /// The queues that it serves; empty is all.
    pub queues: Vec<String>,
    /// The kinds and versions that it serves, with `@VERSION` behind those of another version than 1; empty is none.
    pub kinds: Vec<String>,
    /// When it started.
    pub started_at: Instant,
    /// When it was last heard of.
    pub seen_at: Instant,
    /// `alive`, `lost` (its lease ran out) or `stopped`.
    pub state: String,
}

/// What a rescue did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RescueReport {
    /// Incarnations whose lease ran out.
    pub workers_lost: u64,
    /// Jobs taken from them or past their deadline that are queued again or wait for a retry.
    pub requeued: u64,
    /// Those that are dead now.
    pub dead: u64,
    /// Chunks that two halves have taken the place of.
    pub split: u64,
    /// What may now be published.
    pub dispatched: Dispatched,
    /// The batches that moved.
    pub progress: Vec<BatchProgress>,
}

/// How much waits to be published.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OutboxBacklog {
    /// Rows.
    pub rows: u64,
    /// When the oldest was written.
    pub oldest: Option<Instant>,
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReconcileReport {
    /// Batches looked at.
    pub batches: u64,
    /// What was wrong, in words, each with what was done about it.
    pub findings: Vec<String>,
    /// What may now be published.
    #[serde(skip)]
    pub dispatched: Dispatched,
}

/// What a command by hand did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ControlReport {
    /// How many jobs (or items) it changed.
    pub affected: u64,
    /// Up to five of them, as samples.
    pub samples: Vec<String>,
    /// The batch's generation afterwards, where one was opened.
    pub generation: Option<u32>,
    /// What may now be published. Empty at a dry run.
    pub dispatched: Dispatched,
}

/// What is said of a pause, for whoever wonders later. Texts are cut at 1,000 characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    /// Who pauses, such as `USER@HOST`.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

/// How a batch that ended with work undone goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// Which.
    pub batch: BatchId,
    /// How many items may be quarantined from now on; `None` leaves the budget as it is.
    pub failure_budget: Option<FailureBudget>,
    /// Whether its dead chunks get another chance as well.
    pub dead: bool,
}

/// Which quarantined items are redriven.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantineRedrive {
    /// Of this batch.
    pub batch: BatchId,
    /// These; empty is all that are open.
    pub items: Vec<i64>,
    /// How many items make one chunk.
    pub chunk: u64,
}

/// Which quarantined items of a batch: those that satisfy everything that is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuarantineWhich {
    /// These, by their numbers; empty is all that are open.
    pub items: Vec<i64>,
    /// Refused by this stage.
    pub stage: Option<String>,
    /// With this text in the reason.
    pub reason: Option<String>,
    /// From this position of the input on.
    pub from: Option<u64>,
    /// Up to this position, itself included.
    pub to: Option<u64>,
}

/// How quarantined items are redriven.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchRedrive {
    /// Of this batch.
    pub batch: BatchId,
    /// Which of them.
    pub which: QuarantineWhich,
    /// What is done to each before it runs again.
    pub mend: ItemPatch,
    /// How many items make one chunk.
    pub chunk: u64,
}

impl PatchRedrive {
    /// All open items of a batch as they are.
    pub fn new(batch: BatchId, chunk: u64) -> Self {
        Self { batch, which: QuarantineWhich::default(), mend: ItemPatch::AsIs, chunk }
    }
}

/// What a mending did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatchReport {
    /// How many items run again.
    pub redriven: u64,
    /// How many stay in quarantine because they cannot be mended so.
    pub kept: u64,
    /// Up to five of those that run again.
    pub samples: Vec<MendSample>,
    /// Those that stay, with the reason: the first [`KEPT_NAMED_MAX`].
    pub refused: Vec<(i64, String)>,
    /// The batch's generation afterwards, where one was opened.
    pub generation: Option<u32>,
    /// What may now be published. Empty at a dry run.
    pub dispatched: Dispatched,
}

/// The most items that a report names that could not be mended.
pub const KEPT_NAMED_MAX: usize = 1_000;

/// One item before and after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MendSample {
    /// Its number in the quarantine.
    pub id: i64,
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it began, counted from 1, where the source had lines.
    pub line: Option<u64>,
    /// As it was set aside.
    pub before: Value,
    /// As it runs again.
    pub after: Value,
}

/// A page of a list, by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The key of the last row of the page before, as the row gives it. `None` is the first page.
    pub after: Option<String>,
    /// How many rows, 1 to 1,000.
    pub limit: u32,
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 50 }
    }
}

/// Which batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchFilter {
    /// Whose.
    pub tenant: String,
    /// Of this definition.
    pub name: Option<String>,
    /// In this state.
    pub state: Option<BatchState>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFilter {
    /// Whose.
    pub tenant: String,
    /// In one of these states; empty is all.
    pub states: Vec<JobState>,
    /// On this queue.
    pub queue: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// With this text in the error, whatever its case.
    pub error: Option<String>,
    /// Final since this instant.
    pub since: Option<Instant>,
}

/// Which quarantined items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuarantineFilter {
    /// Whose.
    pub tenant: String,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// Only those still open (not redriven).
    pub open_only: bool,
}

/// What a chunk's handler needs to know of its batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    /// The batch.
    pub id: BatchId,
    /// Whose it is.
    pub tenant: String,
    /// The name of its definition.
    pub name: String,
    /// The definition as it was when the batch was created.
    pub definition: BatchDefinition,
    /// What the source looked like then.
    pub fingerprint: SourceFingerprint,
    /// Parameters of the run.
    pub params: Value,
    /// The W3C trace context of whoever caused it.
    pub trace: Option<String>,
}

/// What is kept of a chunk that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// The chunk's number.
    pub seq: i64,
    /// Its generation.
    pub generation: u32,
    /// What came of it (without the items set aside).
    pub result: ChunkResult,
}
