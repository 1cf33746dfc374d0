//! What the worker sees of a kind of job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::task::ExecutionContext;
use async_trait::async_trait;
use gristmill_core::chunk::ChunkResult;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, NewJob, served};
use gristmill_core::settle::Ending;
use gristmill_store::{BatchEnd, NewMessages, Publication, RefusedRow, SqlRows, StoreHandle};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// One attempt at a job: what its handler receives, and every layer around the handler.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The job, and the right to settle it.
    pub job: ClaimedJob,
    /// The store, for handlers that keep their own records there.
    pub store: StoreHandle,
    /// Fires when the attempt is over for another reason: deadline, cancel, lease lost, stop.
    pub cancel: CancellationToken,
    /// The signals that call the attempt off from outside.
    pub signals: Signals,
    /// What apalis knows of the attempt, and what layers have added to it.
    pub task: Arc<ExecutionContext>,
}

/// The signals that call an attempt off from outside. When the worker fires one, it stops waiting for the handler.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// The process stops and its drain time is over: the job is given back without spending the attempt.
    pub stopped: CancellationToken,
    /// The lease of the process is lost: another worker has the job.
    pub lost: CancellationToken,
    /// The job was cancelled, or taken away at its deadline.
    pub revoked: CancellationToken,
}

impl JobContext {
    /// An attempt that is never called off.
    pub fn new(job: ClaimedJob, store: StoreHandle) -> Self {
        Self { job, store, cancel: CancellationToken::new(), signals: Signals::default(), task: Arc::default() }
    }

    /// The job's id: the same for every attempt.
    pub fn job_id(&self) -> JobId {
        self.job.fence.job
    }

    /// The name of the job's kind.
    pub fn kind(&self) -> &str {
        &self.job.kind
    }

    /// The queue that the job came from.
    pub fn queue(&self) -> &str {
        &self.job.queue
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.job.fence.attempt
    }

    /// The job's input.
    pub fn payload(&self) -> &Value {
        &self.job.payload
    }

    /// Returns what a layer has added to the job with `Task::inject_data`.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.task.data().get()
    }
}

/// How a handler ended, and what goes into the transaction that records it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// How.
    pub ending: Ending,
    /// What went wrong, where anything did.
    pub error: Option<String>,
    /// The job's output.
    pub output: Option<Value>,
    /// For a chunk: what became of it.
    pub chunk: Option<ChunkResult>,
    /// For an aggregate: how the batch ends.
    pub batch_end: Option<BatchEnd>,
    /// Rows for the user's own table.
    pub sql: Option<SqlRows>,
    /// For a chunk with such rows: what its result is without those that the table refuses.
    pub without_rows: Option<WithoutRows>,
    /// Further jobs, enqueued only if this attempt is the one that counts.
    pub follow: Vec<NewJob>,
    /// For a chunk of a mailing: its messages, enqueued only if this attempt is the one that counts.
    pub messages: Option<NewMessages>,
    /// A snooze counts toward no ceiling: what the job waits for is seen and ended by a person, such as a mail relay
    /// that does not let us in.
    pub unbounded: bool,
    /// Events, published only if this attempt is the one that counts.
    pub events: Vec<Publication>,
    /// The handler has committed its own completion in its own transaction: nothing is left to record.
    pub committed: bool,
}

impl Finish {
    fn with(ending: Ending, error: Option<String>) -> Self {
        Self {
            ending,
            error,
            output: None,
            chunk: None,
            batch_end: None,
            sql: None,
            without_rows: None,
            follow: Vec::new(),
            messages: None,
            unbounded: false,
            events: Vec::new(),
            committed: false,
        }
    }

    /// It succeeded.
    pub fn done(output: Option<Value>) -> Self {
        Self { output, ..Self::with(Ending::Done, None) }
    }

    /// It failed, and may succeed another time.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::with(Ending::Failed { retry_after: None }, Some(error.into()))
    }

    /// It failed, and the other side said how long to wait.
    pub fn failed_until(error: impl Into<String>, retry_after: Duration) -> Self {
        Self::with(Ending::Failed { retry_after: Some(retry_after) }, Some(error.into()))
    }

    /// Nothing is wrong, but it is too early: runs again after the wait, without spending an attempt. At most seven
    /// days each, and at most as often as the job may be snoozed; beyond that it counts as failed.
    pub fn snooze(reason: impl Into<String>, wait: Duration) -> Self {
        Self::with(Ending::Snoozed { wait }, Some(reason.into()))
    }

    /// The same as [`Finish::snooze`], as often as it takes: for what says elsewhere that it holds jobs up.
    pub fn held(reason: impl Into<String>, wait: Duration) -> Self {
        Self { unbounded: true, ..Self::snooze(reason, wait) }
    }

    /// It failed, and will fail every time.
    pub fn permanent(error: impl Into<String>) -> Self {
        Self::with(Ending::Permanent, Some(error.into()))
    }
}

/// Takes the refused rows, and returns the chunk's result without them, or why there is none.
type ResultWithout = dyn Fn(&[RefusedRow]) -> Result<ChunkResult, String> + Send + Sync;

/// Makes a chunk's result once more, without the rows that the user's own table refuses.
#[derive(Clone)]
pub struct WithoutRows(Arc<ResultWithout>);

impl WithoutRows {
    /// Wraps the function. It takes the refused rows by their places among all rows of the chunk.
    pub fn new(make: impl Fn(&[RefusedRow]) -> Result<ChunkResult, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// The result without these rows.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn result(&self, refused: &[RefusedRow]) -> Result<ChunkResult, String> {
        (self.0)(refused)
    }
}

impl std::fmt::Debug for WithoutRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WithoutRows")
    }
}

impl PartialEq for WithoutRows {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// One kind of job.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt. May be dropped at any await when the attempt is over for another reason.
    async fn run(&self, context: JobContext) -> Finish;
}

/// The kinds that a worker has handlers for, by name.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<String, Served>,
}

/// A handler and the versions of its kind's payload that it reads.
#[derive(Clone)]
struct Served {
    reads: Vec<u32>,
    handler: Arc<dyn Handler>,
}

impl Registry {
    /// Adds a kind whose payload has only ever had one version, or replaces the one with the same name.
    pub fn insert(&mut self, kind: impl Into<String>, handler: Arc<dyn Handler>) {
        self.insert_reading(kind, vec![1], handler);
    }

    /// The same for one that reads these versions of its payload: jobs of other versions are left to workers that read
    /// them.
    pub fn insert_reading(&mut self, kind: impl Into<String>, reads: Vec<u32>, handler: Arc<dyn Handler>) {
        self.handlers.insert(kind.into(), Served { reads, handler });
    }

    /// Adds all kinds of another registry, replacing those with the same names.
    pub fn extend(&mut self, other: &Self) {
        self.handlers.extend(other.handlers.iter().map(|(kind, served)| (kind.clone(), served.clone())));
    }

    /// The handler of a kind.
    pub fn get(&self, kind: &str) -> Option<&Arc<dyn Handler>> {
        self.handlers.get(kind).map(|served| &served.handler)
    }

    /// Returns every kind and version that can be run, as [`served`] names them.
    pub fn served(&self) -> Vec<String> {
        let each = |(kind, read): (&String, &Served)| {
            read.reads.iter().map(|version| served(kind, *version)).collect::<Vec<_>>()
        };
        self.handlers.iter().flat_map(each).collect()
    }

    /// The names of all kinds, sorted.
    pub fn kinds(&self) -> Vec<String> {
        self.handlers.keys().cloned().collect()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}
