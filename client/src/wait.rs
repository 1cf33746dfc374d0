//! Waits for a job: polls the store, with waits that grow from 20 ms to a second.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::retry::RetryPolicy;
use gristmill_store::{JobView, StoreError};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::Client;
use crate::error::WaitError;

/// The wait after the first look.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The longest wait between two looks.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a look may take even when the time runs out before.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// A wait for the end of a job. Awaiting it returns the job's output (`null` when it left none), or how it failed.
///
/// When the store cannot be reached, this waits for it, too: the job goes on without this program.
#[derive(Debug)]
#[must_use = "a wait begins when it is awaited"]
pub struct Wait<'a> {
    client: &'a Client,
    job: JobId,
    at_most: Option<Duration>,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(client: &'a Client, job: JobId) -> Self {
        Self { client, job, at_most: None }
    }

    /// Waits at most this long; then it ends with [`WaitError::TimedOut`], and the job goes on. 0 looks once.
    pub fn at_most(self, at_most: Duration) -> Self {
        Self { at_most: Some(at_most), ..self }
    }

    async fn run(self) -> Result<Value, WaitError> {
        let Self { client, job, at_most } = self;
        let mut patience = Patience::new(at_most);
        let what = format!("job {job}");
        let mut seen = "not seen yet".to_owned();
        loop {
            match patience.ask(client.store.job(&client.tenant, job)).await? {
                Some(None) => return Err(WaitError::NotFound { what, tenant: client.tenant.clone() }),
                Some(Some(view)) if view.state.is_final() => return ended(view),
                Some(Some(view)) => seen = view.state.to_string(),
                None => {}
            }
            if !patience.pause().await {
                return Err(patience.over(what, seen, None));
            }
        }
    }
}

impl<'a> IntoFuture for Wait<'a> {
    type Output = Result<Value, WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

fn ended(view: JobView) -> Result<Value, WaitError> {
    match view.state {
        JobState::Done => Ok(view.output.unwrap_or(Value::Null)),
        JobState::Cancelled => Err(WaitError::Cancelled(view.id)),
        // The other states are not final.
        _ => Err(WaitError::Dead {
            job: view.id,
            attempts: view.attempt,
            error: view.error.unwrap_or_else(|| "no error was given".to_owned()),
        }),
    }
}

/// How long to keep looking, and how long to wait until the next look.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Option<Instant>,
    looks: u32,
    /// Why the last look failed.
    outage: Option<StoreError>,
}

impl Patience {
    pub(crate) fn new(at_most: Option<Duration>) -> Self {
        // A time beyond what the clock can represent is as good as none.
        Self { deadline: at_most.and_then(|at_most| Instant::now().checked_add(at_most)), looks: 0, outage: None }
    }

    /// Asks the store. `None` when it did not answer: it cannot be reached at present, or the time ran out.
    pub(crate) async fn ask<T>(
        &mut self,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Option<T>, WaitError> {
        let answer = match self.deadline {
            None => question.await,
            Some(deadline) => match timeout_at(deadline.max(Instant::now() + LOOK_MIN), question).await {
                Ok(answer) => answer,
                Err(_) => return Ok(None),
            },
        };
        match answer {
            Ok(answer) => {
                self.outage = None;
                Ok(Some(answer))
            }
            Err(error) if error.is_transient() => {
                self.outage = Some(error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the next look. Returns `false` when the time has run out.
    pub(crate) async fn pause(&mut self) -> bool {
        self.looks = self.looks.saturating_add(1);
        let policy = RetryPolicy::Exponential { base: Span(FIRST_WAIT), cap: Span(LONGEST_WAIT) };
        let wait = policy.wait(self.looks, 1.0);
        let Some(deadline) = self.deadline else {
            sleep(wait).await;
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        sleep(wait.min(left)).await;
        !left.is_zero()
    }

    /// Returns the error for when the time has run out.
    pub(crate) fn over(self, what: String, state: String, batch: Option<gristmill_core::id::BatchId>) -> WaitError {
        match self.outage {
            Some(outage) => WaitError::Store(outage),
            None => WaitError::TimedOut { what, state, batch },
        }
    }
}
