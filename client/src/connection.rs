//! The connection to the store and the broker, and the shortest ways to use it.

use gristmill_broker::Broker;
use gristmill_core::batch::BatchState;
use gristmill_core::event::EventDraft;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, NewJob};
use gristmill_dispatcher::Dispatcher;
use gristmill_store::{BatchView, Enqueued, JobView, OpenOptions, Publication, Published, StoreHandle};
use serde::Serialize;
use uuid::Uuid;

use crate::batch::{BatchBuilder, BatchRun, WaitForBatch};
use crate::error::ClientError;
use crate::job::JobBuilder;
use crate::many::{Many, ManyError};
use crate::payload::{Payload, new_job};
use crate::together::Together;
use crate::wait::Wait;

/// A connection to the store, and to the broker where there is one, on behalf of one tenant. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) store: StoreHandle,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) tenant: String,
    pub(crate) together: Together,
}

impl Client {
    /// Connects to a store without a broker: workers find the jobs in the store itself. The URL is `sqlite://PATH` or
    /// `postgres://USER:PASSWORD@HOST/DATABASE`.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or lacks migrations.
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        let settings = gristmill_store::Settings { url: url.to_owned(), ..gristmill_store::Settings::default() };
        Self::with_settings(settings, gristmill_broker::Settings::default()).await
    }

    /// Connects to a store and the broker that carries its jobs' ids.
    ///
    /// # Errors
    ///
    /// When one of them cannot be reached, or refuses.
    pub async fn with_settings(
        store: gristmill_store::Settings,
        broker: gristmill_broker::Settings,
    ) -> Result<Self, ClientError> {
        let window = broker.window;
        let broker = Broker::connect(&broker).await?;
        let url = store.url.clone();
        let store = gristmill_store::open(&url, OpenOptions { settings: store, with_outbox: broker.carries() }).await?;
        let dispatcher = Dispatcher::new(store.clone(), broker, window);
        Ok(Self::over(store, dispatcher))
    }

    /// Creates a client over connections that the program already has.
    pub fn over(store: StoreHandle, dispatcher: Dispatcher) -> Self {
        let together = Together::new(store.clone(), dispatcher.clone());
        Self { store, dispatcher, tenant: DEFAULT_TENANT.to_owned(), together }
    }

    /// The same client for another tenant. Everything that it enqueues belongs to that tenant, and it sees nothing
    /// else.
    #[must_use]
    pub fn tenant(self, tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..self }
    }

    /// Starts building a job with this payload.
    pub fn job<P: Payload>(&self, payload: &P) -> JobBuilder<'_> {
        JobBuilder::new(self, new_job(payload).map_err(ClientError::from))
    }

    /// Starts building a job of a kind by its name, with any payload.
    pub fn job_of_kind(&self, kind: impl Into<String>, payload: impl Serialize) -> JobBuilder<'_> {
        let job = serde_json::to_value(payload).map(|payload| NewJob::new(JobId(Uuid::now_v7()), kind, payload));
        JobBuilder::new(self, job.map_err(ClientError::from))
    }

    /// Starts building from a job that was made elsewhere, or reports why it could not be made. The job then belongs to
    /// the client's tenant.
    pub fn prepared(&self, job: Result<NewJob, ClientError>) -> JobBuilder<'_> {
        JobBuilder::new(self, job)
    }

    /// Enqueues a job with this payload and its kind's settings.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::enqueue`].
    pub async fn enqueue<P: Payload>(&self, payload: &P) -> Result<Enqueued, ClientError> {
        self.job(payload).enqueue().await
    }

    /// Enqueues many jobs, made by [`JobBuilder::build`], in groups of at most
    /// [`GROUP_JOBS_MAX`](gristmill_store::GROUP_JOBS_MAX), each group in one transaction. They are taken from the
    /// iterator group by group, so their number is not limited.
    ///
    /// # Errors
    ///
    /// [`ManyError`] says which jobs are committed, and which group was refused; the groups before it stay committed.
    pub async fn enqueue_many(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Many, ManyError> {
        crate::many::enqueue(self, jobs).await
    }

    /// Publishes events of the client's tenant, all or none. One whose id its source has used with the same content is
    /// accepted, and not kept twice. Schemas of the registry are not looked at: that is for the API and the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with an event, that an id stands for something else, or those of the store.
    pub async fn emit(&self, events: Vec<EventDraft>) -> Result<Vec<Published>, ClientError> {
        let publication =
            |draft| Publication { tenant: self.tenant.clone(), draft, user: Some("client".to_owned()), job: None };
        let events: Vec<Publication> = events.into_iter().map(publication).collect();
        Ok(self.store.publish_events(&events).await?)
    }

    /// Returns the state of a job. `None` when the tenant has no such job.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn job_state(&self, job: JobId) -> Result<Option<JobState>, ClientError> {
        Ok(self.job_view(job).await?.map(|view| view.state))
    }

    /// Returns a job with its attempts, its output and its error. `None` when the tenant has no such job.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn job_view(&self, job: JobId) -> Result<Option<JobView>, ClientError> {
        Ok(self.store.job(&self.tenant, job).await?)
    }

    /// Waits until a job is final. Await it, or first set a limit with [`Wait::at_most`].
    pub fn wait(&self, job: JobId) -> Wait<'_> {
        Wait::new(self, job)
    }

    /// Starts building a run of a batch definition of the scheduler's configuration.
    pub fn batch(&self, name: impl Into<String>) -> BatchBuilder<'_> {
        BatchBuilder::new(self, name.into())
    }

    /// Returns the state of a batch. `None` when the tenant has no such batch.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn batch_state(&self, batch: BatchId) -> Result<Option<BatchState>, ClientError> {
        Ok(self.batch_view(batch).await?.map(|view| view.state))
    }

    /// Returns a batch with its counts and its result. `None` when the tenant has no such batch.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn batch_view(&self, batch: BatchId) -> Result<Option<BatchView>, ClientError> {
        Ok(self.store.batch(&self.tenant, batch).await?)
    }

    /// Waits until a run has started and its batch has ended. Await it, or first set a limit.
    pub fn wait_for_batch(&self, run: &BatchRun) -> WaitForBatch<'_> {
        WaitForBatch::new(self, run.clone())
    }

    /// Waits until everything under way to the broker has arrived, and workers have been told of what was enqueued. Call it
    /// before the program ends.
    pub async fn close(&self) {
        self.dispatcher.broker().close().await;
        self.store.all_notified().await;
    }
}
