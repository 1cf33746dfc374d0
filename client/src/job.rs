//! One job, with every setting that it may have before it is enqueued.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::job::{NewJob, Priority, RunAt};
use gristmill_core::json::{DEPTH_MAX, deeper_than};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::unique::Unique;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::{Enqueued, StoreError};
use sqlx::postgres::PgConnection;

use crate::connection::Client;
use crate::error::{ClientError, check_name};

/// A job that is not enqueued yet. Settings made here override those of its kind.
#[derive(Debug)]
#[must_use = "a job is enqueued by `enqueue`"]
pub struct JobBuilder<'a> {
    client: &'a Client,
    job: Result<NewJob, ClientError>,
}

impl<'a> JobBuilder<'a> {
    pub(crate) fn new(client: &'a Client, job: Result<NewJob, ClientError>) -> Self {
        let job = job.map(|job| NewJob { tenant: client.tenant.clone(), ..job });
        Self { client, job }
    }

    fn change(mut self, change: impl FnOnce(&mut NewJob)) -> Self {
        if let Ok(job) = &mut self.job {
            change(job);
        }
        self
    }

    /// The queue on which it waits: 1 to 100 letters, digits, `-` and `_`.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.change(|job| job.queue = queue.into())
    }

    /// Its priority among the jobs of its queue.
    pub fn priority(self, priority: Priority) -> Self {
        self.change(|job| job.priority = priority)
    }

    /// Its key for turns and limits, such as a customer: at most
    /// [`KEY_BYTES_MAX`](gristmill_core::limit::KEY_BYTES_MAX) bytes.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.change(|job| job.key = Some(key.into()))
    }

    /// What makes it unique: one job with this key at a time.
    pub fn unique(self, unique: Unique) -> Self {
        self.change(|job| job.unique = Some(unique))
    }

    /// Starts it this long after now, by the database's clock.
    pub fn delay(self, delay: Duration) -> Self {
        self.change(|job| job.run = RunAt::In(delay))
    }

    /// Starts it at this instant, by the database's clock. The last call of `delay` and `at` counts.
    pub fn at(self, at: Instant) -> Self {
        self.change(|job| job.run = RunAt::At(at))
    }

    /// Enqueues nothing when the tenant has ever enqueued a job with this key, and returns that job.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        self.change(|job| job.idempotency_key = Some(key.into()))
    }

    /// How many attempts it has, at least 1.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.change(|job| job.max_attempts = attempts)
    }

    /// How many times its handler may say "come again later" without an attempt being spent.
    pub fn max_snoozes(self, snoozes: u32) -> Self {
        self.change(|job| job.max_snoozes = snoozes)
    }

    /// How long one attempt may take, at least 1 ms.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.change(|job| job.timeout = timeout)
    }

    /// How long to wait between attempts.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        self.change(|job| job.retry = retry)
    }

    /// The version of its payload, 1 or more: only workers that read this version run the job.
    pub fn version(self, version: u32) -> Self {
        self.change(|job| job.version = version)
    }

    /// The W3C trace context (`traceparent`) of its cause, so that the job's spans belong to that trace.
    pub fn trace(self, traceparent: impl Into<String>) -> Self {
        self.change(|job| job.trace = Some(traceparent.into()))
    }

    /// Returns the job in the form that the store takes, for [`Client::enqueue_many`].
    ///
    /// # Errors
    ///
    /// When the payload cannot be written as JSON or is nested too deep, or its kind or queue cannot be a name.
    pub fn build(self) -> Result<NewJob, ClientError> {
        let job = self.job?;
        check_name("kind of job", &job.kind)?;
        check_name("queue", &job.queue)?;
        if deeper_than(&job.payload, DEPTH_MAX) {
            let what = format!("the payload nests arrays and objects more than {DEPTH_MAX} deep; make it flatter");
            return Err(ClientError::Invalid(what));
        }
        Ok(job)
    }

    /// Enqueues it. Callers of clones of one client that enqueue at the same time share a transaction, and each has its
    /// own outcome; a caller that is dropped before it has its outcome may have enqueued its job. [`Enqueued::outcome`]
    /// says whether it was created, or which job takes its place.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::build`]; when the store refuses a setting; when another job holds the unique key and
    /// [`OnConflict::Refuse`](gristmill_core::unique::OnConflict) was set ([`StoreError::Conflict`]); when the store
    /// cannot be reached. Enqueueing a built job again after the last of these does no harm.
    pub async fn enqueue(self) -> Result<Enqueued, ClientError> {
        let client = self.client;
        let job = self.build()?;
        Ok(client.together.enqueue(job).await?)
    }

    /// Enqueues it inside your own transaction on the store's database: it exists only if you commit. PostgreSQL only.
    /// A scheduler publishes it after your commit.
    ///
    /// # Errors
    ///
    /// As [`JobBuilder::enqueue`], and when the store is SQLite. The transaction can then only be rolled back.
    pub async fn enqueue_in(self, connection: &mut PgConnection) -> Result<Enqueued, ClientError> {
        let client = self.client;
        let job = self.build()?;
        let store: Option<&PostgresStore> = client.store.as_any().downcast_ref();
        let store = store.ok_or_else(|| {
            StoreError::Invalid("enqueueing in a transaction of your own needs PostgreSQL".to_owned())
        })?;
        let report = store.enqueue_in(connection, std::slice::from_ref(&job)).await?;
        report.jobs.first().copied().ok_or(ClientError::NoId)
    }
}
