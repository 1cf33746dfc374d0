//! Runs of batch definitions: requested here, started by a scheduler that has the definition in its configuration.
//!
//! Planning a batch means reading its input, which takes the dependencies of a worker. The client instead writes an
//! event into a ledger in the store, once for its key; a scheduler of the same tenant finds it there, plans the batch,
//! and records its id, or what is wrong.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_store::{BatchView, NewEvent, TickFilter, TickOutcome, TickView, requests_ledger};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::connection::Client;
use crate::error::{ClientError, WaitError, check_name};
use crate::wait::Patience;

/// A run of a batch definition that has not been requested yet.
#[derive(Debug)]
#[must_use = "a run is asked for by `start`"]
pub struct BatchBuilder<'a> {
    client: &'a Client,
    name: String,
    params: Result<Map<String, Value>, ClientError>,
    key: Option<String>,
}

/// A requested run. Keep it to wait for its end, even in another process: it can be written as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRun {
    /// The batch definition.
    pub name: String,
    /// Its idempotency key: the one that was given, or a fresh one.
    pub key: String,
    /// Its place in the ledger.
    pub tick: Instant,
    /// Whether this request created it: `false` when a run with this key was requested before.
    pub created: bool,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// No scheduler has started it yet.
    Waiting,
    /// Its batch exists.
    Started(BatchId),
    /// It could not be started, for this reason.
    Failed(String),
}

impl RunState {
    fn of(tick: &TickView) -> Self {
        let reason = || tick.reason.clone().unwrap_or_else(|| format!("its outcome is {}", tick.outcome));
        match (tick.outcome, tick.batch) {
            (TickOutcome::Ran, Some(batch)) => Self::Started(batch),
            (TickOutcome::Waiting | TickOutcome::Buffered, _) => Self::Waiting,
            _ => Self::Failed(reason()),
        }
    }
}

impl<'a> BatchBuilder<'a> {
    pub(crate) fn new(client: &'a Client, name: String) -> Self {
        Self { client, name, params: Ok(Map::new()), key: None }
    }

    /// Adds a parameter, which the definition's paths and texts may name: `{{ params.KEY }}`.
    pub fn param(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.params = self.params.and_then(|mut params| {
            params.insert(key.into(), serde_json::to_value(value)?);
            Ok(params)
        });
        self
    }

    /// Starts nothing when a run of this definition with this key was ever requested, and returns that run. 1 to 300
    /// characters.
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Requests the run. When this returns, the request is committed: a scheduler of the client's tenant starts it
    /// within seconds, or as soon as one is alive.
    ///
    /// # Errors
    ///
    /// When a parameter cannot be written as JSON, when name, key or parameters are too long, and those of the store.
    /// Only the scheduler knows whether the definition exists: [`Client::wait_for_batch`] reports it.
    pub async fn start(self) -> Result<BatchRun, ClientError> {
        check_name("batch definition", &self.name)?;
        let event = NewEvent {
            tenant: self.client.tenant.clone(),
            schedule: requests_ledger(&self.name),
            event: self.key.unwrap_or_else(|| Uuid::now_v7().to_string()),
            about: json!({ "params": self.params? }),
            job: None,
        };
        let noted = self.client.store.note_event(&event).await?;
        Ok(BatchRun { name: self.name, key: event.event, tick: noted.tick.tick, created: noted.fresh })
    }
}

impl Client {
    /// Returns how far a run has come. `None` when the tenant has no such run.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn run_state(&self, run: &BatchRun) -> Result<Option<RunState>, ClientError> {
        Ok(self.store.ticks(&self.row(run)).await?.first().map(RunState::of))
    }

    fn row(&self, run: &BatchRun) -> TickFilter {
        TickFilter {
            tenant: self.tenant.clone(),
            schedule: requests_ledger(&run.name),
            from: Some(run.tick),
            until: Some(run.tick),
            limit: 1,
        }
    }
}

/// A wait for the end of a run's batch. Awaiting it returns the batch when it is complete, or else how it ended.
#[derive(Debug)]
#[must_use = "a wait begins when it is awaited"]
pub struct WaitForBatch<'a> {
    client: &'a Client,
    run: BatchRun,
    at_most: Option<Duration>,
}

impl<'a> WaitForBatch<'a> {
    pub(crate) fn new(client: &'a Client, run: BatchRun) -> Self {
        Self { client, run, at_most: None }
    }

    /// Waits at most this long; then it ends with [`WaitError::TimedOut`], and the batch goes on. 0 looks once.
    pub fn at_most(self, at_most: Duration) -> Self {
        Self { at_most: Some(at_most), ..self }
    }

    async fn run(self) -> Result<BatchView, WaitError> {
        let Self { client, run, at_most } = self;
        let mut patience = Patience::new(at_most);
        let what = format!("the run `{}` of the batch `{}`", run.key, run.name);
        let (mut seen, mut batch, mut over) = ("not seen yet".to_owned(), None, false);
        let row = client.row(&run);
        loop {
            if let Some(found) = patience.ask(client.store.ticks(&row)).await? {
                let Some(tick) = found.first() else {
                    return Err(WaitError::NotFound { what, tenant: client.tenant.clone() });
                };
                over = !tick.active;
                // A batch whose planning broke off is withdrawn, and its run is started anew.
                batch = match RunState::of(tick) {
                    RunState::Failed(reason) => return Err(WaitError::NotStarted { name: run.name, reason }),
                    RunState::Started(batch) => Some(batch),
                    RunState::Waiting => {
                        seen = format!("not started by any scheduler of the tenant `{}` yet", client.tenant);
                        None
                    }
                };
            }
            if let Some(batch) = batch
                && let Some(found) = patience.ask(client.store.batch(&client.tenant, batch)).await?
            {
                match found {
                    Some(view) if view.state == BatchState::Complete => return Ok(view),
                    Some(view) if view.state.is_final() => return Err(WaitError::NotComplete(Box::new(view))),
                    Some(view) => seen = view.state.to_string(),
                    // It has ended, and was deleted after its time.
                    None if over => {
                        let what = format!("batch {batch} any more");
                        return Err(WaitError::NotFound { what, tenant: client.tenant.clone() });
                    }
                    None => {}
                }
            }
            if !patience.pause().await {
                return Err(patience.over(what, seen, batch));
            }
        }
    }
}

impl<'a> IntoFuture for WaitForBatch<'a> {
    type Output = Result<BatchView, WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
