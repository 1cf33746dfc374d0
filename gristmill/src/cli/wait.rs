//! Waits for a batch or a job to end while a worker runs it.

use std::time::{Duration, Instant};

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_service::documents::EndedJobsDocument;
use gristmill_store::{BatchView, JobFilter, JobView, Page, StoreHandle};

use crate::cli::backend::Backend;
use crate::cli::context::CommandContext;
use crate::cli::progress::Progress;
use crate::cli::waits::Standstill;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::signals::Signals;
use crate::runtime::work::Working;

/// How often the store is asked whether a batch has sent what it sends.
const ASK_EVERY: Duration = Duration::from_millis(150);

/// The longest silence while jobs end one after the other.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How long to wait.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Patience {
    deadline: Option<Instant>,
}

impl Patience {
    /// Waits at most this long; `None` is for ever.
    pub(crate) fn at_most(timeout: Option<Duration>) -> Self {
        Self { deadline: timeout.map(|timeout| Instant::now() + timeout) }
    }

    /// Whether the time is over.
    pub(super) fn over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// How a wait for a batch ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ended {
    /// The batch has ended.
    Final(Box<BatchView>),
    /// The time limit came first.
    TimedOut(Box<BatchView>),
    /// A signal came: the batch goes on without us.
    Detached {
        /// The batch as it was then.
        batch: Box<BatchView>,
        /// What the signal means.
        exit: Exit,
        /// Whether this process did the work.
        worked: bool,
    },
}

impl Ended {
    /// The batch as it was last seen.
    pub(crate) fn batch(&self) -> &BatchView {
        match self {
            Self::Final(batch) | Self::TimedOut(batch) | Self::Detached { batch, .. } => batch,
        }
    }

    /// What it means for the command that waited.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Final(batch) => match batch.state {
                BatchState::Complete => Exit::Success,
                BatchState::Cancelled => Exit::Cancelled,
                BatchState::Open | BatchState::Sealed | BatchState::Aggregating | BatchState::Halted => Exit::Failed,
            },
            Self::TimedOut(_) => Exit::TimedOut,
            Self::Detached { exit, .. } => *exit,
        }
    }
}

/// Waits until a batch has ended, and shows how far it is.
///
/// # Errors
///
/// When the store fails, or the batch has vanished.
pub(crate) async fn wait_for_batch(
    context: &CommandContext,
    backend: &Backend<'_>,
    batch: BatchId,
    working: &mut Working,
    patience: Patience,
) -> Result<Ended> {
    let ended = working.ended();
    let mut progress = Progress::new(context.output);
    let mut still = Standstill::new();
    let mut signals = Signals::listen()?;
    loop {
        let view = backend.batch(batch).await?;
        let mark = (view.counts, view.state, view.generation, view.paused, view.remaining, view.retries);
        progress.show(&view, still.look(mark, &context.output, async || backend.why_batch(&view).await).await?);
        if view.state.is_final() {
            return Ok(Ended::Final(Box::new(view)));
        }
        if patience.over() {
            return Ok(Ended::TimedOut(Box::new(view)));
        }
        backend.look_after(working).await?;
        tokio::select! {
            exit = signals.next() => {
                return Ok(Ended::Detached { batch: Box::new(view), exit, worked: working.works() });
            }
            () = ended.cancelled() => {
                return Err(CommandError::new(Exit::Failed, format!("the work stopped before the batch {batch} had ended"))
                    .hint(format!("start `{} dev`: it goes on where the work stopped", context.program_here())));
            }
            () = tokio::time::sleep(backend.ask_every()) => {}
        }
    }
}

/// Waits until what a batch sends when it has ended is sent: none of its jobs is queued or running. A job that failed
/// and waits for another try is left to a later worker.
pub(crate) async fn wait_for_effects(
    context: &CommandContext,
    store: &StoreHandle,
    batch: BatchId,
    at_most: Duration,
) -> Result<()> {
    let filter = JobFilter {
        tenant: context.tenant.clone(),
        states: vec![JobState::Queued, JobState::Running],
        batch: Some(batch),
        ..JobFilter::default()
    };
    let until = Instant::now() + at_most;
    while Instant::now() < until {
        if store.jobs(&filter, &Page { after: None, limit: 1 }).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}

/// Waits until a job is final.
///
/// # Errors
///
/// With exit code 7 when the time is over, with that of the signal if one came.
pub(crate) async fn wait_for_job(
    context: &CommandContext,
    backend: &Backend<'_>,
    job: JobId,
    working: &mut Working,
    patience: Patience,
) -> Result<JobView> {
    until_final(context, backend, job, working, patience, &mut Signals::listen()?).await
}

async fn until_final(
    context: &CommandContext,
    backend: &Backend<'_>,
    job: JobId,
    working: &mut Working,
    patience: Patience,
    signals: &mut Signals,
) -> Result<JobView> {
    let ended = working.ended();
    let (mut still, mut said) = (Standstill::new(), String::new());
    loop {
        let view = backend.job(job).await?;
        if view.state.is_final() {
            return Ok(view);
        }
        let mark = (view.state, view.attempt);
        let waits = still.look(mark, &context.output, async || backend.why_job(&view).await).await?.join("; ");
        if !waits.is_empty() && waits != said {
            context.output.note(&format!("waiting for the job {job}: {waits}"));
            said = waits;
        }
        let see = format!("see `{} job show {job}`", context.program_here());
        if patience.over() {
            let what = format!("the wait is over; the job {job} is {}", view.state);
            return Err(CommandError::new(Exit::TimedOut, what).hint(see));
        }
        backend.look_after(working).await?;
        tokio::select! {
            exit = signals.next() => {
                return Err(CommandError::new(exit, format!("no longer waiting for the job {job}")).hint(see));
            }
            () = ended.cancelled() => {
                return Err(CommandError::new(Exit::Failed, format!("the work stopped before the job {job} had ended"))
                    .hint(format!("start `{} dev`: it goes on where the work stopped", context.program_here())));
            }
            () = tokio::time::sleep(backend.ask_every()) => {}
        }
    }
}

/// Waits until all of these jobs are final, one after the other: a job that is looked at is one that still keeps it.
///
/// # Errors
///
/// As for one job.
pub(crate) async fn wait_for_jobs(
    context: &CommandContext,
    backend: &Backend<'_>,
    jobs: &[JobId],
    working: &mut Working,
    patience: Patience,
) -> Result<EndedJobsDocument> {
    let (mut ends, mut said) = (EndedJobsDocument::default(), Instant::now());
    let mut signals = Signals::listen()?;
    for (index, job) in jobs.iter().enumerate() {
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            context.output.note(&format!("{index} of {} jobs have ended", jobs.len()));
        }
        match until_final(context, backend, *job, working, patience, &mut signals).await?.state {
            JobState::Dead => ends.dead += 1,
            JobState::Cancelled => ends.cancelled += 1,
            JobState::Done | JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {
                ends.done += 1;
            }
        }
    }
    Ok(ends)
}
