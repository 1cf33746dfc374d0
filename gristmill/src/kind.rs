//! Your own kinds of jobs: a typed payload, a typed output, and the work.

use std::any::type_name;
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::duration::Span;
use gristmill_core::event::EventDraft;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{DEFAULT_QUEUE, NewJob, Priority};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, Verdict};
use gristmill_core::unique::Unique;
use gristmill_jobs::{Finish, Handler, JobContext};
use gristmill_service::events::registry;
use gristmill_store::postgres::PostgresStore;
use gristmill_store::{Completion, Publication, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::kind_settings::KindSettings;

/// One kind of job. The type that implements it is the job's payload.
///
/// ```
/// use gristmill::{Context, Failure, Kind};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct ResizeImage { path: String, width: u32 }
///
/// impl Kind for ResizeImage {
///     const NAME: &str = "resize-image";
///     type Output = String;
///
///     fn max_attempts() -> u32 { 3 }
///     fn unique_key(&self) -> Option<String> { Some(self.path.clone()) }
///
///     async fn run(self, _context: Context) -> Result<String, Failure> {
///         if self.width == 0 {
///             return Err(Failure::permanent("width 0: no picture is so narrow"));
///         }
///         Ok(format!("{}@{}", self.path, self.width))
///     }
/// }
/// ```
pub trait Kind: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name: 1 to 100 letters, digits, `-` and `_`. Jobs in the store are found by it.
    const NAME: &str;

    /// The version of the payload that this program writes, 1 or more. Raise it when older programs could not read what
    /// you write now: while both are at work, the older ones leave such jobs to the newer ones.
    const VERSION: u32 = 1;

    /// What a successful job leaves behind, stored with it as JSON.
    type Output: Serialize + Send;

    /// The versions of the payload that this program reads: its own by default. Jobs of other versions stay queued for
    /// programs that read them.
    fn reads() -> Vec<u32> {
        vec![Self::VERSION]
    }

    /// Converts a payload of an older version into one of [`Kind::VERSION`]. Leaves it unchanged by default, which is
    /// right where serde's defaults fill in what is new.
    ///
    /// # Errors
    ///
    /// When it cannot be converted.
    fn upgrade(payload: serde_json::Value, version: u32) -> Result<serde_json::Value, Failure> {
        let _ = version;
        Ok(payload)
    }

    /// How long to wait between attempts: by default from 1 second, doubling to 10 minutes.
    fn retry() -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How many attempts a job has: 5 by default.
    fn max_attempts() -> u32 {
        5
    }

    /// How many times a job may be snoozed ([`Failure::snooze`]): 100 by default. Beyond that it counts as failed.
    fn max_snoozes() -> u32 {
        gristmill_core::settle::SNOOZES_MAX
    }

    /// How long one attempt may take: 15 minutes by default.
    fn timeout() -> Duration {
        Duration::from_secs(15 * 60)
    }

    /// The queue on which jobs wait: `default` by default.
    fn queue() -> &'static str {
        DEFAULT_QUEUE
    }

    /// The priority with which jobs wait.
    fn priority() -> Priority {
        Priority::Normal
    }

    /// While a job with this key is not final, no second one is created. None by default.
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// How long the job's key keeps other jobs out, and what becomes of another job: by default until the job is final,
    /// and nothing; `unique.hold(…)` and `unique.on_conflict(…)` change that.
    fn unique(&self, unique: Unique) -> Unique {
        unique
    }

    /// Runs one attempt. May be dropped at any await: at its deadline, when the job is cancelled, or when the worker
    /// lost its lease. Runs at least once; see [`Context::idempotency_key`].
    fn run(self, context: Context) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// Why an attempt failed, and what happens next.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    message: String,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Retry,
    RetryAfter(Duration),
    Snooze(Duration),
    Permanent,
}

impl Failure {
    /// The attempt may succeed another time: it is tried again by the kind's policy until the attempts are spent.
    pub fn retry(message: impl Into<String>) -> Self {
        Self { message: message.into(), how: How::Retry }
    }

    /// The other side said when to come again; the wait is at most a day.
    pub fn retry_after(message: impl Into<String>, wait: Duration) -> Self {
        Self { message: message.into(), how: How::RetryAfter(wait) }
    }

    /// Nothing is wrong, but it is too early: the job comes again after the wait, without spending an attempt. The wait
    /// is at most seven days, and happens at most as often as [`Kind::max_snoozes`] says; beyond that the job counts as
    /// failed.
    pub fn snooze(message: impl Into<String>, wait: Duration) -> Self {
        Self { message: message.into(), how: How::Snooze(wait) }
    }

    /// It will fail every time: the job becomes a dead letter at once.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), how: How::Permanent }
    }

    fn finish(self) -> Finish {
        match self.how {
            How::Retry => Finish::failed(self.message),
            How::RetryAfter(wait) => Finish::failed_until(self.message, wait),
            How::Snooze(wait) => Finish::snooze(self.message, wait),
            How::Permanent => Finish::permanent(self.message),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// A failure returned as an error by a handler that was written for apalis: it keeps its meaning.
impl From<Failure> for Box<dyn std::error::Error + Send + Sync> {
    fn from(failure: Failure) -> Self {
        Box::new(FailureError(failure))
    }
}

/// [`Failure`] cannot be an error itself, because every error becomes one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FailureError(Failure);

impl FailureError {
    pub(crate) fn finish(&self) -> Finish {
        self.0.clone().finish()
    }
}

/// Any error may be tried again: `?` in a handler means [`Failure::retry`].
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error.to_string())
    }
}

/// What a kind receives beside its payload. Clones share it.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) job: JobContext,
    states: States,
    follow: Arc<Mutex<Vec<NewJob>>>,
    emitted: Arc<Mutex<Vec<Publication>>>,
    pub(crate) committed: Arc<Mutex<bool>>,
}

impl Context {
    /// The job's id: the same for every attempt, so that the other side can recognize a repetition.
    pub fn idempotency_key(&self) -> String {
        self.job.job.fence.job.to_string()
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.job.job.fence.job
    }

    /// The batch that it belongs to, if it is part of one.
    pub fn batch_id(&self) -> Option<BatchId> {
        self.job.job.batch
    }

    /// The tenant that owns the job.
    pub fn tenant(&self) -> &str {
        &self.job.job.tenant
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.job.job.fence.attempt
    }

    /// How many attempts the job has in all.
    pub fn max_attempts(&self) -> u32 {
        self.job.job.max_attempts
    }

    /// Fires when the attempt is over for another reason: deadline, cancel, lease lost, stop.
    pub fn cancelled(&self) -> CancellationToken {
        self.job.cancel.clone()
    }

    /// Returns the value that was passed to [`crate::App::state`].
    ///
    /// # Panics
    ///
    /// When the program has registered nothing of that type.
    pub fn state<T: Send + Sync + 'static>(&self) -> Arc<T> {
        let found = self.states.shared.get();
        found.unwrap_or_else(|| panic!("no state of type {}; give it to `App::state`", type_name::<T>()))
    }

    /// Enqueues a further job in the transaction that completes this one: it exists exactly if this
    /// attempt is the one that counts.
    ///
    /// # Errors
    ///
    /// When the payload cannot be written as JSON.
    pub fn enqueue<K: Kind>(&self, payload: &K) -> Result<JobId, Failure> {
        let mut job = new_job(payload).map_err(|error| Failure::permanent(error.to_string()))?;
        job.tenant = self.tenant().to_owned();
        job.trace = self.job.job.trace.clone();
        // The configuration's settings of the kind win over its code, as at the command line.
        if let Some(settings) = self.states.said.get().and_then(|said| said.get(K::NAME)) {
            settings.clone().apply(&mut job);
        }
        let id = job.id;
        self.follow.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        Ok(id)
    }

    /// Publishes an event in the transaction that completes this job: it is there exactly if this attempt is the one that
    /// counts. Its cause is the event that started this job, if one did. Returns its id, which is the job's own with a
    /// number: [`EventDraft::id`] is replaced where it is empty, and so is an empty source, by `job/KIND`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, or with its data by the schema of its type.
    pub async fn emit(&self, mut event: EventDraft) -> Result<String, Failure> {
        let number = self.emitted.lock().unwrap_or_else(PoisonError::into_inner).len() + 1;
        if event.id.is_empty() {
            event.id = format!("{}/{number}", self.job_id());
        }
        if event.source.is_empty() {
            event.source = format!("job/{}", self.job.kind());
        }
        event.trace = event.trace.or_else(|| self.job.job.trace.clone());
        event.check().map_err(|faults| Failure::permanent(faults.to_string()))?;
        let id = event.id.clone();
        let (tenant, user) = (self.tenant().to_owned(), Some(format!("job/{}", self.job.kind())));
        let publication = Publication { tenant, draft: event, user, job: Some(self.job_id()) };
        match registry::check(&*self.job.store, std::slice::from_ref(&publication)).await {
            Ok(()) => {}
            Err(StoreError::Invalid(faults)) => return Err(Failure::permanent(faults)),
            Err(error) => return Err(Failure::retry(error.to_string())),
        }
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).push(publication);
        Ok(id)
    }

    /// Begins a transaction in the store's own database, for [`Context::complete`]. PostgreSQL only.
    ///
    /// # Errors
    ///
    /// When the store is SQLite, or no connection can be had.
    pub async fn transaction(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, Failure> {
        self.postgres()?.begin().await.map_err(|error| Failure::retry(error.to_string()))
    }

    /// Commits the transaction together with this job's completion and the jobs of [`Context::enqueue`]:
    /// what was written in it happens exactly once. Return the same output from `run` afterwards.
    ///
    /// # Errors
    ///
    /// When the attempt no longer counts (then nothing is committed), or the database refuses.
    pub async fn complete<T: Serialize>(
        &self,
        mut transaction: sqlx::Transaction<'static, sqlx::Postgres>,
        output: &T,
    ) -> Result<(), Failure> {
        let store = self.postgres()?;
        let mut completion = Completion::new(self.job.job.fence, Ending::Done, Verdict::Done);
        completion.output = Some(serde_json::to_value(output).map_err(|error| Failure::permanent(error.to_string()))?);
        completion.follow = self.follow.lock().unwrap_or_else(PoisonError::into_inner).clone();
        completion.events = self.emitted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The scheduler's sweeper publishes what is dispatched here: after the commit only the store needs to know of
        // it.
        store.complete_in(&mut transaction, &completion).await.map_err(|error| Failure::retry(error.to_string()))?;
        transaction.commit().await?;
        self.take_follow();
        self.take_emitted();
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }

    fn postgres(&self) -> Result<&PostgresStore, Failure> {
        let wrong = "a transaction of your own needs PostgreSQL; this store is embedded";
        self.job.store.as_any().downcast_ref().ok_or_else(|| Failure::permanent(wrong))
    }

    pub(crate) fn take_emitted(&self) -> Vec<Publication> {
        std::mem::take(&mut *self.emitted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take_follow(&self) -> Vec<NewJob> {
        std::mem::take(&mut *self.follow.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the program shares with its kinds, by type, and the settings of [kind.NAME] for further jobs. The configuration
/// is read after the kinds are created, so these are filled in when the work begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct States {
    /// The shared values themselves, for item handlers and apalis' extractors too.
    pub(crate) shared: gristmill_jobs::States,
    said: Arc<OnceLock<BTreeMap<String, KindSettings>>>,
}

impl States {
    /// Fills in the configuration's settings of kinds. A process works by one configuration: the first.
    pub(crate) fn follow_settings(&self, said: &BTreeMap<String, KindSettings>) {
        self.said.get_or_init(|| said.clone());
    }
}

/// A job of a kind with the settings of its code.
pub(crate) fn new_job<K: Kind>(payload: &K) -> serde_json::Result<NewJob> {
    let mut job = NewJob::new(JobId::from(Uuid::now_v7()), K::NAME, serde_json::to_value(payload)?);
    defaults::<K>().apply(&mut job);
    job.unique = payload.unique_key().map(|key| payload.unique(Unique::new(key)));
    job.version = K::VERSION;
    Ok(job)
}

/// The settings in the code of a kind.
pub(crate) fn defaults<K: Kind>() -> KindSettings {
    KindSettings {
        queue: Some(K::queue().to_owned()),
        priority: Some(K::priority()),
        retry: Some(K::retry()),
        timeout: Some(Span(K::timeout())),
        max_attempts: Some(K::max_attempts()),
        max_snoozes: Some(K::max_snoozes()),
    }
}

/// A kind as the worker sees it.
pub(crate) struct KindHandler<K> {
    states: States,
    kind: PhantomData<fn() -> K>,
}

impl<K> KindHandler<K> {
    pub(crate) fn new(states: States) -> Self {
        Self { states, kind: PhantomData }
    }
}

#[async_trait]
impl<K: Kind> Handler for KindHandler<K> {
    async fn run(&self, job: JobContext) -> Finish {
        let payload = match job.job.version {
            version if version == K::VERSION => Ok(job.job.payload.clone()),
            older => K::upgrade(job.job.payload.clone(), older),
        };
        let payload = match payload {
            Ok(payload) => payload,
            Err(failure) => return failure.finish(),
        };
        let payload: K = match serde_json::from_value(payload) {
            Ok(payload) => payload,
            // Another attempt would read the same payload.
            Err(error) => return Finish::permanent(format!("the payload is not one of kind `{}`: {error}", K::NAME)),
        };
        let context = Context {
            job,
            states: self.states.clone(),
            follow: Arc::default(),
            emitted: Arc::default(),
            committed: Arc::default(),
        };
        let output = match payload.run(context.clone()).await {
            Ok(output) => output,
            Err(failure) => return failure.finish(),
        };
        match serde_json::to_value(&output) {
            Ok(output) => Finish {
                follow: context.take_follow(),
                events: context.take_emitted(),
                committed: *context.committed.lock().unwrap_or_else(PoisonError::into_inner),
                ..Finish::done(Some(output))
            },
            Err(error) => Finish::permanent(format!("the output cannot be written as JSON: {error}")),
        }
    }
}

#[cfg(test)]
mod tests;
