//! Enqueue, start, look and wait over HTTP.

use std::time::Duration;

use gristmill_core::id::{BatchId, JobId};
use gristmill_store::{BatchDocument, BatchView, Enqueued, JobView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::call::Call;
use super::error::HttpError;
use super::job::HttpJob;
use super::options::ServerOptions;
use super::server::Server;
use super::upload::Upload;

/// How long one request of a wait waits.
const LOOK: Duration = Duration::from_secs(20);

/// How much longer than its wait such a request may take.
const SLACK: Duration = Duration::from_secs(15);

/// How long starting a batch may take: its whole input is read.
const PLANNING: Duration = Duration::from_secs(3_600);

/// Enqueues jobs, starts batches, looks at them and waits for them, over HTTP. Clones share the connection.
#[derive(Debug, Clone)]
pub struct HttpClient {
    server: Server,
}

/// The outcome of many jobs: how many of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct EnqueuedMany {
    /// Made just now.
    pub enqueued: u64,
    /// There already, and left as they were.
    pub existing: u64,
    /// Took the place of one that had not begun.
    pub replaced: u64,
    /// Made one that had not begun wait anew.
    pub debounced: u64,
    /// The jobs in their order: the first 100,000.
    #[serde(default)]
    pub ids: Vec<JobId>,
}

/// A run of a batch definition of the server's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HttpBatch {
    /// The definition.
    pub name: String,
    /// Its parameters.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// How many items make a chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u64>,
    /// How many items may be quarantined: a count, or a percentage such as `2.5%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_budget: Option<String>,
    /// Nothing is started when a batch with this key ever was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize)]
struct One {
    job: Enqueued,
}

#[derive(Debug, Deserialize)]
struct Shown {
    batch: BatchDocument,
    #[serde(default, deserialize_with = "gristmill_core::json::maybe")]
    result: Option<Value>,
}

impl From<Shown> for BatchView {
    fn from(shown: Shown) -> Self {
        shown.batch.into_view(shown.result)
    }
}

impl HttpClient {
    /// Prepares requests to a server, and sends none yet.
    ///
    /// # Errors
    ///
    /// [`HttpError::Options`].
    pub fn connect(options: &ServerOptions) -> Result<Self, HttpError> {
        Ok(Self { server: Server::new(options)? })
    }

    /// The connection, for other requests.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Enqueues a job. Sent again because the connection broke, it is enqueued once.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn enqueue(&self, job: &HttpJob) -> Result<Enqueued, HttpError> {
        let one: One = self.server.send(&Call::post(&["jobs"]).body(job)).await?;
        Ok(one.job)
    }

    /// Enqueues many jobs in one request, which is read and committed in groups while it is sent. With a key, each job
    /// that has none of its own gets it with the job's number, so that the same jobs may be sent again.
    ///
    /// # Errors
    ///
    /// [`HttpError`]. The groups before the one that failed stay enqueued: [`Refusal::progress`](super::Refusal) says
    /// how many.
    pub async fn enqueue_many(
        &self,
        jobs: impl IntoIterator<Item = HttpJob, IntoIter: Send + 'static>,
        idempotency_key: Option<&str>,
    ) -> Result<EnqueuedMany, HttpError> {
        let call = Call::post(&["jobs", "many"]).maybe("idempotency_key", idempotency_key);
        self.server.upload(&call, Upload::lines(jobs.into_iter().map(|job| Ok(Some(job))))).await
    }

    /// Starts a batch: the server reads its input and plans it before it answers.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn start_batch(&self, batch: &HttpBatch) -> Result<BatchView, HttpError> {
        let shown: Shown = self.server.send(&Call::post(&["batches"]).body(batch).within(PLANNING)).await?;
        Ok(shown.into())
    }

    /// Returns a job with its attempts, its output and its error. `None` when the tenant has no such job.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn job(&self, job: JobId) -> Result<Option<JobView>, HttpError> {
        found(self.server.send(&Call::get(&["jobs", &job.to_string()])).await)
    }

    /// Returns a batch with its counts and its result. `None` when the tenant has no such batch.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn batch(&self, batch: BatchId) -> Result<Option<BatchView>, HttpError> {
        let shown: Option<Shown> = found(self.server.send(&Call::get(&["batches", &batch.to_string()])).await)?;
        Ok(shown.map(BatchView::from))
    }

    /// Waits until a job is final, at most so long, and returns it as it is then: its state says which came first.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn wait_for_job(&self, job: JobId, at_most: Option<Duration>) -> Result<JobView, HttpError> {
        let path = ["jobs", &job.to_string(), "wait"];
        self.wait(&path, at_most, |view: &JobView| view.state.is_final()).await
    }

    /// Waits until a batch has ended, at most so long, and returns it as it is then: its state says which came first.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn wait_for_batch(&self, batch: BatchId, at_most: Option<Duration>) -> Result<BatchView, HttpError> {
        let path = ["batches", &batch.to_string(), "wait"];
        Ok(self.wait(&path, at_most, |shown: &Shown| shown.batch.state.is_final()).await?.into())
    }

    async fn wait<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        at_most: Option<Duration>,
        ended: impl Fn(&T) -> bool,
    ) -> Result<T, HttpError> {
        // A time beyond what the clock can represent is as good as none.
        let deadline = at_most.and_then(|at_most| Instant::now().checked_add(at_most));
        loop {
            let left = deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
            let look = left.min(LOOK);
            let call = Call::get(path).param("timeout", format!("{}ms", look.as_millis())).within(look + SLACK);
            let seen: T = self.server.send(&call).await?;
            if ended(&seen) || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(seen);
            }
        }
    }
}

/// What is not there is no error to one who asks for it.
fn found<T>(answer: Result<T, HttpError>) -> Result<Option<T>, HttpError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
