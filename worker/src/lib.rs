//! Doing: consume, claim, run, settle, acknowledge.
//!
//! A worker is an apalis worker over our own broker and store. In the order in which a job passes through:
//!
//! * [`claiming`]: free slots, and a claim for them; [`claim`]: a micro-batch of ids, one claim; [`intake`] and [`messages`]
//!   are the part with messages.
//! * [`backend`]: what apalis sees, a stream of claimed jobs.
//! * [`logs`]: what attempts say, written down.
//! * [`layers`]: what runs around one attempt, from beginning to end.
//! * [`attempt`]: the job claimed for it, and what its ending means.
//! * [`ended`]: the ways to the completer; [`complete`]: many attempts written down in one transaction; [`gatherer`]:
//!   groups of endings for it.
//! * [`in_flight`]: every attempt from its claim until its ending has been written down.
//! * [`revocations`]: calls off the attempts whose jobs are taken away meanwhile.
//! * [`lease`]: the process's right to all of it.
//!
//! [`run`] is the loop over all of that, [`Worker`] the same in single steps.

mod attempt;
mod backend;
mod claim;
mod claiming;
mod complete;
mod ended;
mod gatherer;
mod in_flight;
mod intake;
pub mod layers;
mod lease;
mod logs;
mod messages;
pub mod metrics;
mod refused_rows;
mod revocations;
mod running;
pub mod settings;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use apalis_core::task::Task;
use gristmill_broker::BrokerError;
use gristmill_core::attempt_log::LogBounds;
use gristmill_core::id::WorkerId;
use gristmill_core::job::ClaimedJob;
use gristmill_jobs::Registry;
use gristmill_jobs::attempt_log::Recorder;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Claim, NewWorker, Result, StoreError, StoreHandle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::attempt::{ClaimedAttempt, Settled};
use crate::claim::{Claimer, Turns};
use crate::complete::Completer;
use crate::in_flight::InFlight;
use crate::intake::Intake;
use crate::layers::{Attempts, Layers};
use crate::lease::Lease;
use crate::logs::LogWriter;
use crate::metrics::Clocks;
use crate::revocations::Revocations;

pub use layers::{AttemptRequest, AttemptService};
pub use running::run;
pub use settings::Settings;

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The source of truth.
    pub store: StoreHandle,
    /// Publishes over the broker. The caller that connected the broker closes it, after the worker.
    pub dispatcher: Dispatcher,
    /// The kinds that it can run. It claims no others.
    pub registry: Registry,
    /// What the program adds around each attempt.
    pub layers: Layers,
    /// How it works.
    pub settings: Settings,
    /// After this long without a broker, it takes its work from the store.
    pub fallback_after: std::time::Duration,
    /// `worker`, or `dev` when the process is scheduler and worker in one.
    pub role: String,
}

/// What a worker has done in its lifetime.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Attempts written down.
    pub settled: u64,
    /// Attempts that ended after their job had been taken away.
    pub fenced: u64,
    /// Attempts given back unspent when it stopped.
    pub released: u64,
}

/// Why a worker could not begin, or could not end well.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The store did not admit it.
    #[error("the worker cannot enter the store: {0}")]
    Store(#[from] StoreError),
    /// The broker refused it for good.
    #[error("the worker cannot take messages: {0}")]
    Broker(#[from] BrokerError),
    /// The settings make no sense.
    #[error("[worker] {0}")]
    Settings(String),
    /// The runner of the jobs ended by itself.
    #[error("the worker's runner ended by itself: {0}")]
    Runner(String),
}

/// A worker that advances only when it is called: one call is one step. For tests and for `--once`.
#[derive(Debug)]
pub struct Worker {
    claimer: Claimer,
    attempts: Attempts,
    clocks: Arc<Clocks>,
    completer: Completer,
    lease: Arc<Lease>,
    settings: Settings,
    /// Calls off whatever runs.
    halt: CancellationToken,
    /// No more attempts will end.
    closing: CancellationToken,
}

impl Worker {
    /// Enters the store with a fresh incarnation and begins to consume.
    ///
    /// # Errors
    ///
    /// When settings make no sense, or store or broker refuse.
    pub async fn enter(options: WorkerOptions) -> std::result::Result<Self, WorkerError> {
        check(&options.settings)?;
        let WorkerOptions { store, dispatcher, registry, layers, settings, fallback_after, role } = options;
        let (halt, closing) = (CancellationToken::new(), CancellationToken::new());
        let who = who(role, &settings, registry.served());
        let (queues, kinds) = (who.queues.clone(), who.kinds.clone());
        let claim = Claim { worker: who.id, queues, kinds, limit: 0 };
        let intake = Intake::open(dispatcher.broker(), &settings.queues, settings.slots).await?;
        let lease = Lease::enter(store.clone(), who, halt.clone()).await?;
        let clocks = Arc::new(Clocks::new(&registry.kinds()));
        let recorder = Recorder::new(LogBounds { lines: settings.log_lines, bytes: settings.log_bytes });
        let logs = LogWriter::new(recorder.clone(), store.clone());
        let completer = Completer::new(store.clone(), dispatcher.clone(), logs, closing.clone());
        let attempts = layers::attempts(Arc::clone(&store), registry, &layers, Arc::clone(&clocks), recorder);
        let (in_flight, turns) = (InFlight::default(), Turns::default());
        let stop = CancellationToken::new();
        let claimer = Claimer {
            store,
            dispatcher,
            intake,
            claim,
            fallback_after,
            in_flight,
            unsure: false,
            turns,
            hints_seen: 0,
            stop,
        };
        Ok(Self { claimer, attempts, clocks, completer, lease: Arc::new(lease), settings, halt, closing })
    }

    /// The incarnation under which it claims now.
    pub fn id(&self) -> WorkerId {
        self.lease.current().id
    }

    /// Claims once, at most as many jobs as there are slots, and runs nothing yet.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn claim(&mut self) -> Result<Vec<ClaimedJob>> {
        let slots = usize::try_from(self.settings.slots).unwrap_or(usize::MAX);
        self.claimer.claim(self.id(), slots, self.settings.poll.0).await
    }

    /// Runs claimed jobs, each on its own task, and writes down how they ended.
    pub async fn work(&mut self, claimed: Vec<ClaimedJob>) {
        let over = self.lease.current().over.clone();
        let mut running = JoinSet::new();
        for job in claimed {
            let guard = self.claimer.in_flight.guard(&job);
            let attempt = ClaimedAttempt { job, guard, over: over.clone() };
            running.spawn(self.attempts.clone().oneshot(Task::new(attempt)));
        }
        let settled: Vec<Settled> = running.join_all().await.into_iter().flatten().flatten().collect();
        if !settled.is_empty() {
            self.completer.write(settled).await;
        }
        self.completer.published().await;
    }

    /// Claims once, runs what it claimed, writes down how it ended, and returns how many jobs that were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn step(&mut self) -> Result<usize> {
        let claimed = self.claim().await?;
        let jobs = claimed.len();
        self.work(claimed).await;
        Ok(jobs)
    }

    /// Prolongs the lease. Returns `false` when it was lost and a new incarnation has begun.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn beat(&self) -> Result<bool> {
        self.lease.beat(0).await
    }

    /// Asks which of its attempts were taken away, calls them off, and returns how many there were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn poll(&self) -> Result<usize> {
        self.revocations().poll().await
    }

    fn revocations(&self) -> Revocations {
        Revocations { store: self.claimer.store.clone(), in_flight: self.claimer.in_flight.clone() }
    }

    /// What it has done so far.
    pub fn report(&self) -> Report {
        self.completer.tally()
    }

    /// Gives everything back and leaves.
    ///
    /// # Errors
    ///
    /// Store errors; then the lease runs out by itself.
    pub async fn retire(self) -> Result<Report> {
        let report = self.report();
        let dispatcher = self.claimer.dispatcher.clone();
        self.claimer.leave().await;
        dispatcher.after(self.lease.retire()).await?;
        Ok(report)
    }

    fn parts(self) -> running::Parts {
        running::Parts {
            revocations: self.revocations(),
            claimer: self.claimer,
            attempts: self.attempts,
            clocks: self.clocks,
            completer: self.completer,
            lease: self.lease,
            slots: Arc::new(Semaphore::new(usize::try_from(self.settings.slots).unwrap_or(usize::MAX))),
            active: Arc::new(AtomicUsize::new(0)),
            settings: self.settings,
            halt: self.halt,
            closing: self.closing,
        }
    }
}

/// The most slots: with more, one process would hold more leases than it can answer for.
const SLOTS_MAX: u32 = 10_000;

fn check(settings: &Settings) -> std::result::Result<(), WorkerError> {
    let refuse = |text: String| Err(WorkerError::Settings(text));
    if settings.slots == 0 || settings.slots > SLOTS_MAX {
        return refuse(format!("slots = {}: write 1 to {SLOTS_MAX}", settings.slots));
    }
    if settings.beat.0.is_zero() || settings.beat.0 * 2 > settings.lease.0 {
        return refuse(
            "beat: must be above zero and at most half of `lease`, so that one lost beat loses nothing".to_owned(),
        );
    }
    if settings.poll.0.is_zero() {
        return refuse("poll: must be above zero; `200ms` is right for most".to_owned());
    }
    Ok(())
}

fn who(role: String, settings: &Settings, kinds: Vec<String>) -> NewWorker {
    NewWorker {
        slots: settings.slots,
        queues: settings.queues.clone(),
        kinds,
        ..gristmill_service::process::incarnation(role, settings.lease.0)
    }
}
