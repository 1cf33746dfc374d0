//! The worker as a process: everything at once, and an orderly end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backend::{Claimed, Runner, Spawned};
use crate::claim::Claimer;
use crate::claiming::{self, Claiming};
use crate::complete::Completer;
use crate::ended::{Ended, ended};
use crate::in_flight::InFlight;
use crate::layers::Attempts;
use crate::lease::Lease;
use crate::metrics::Clocks;
use crate::revocations::Revocations;
use crate::{Report, Settings, Worker, WorkerError, WorkerOptions, metrics};

/// How long handlers may take to finish after they were called off.
const GRACE: Duration = Duration::from_secs(2);

/// What the loop is made of.
pub(crate) struct Parts {
    pub(crate) claimer: Claimer,
    pub(crate) revocations: Revocations,
    pub(crate) attempts: Attempts,
    pub(crate) clocks: Arc<Clocks>,
    pub(crate) completer: Completer,
    pub(crate) lease: Arc<Lease>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) active: Arc<AtomicUsize>,
    pub(crate) settings: Settings,
    pub(crate) halt: CancellationToken,
    pub(crate) closing: CancellationToken,
}

/// Works until `shutdown`, then stops claiming, lets running jobs finish within the drain time, gives the rest back
/// without spending an attempt, and leaves.
///
/// # Errors
///
/// When it cannot begin, or when it cannot sign off: then its lease runs out by itself.
pub async fn run(options: WorkerOptions, shutdown: impl Future<Output = ()>) -> Result<Report, WorkerError> {
    let dispatcher = options.dispatcher.clone();
    let Parts { claimer, revocations, attempts, clocks, completer, lease, slots, active, settings, halt, closing } =
        Worker::enter(options).await?.parts();
    tracing::info!(worker.id = %lease.current().id, slots = settings.slots, queues = ?settings.queues, "worker begins");

    let beating = CancellationToken::new();
    let beats = beat(&lease, &active, &claimer.in_flight, &settings, &beating);
    let polls = tokio::spawn({
        let (every, beating) = (settings.beat.0, beating.clone());
        async move { revocations.keep(every, &beating).await }
    });
    let (ended, endings) = ended(usize::try_from(settings.slots).unwrap_or(usize::MAX));
    let completing = tokio::spawn(completer.run(endings, Arc::clone(&active), settings.flush.0));
    let (jobs, claimed) = mpsc::channel(usize::try_from(settings.slots).unwrap_or(usize::MAX));
    let runner = runner(Claimed { jobs: claimed }, attempts, ended);

    let stop = claimer.stop.clone();
    let with = claiming::Parts { lease: Arc::clone(&lease), active, clocks, jobs, poll: settings.poll.0 };
    let claiming = Claiming::new(claimer, slots, with).run();
    tokio::pin!(claiming, shutdown);
    let (claimer, asked) = tokio::select! {
        biased;
        claimer = &mut claiming => (claimer, false),
        () = &mut shutdown => {
            stop.cancel();
            (claiming.await, true)
        }
    };

    let (drained, ()) = tokio::join!(drain(runner, settings.drain.0, &halt), claimer.leave());
    closing.cancel();
    let tally = completing.await.map_err(|error| WorkerError::Runner(error.to_string()))?;
    beating.cancel();
    // They only wait for the token; a panic in the first would have ended the lease, and retiring reports that.
    let _ = beats.await;
    let _ = polls.await;
    dispatcher.after(lease.retire()).await?;
    tracing::info!(settled = tally.settled, fenced = tally.fenced, released = tally.released, "worker ends");
    match drained {
        Ok(()) if asked => Ok(tally),
        Ok(()) => Err(WorkerError::Runner("it takes no more jobs".to_owned())),
        Err(error) => Err(error),
    }
}

fn beat(
    lease: &Arc<Lease>,
    active: &Arc<AtomicUsize>,
    in_flight: &InFlight,
    settings: &Settings,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (lease, active, in_flight, stop) = (Arc::clone(lease), Arc::clone(active), in_flight.clone(), stop.clone());
    let (every, slots) = (settings.beat.0, settings.slots);
    tokio::spawn(async move {
        let running = || {
            let running = active.load(Ordering::Relaxed);
            metrics::slots(running, slots);
            u32::try_from(running).unwrap_or(u32::MAX)
        };
        lease.keep(every, running, &in_flight, &stop).await;
    })
}

/// The apalis worker: each job on its own task, and a stream of jobs that it waits for.
fn runner(claimed: Claimed, attempts: Attempts, ended: Ended) -> JoinHandle<Result<(), WorkerError>> {
    let worker = WorkerBuilder::new("gristmill")
        .backend(claimed)
        .parallelize(tokio::spawn::<Spawned>)
        .build(Runner { attempts, ended });
    tokio::spawn(async move { worker.run().await.map_err(|error| WorkerError::Runner(error.to_string())) })
}

/// Waits for running jobs; then calls them off, and waits a little longer for them to notice.
async fn drain(
    mut runner: JoinHandle<Result<(), WorkerError>>,
    within: Duration,
    halt: &CancellationToken,
) -> Result<(), WorkerError> {
    let ended = match tokio::time::timeout(within, &mut runner).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::info!(?within, "the drain time is over: what still runs is given back");
            halt.cancel();
            match tokio::time::timeout(GRACE, &mut runner).await {
                Ok(ended) => ended,
                // A handler that blocks its thread notices nothing. Retiring gives its job back,
                // and the fence keeps it from writing anything down.
                Err(_) => return Ok(()),
            }
        }
    };
    ended.map_err(|error| WorkerError::Runner(error.to_string()))?
}
