//! What people and pages are shown: batches, jobs, queues, quarantined items.

use std::fmt::Debug;
use std::str::FromStr;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::batch::{BatchState, Counts};
use gristmill_core::chunk::{ChunkResult, OutputPart, SourceFingerprint};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{JobState, Priority};
use gristmill_core::job_edit::Waiting;
use gristmill_core::json;
use gristmill_core::query::{Key, Query};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::check;
use crate::chunks::{ChunkBrief, ChunkRanges};
use crate::error::{Result, StoreError};

/// How many rows a page has at most.
const PAGE_ROWS_MAX: u32 = 1_000;

/// How many dead letters of a time that is asked for are read and sorted.
pub(crate) const RECENT_MAX: i64 = 5_000;

/// A text that holds JSON as it is shown: one that cannot be read is shown as the text that it is, so that one such row
/// hides no other.
pub(crate) fn shown(text: String) -> Value {
    json::kept(&text).unwrap_or(Value::String(text))
}

/// What is shown. Changes nothing.
#[async_trait]
pub trait Views: Debug + Send + Sync + 'static {
    /// Returns one batch. `None` when there is none.
    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>>;

    /// Returns the definition, fingerprint and parameters of a batch, for the chunks' handler. Never changes after
    /// creation, so that it may be cached.
    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>>;

    /// Returns batches, newest first.
    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>>;

    /// Returns the results of a batch's chunks over all generations, in the order of their numbers, after the given
    /// number. At most `limit`.
    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>>;

    /// Returns the files that a batch's chunks have written, over all generations, in the order of the chunks' numbers,
    /// after the given number. At most `limit` chunks; one that wrote nothing is left out.
    async fn output_parts(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredParts>>;

    /// Returns the chunks of a batch from a number on, by their numbers. At most `limit`, and at most
    /// [`CHUNK_BRIEFS_MAX`](crate::CHUNK_BRIEFS_MAX).
    async fn chunk_briefs(&self, batch: BatchId, first: i64, limit: u32) -> Result<Vec<ChunkBrief>>;

    /// Returns how many chunks of a batch are in which state, for each range of `width` numbers, at least one. What waits is not
    /// counted: it is what remains of a range.
    async fn chunk_ranges(&self, batch: BatchId, width: u32) -> Result<ChunkRanges>;

    /// Returns the first chunks of a batch in each of these states, at most `each` of one, without payloads.
    async fn first_chunks(&self, batch: BatchId, states: &[JobState], each: u32) -> Result<Vec<JobView>>;

    /// Returns one job with its attempts. `None` when there is none.
    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>>;

    /// Returns jobs, newest first.
    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>>;

    /// Returns every tenant that has or had jobs, and so has a queue, by name. For duties, which serve all of them.
    async fn tenants(&self) -> Result<Vec<String>>;

    /// Returns the names of all queues of all tenants, in order: those that have had a job, or that have settings.
    async fn queue_names(&self) -> Result<Vec<String>>;

    /// Returns every queue with its maintained counters.
    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>>;

    /// Returns jobs that wait although no live worker can run them. Looks at the oldest thousand of each kind of each
    /// queue.
    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>>;

    /// Returns quarantined items, oldest first, after the given id.
    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>>;
}

/// A page of a list, by key.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The key of the last row of the previous page, as that row has it. `None` means the first page.
    pub after: Option<String>,
    /// How many rows, 1 to 1,000.
    pub limit: u32,
}

impl Page {
    /// How many rows it has.
    pub(crate) fn rows(&self) -> u32 {
        self.limit.clamp(1, PAGE_ROWS_MAX)
    }

    /// The key, in a list whose keys are numbers.
    pub(crate) fn after_number(&self) -> Result<Option<i64>> {
        self.key("a number")
    }

    /// The key, in a list whose keys are ids.
    pub(crate) fn after_id(&self) -> Result<Option<Uuid>> {
        self.key("an id")
    }

    fn key<T: FromStr>(&self, right: &str) -> Result<Option<T>> {
        let key = |after: &String| {
            let wrong = format!(
                "`{}` is not a key of this list; give {right} from the last row of the page before",
                check::plain(after, 100)
            );
            after.parse().map_err(|_| StoreError::Invalid(wrong))
        };
        self.after.as_ref().map(key).transpose()
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 50 }
    }
}

/// Selects batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchFilter {
    /// Of this tenant.
    pub tenant: String,
    /// Of this definition.
    pub name: Option<String>,
    /// In this state.
    pub state: Option<BatchState>,
    /// That match this query, too; as of an instant.
    pub query: Query,
}

/// Selects jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobFilter {
    /// Of this tenant.
    pub tenant: String,
    /// In one of these states; empty means all.
    pub states: Vec<JobState>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// With this text in the error, ignoring case.
    pub error: Option<String>,
    /// Final since this instant.
    pub since: Option<Instant>,
    /// That match this query, too; as of an instant.
    pub query: Query,
}

impl JobFilter {
    /// Whether it asks for dead letters since a time.
    pub(crate) fn is_recent(&self) -> bool {
        self.since.is_some() && self.states == [JobState::Dead] && self.only_batch().is_none()
    }

    /// Whether it asks for jobs in a state.
    pub(crate) fn wants(&self, state: JobState) -> bool {
        (self.states.is_empty() || self.states.contains(&state)) && self.query.allows_name(Key::State, state.as_str())
    }

    /// The one queue that is asked for.
    pub(crate) fn only_queue(&self) -> Option<&str> {
        self.queue.as_deref().or(self.query.only_name(Key::Queue))
    }

    /// The one kind that is asked for.
    pub(crate) fn only_kind(&self) -> Option<&str> {
        self.kind.as_deref().or(self.query.only_name(Key::Kind))
    }

    /// The one key that is asked for.
    pub(crate) fn only_key(&self) -> Option<&str> {
        self.key.as_deref().or(self.query.only_name(Key::Key))
    }

    /// The one batch that is asked for.
    pub(crate) fn only_batch(&self) -> Option<BatchId> {
        self.batch.or(self.query.only_id(Key::Batch).map(BatchId))
    }

    /// The states whose streams are read: what runs is in no stream but those of a batch.
    pub(crate) fn stream_states(&self) -> Vec<&'static str> {
        let wanted = |state: &JobState| self.wants(*state);
        let listed = |state: &JobState| self.only_batch().is_some() || *state != JobState::Running;
        JobState::ALL.into_iter().filter(wanted).filter(listed).map(JobState::as_str).collect()
    }
}

/// Selects quarantined items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuarantineFilter {
    /// Of this tenant.
    pub tenant: String,
    /// Of this batch.
    pub batch: Option<BatchId>,
    /// Only those still open (not redriven).
    pub open_only: bool,
    /// That match this query, too; as of an instant.
    pub query: Query,
}

impl QuarantineFilter {
    /// The one batch that is asked for.
    pub(crate) fn only_batch(&self) -> Option<BatchId> {
        self.batch.or(self.query.only_id(Key::Batch).map(BatchId))
    }
}

/// What a chunk's handler needs to know about its batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    /// The batch.
    pub id: BatchId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The name of its definition.
    pub name: String,
    /// The definition as it was when the batch was created.
    pub definition: BatchDefinition,
    /// What the source looked like then.
    pub fingerprint: SourceFingerprint,
    /// Parameters of the run.
    pub params: Value,
    /// The W3C trace context of the caller that created the batch.
    pub trace: Option<String>,
}

/// What is kept of a chunk that is done.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// The chunk's number.
    pub seq: i64,
    /// Its generation.
    pub generation: u32,
    /// Its result (without the items set aside).
    pub result: ChunkResult,
}

/// What a chunk that is done has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredParts {
    /// The chunk's number; also its key in lists.
    pub seq: i64,
    /// Its files.
    pub parts: Vec<OutputPart>,
}

/// A pause as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PauseView {
    /// Since when.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub since: Instant,
    /// Who paused it, if that was given.
    pub by: Option<String>,
    /// Why, if that was given.
    pub reason: Option<String>,
}

/// Why a batch has ended as it did: what halted or cancelled it, and the error of its aggregate where that is dead.
pub(crate) fn reason(reason: Option<String>, aggregate_error: Option<&str>) -> Option<String> {
    let died = aggregate_error.map(|error| format!("its aggregate died: {error}"));
    match (reason, died) {
        (Some(reason), Some(died)) => Some(format!("{reason}; {died}")),
        (reason, died) => reason.or(died),
    }
}

/// A batch as it is shown. In JSON it is a [`BatchDocument`](crate::BatchDocument).
#[derive(Debug, Clone, PartialEq)]
pub struct BatchView {
    /// Its id; also its key in lists.
    pub id: BatchId,
    /// The tenant that owns it.
    pub tenant: String,
    /// The name of its definition.
    pub name: String,
    /// Its state.
    pub state: BatchState,
    /// Whether its chunks cannot be claimed at the moment.
    pub paused: bool,
    /// By whom and why; `None` when it is not paused, or was paused before this was recorded.
    pub pause: Option<PauseView>,
    /// 0 for the first run, one more for each redrive after it ended.
    pub generation: u32,
    /// What became of its items.
    pub counts: Counts,
    /// How many chunks it has.
    pub chunks: u64,
    /// How many of them are not final.
    pub remaining: u64,
    /// How many of them are dead.
    pub chunks_dead: u64,
    /// How many times a chunk was tried again.
    pub retries: u64,
    /// Its failure budget, as written.
    pub failure_budget: String,
    /// The merged result, once it is complete or halted.
    pub result: Option<Value>,
    /// Why it halted or was cancelled, and the error of its aggregate where that is dead.
    pub reason: Option<String>,
    /// When it was created.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
}

/// A job as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobView {
    /// Its id; also its key in lists.
    pub id: JobId,
    /// The tenant that owns it.
    pub tenant: String,
    /// Its queue.
    pub queue: String,
    /// Its priority.
    pub priority: Priority,
    /// The key by which it takes turns and is limited.
    pub key: Option<String>,
    /// What it does.
    pub kind: String,
    /// Which version of its kind's payload it has.
    pub version: u32,
    /// Its state.
    pub state: JobState,
    /// Attempts made.
    pub attempt: u32,
    /// How many attempts it has in all.
    pub max_attempts: u32,
    /// How many of them were snoozed, and so not spent.
    pub snoozes: u32,
    /// The batch that it belongs to.
    pub batch: Option<BatchId>,
    /// Its number among the batch's chunks.
    pub seq: Option<i64>,
    /// The batch's generation that it counts for.
    pub generation: u32,
    /// How many items it holds, when it is a chunk.
    pub items: u64,
    /// The payload. In lists it is left out (`null`).
    #[serde(deserialize_with = "json::value")]
    pub payload: Value,
    /// Its output, once it is done.
    #[serde(default, deserialize_with = "json::maybe")]
    pub output: Option<Value>,
    /// What went wrong last.
    pub error: Option<String>,
    /// Which worker runs it.
    pub worker: Option<WorkerId>,
    /// When it was enqueued.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it may start, if not at once.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub run_at: Option<Instant>,
    /// When its last attempt began.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub started_at: Option<Instant>,
    /// When it became final.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub finished_at: Option<Instant>,
    /// The attempts that did not end well, oldest first. In lists it is left out (empty).
    pub attempts: Vec<AttemptView>,
}

impl JobView {
    /// What of it can be edited, in a few characters: see [`gristmill_core::job_edit`]. Of a job in a list, whose payload is
    /// left out, it is that of none.
    pub fn edition(&self) -> String {
        let waiting = Waiting {
            state: self.state,
            attempt: self.attempt,
            queue: &self.queue,
            priority: self.priority,
            run_at: self.run_at,
            payload: &self.payload,
            fixed_payload: false,
        };
        waiting.edition()
    }
}

/// One attempt that did not end well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AttemptView {
    /// Its number, counted from 1.
    pub attempt: u32,
    /// The worker that ran it.
    pub worker: Option<WorkerId>,
    /// When it began.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub started_at: Option<Instant>,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub ended_at: Instant,
    /// How it ended: see `Ending::as_str`.
    pub ending: String,
    /// What went wrong.
    pub error: Option<String>,
}

/// A queue as it is shown, from maintained counters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// Its name; also its key in lists.
    pub name: String,
    /// Whether nothing can be claimed from it at the moment.
    pub paused: bool,
    /// By whom and why; `None` when it is not paused.
    pub pause: Option<PauseView>,
    /// Jobs by state.
    pub scheduled: u64,
    /// Jobs by state.
    pub queued: u64,
    /// Jobs by state.
    pub running: u64,
    /// Jobs by state.
    pub retry: u64,
    /// Jobs by state.
    pub done: u64,
    /// Jobs by state.
    pub dead: u64,
    /// Jobs by state.
    pub cancelled: u64,
    /// Since when the oldest claimable job has waited.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub oldest_queued_at: Option<Instant>,
}

impl QueueView {
    /// How many jobs are in a state.
    pub(crate) fn counter(&mut self, state: JobState) -> &mut u64 {
        match state {
            JobState::Scheduled => &mut self.scheduled,
            JobState::Queued => &mut self.queued,
            JobState::Running => &mut self.running,
            JobState::Retry => &mut self.retry,
            JobState::Done => &mut self.done,
            JobState::Dead => &mut self.dead,
            JobState::Cancelled => &mut self.cancelled,
        }
    }
}

/// Jobs that wait although no live worker has their kind, or their version of it, on their queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UnhandledView {
    /// Their queue.
    pub queue: String,
    /// Their kind.
    pub kind: String,
    /// Which version of its payload.
    pub version: u32,
    /// How many, among the first thousand of the queue: jobs that no worker can take gather there.
    pub jobs: u64,
}

/// How many waiting jobs of a queue are looked at for [`UnhandledView`].
pub(crate) const UNHANDLED_LOOKED_AT: i64 = 1_000;

/// What a live worker serves: queues (empty means all) and kinds.
pub(crate) type Serving = (Vec<String>, Vec<String>);

/// Leaves out what any live worker serves.
pub(crate) fn unhandled(waiting: Vec<UnhandledView>, workers: &[Serving]) -> Vec<UnhandledView> {
    let served = |waiting: &UnhandledView| {
        let kind = gristmill_core::job::served(&waiting.kind, waiting.version);
        workers
            .iter()
            .any(|(queues, kinds)| (queues.is_empty() || queues.contains(&waiting.queue)) && kinds.contains(&kind))
    };
    waiting.into_iter().filter(|waiting| !served(waiting)).collect()
}

/// A quarantined item as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct QuarantineView {
    /// Its number; also its key in lists.
    pub id: i64,
    /// The batch.
    pub batch: BatchId,
    /// The chunk's number.
    pub seq: i64,
    /// In which generation it was set aside.
    pub generation: u32,
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, counted from 1, if the source has lines.
    pub line: Option<u64>,
    /// The stage that refused it.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// The item as it came from the source.
    #[serde(deserialize_with = "json::value")]
    pub item: Value,
    /// `open` or `redriven`.
    pub state: String,
    /// When it was set aside.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
}
