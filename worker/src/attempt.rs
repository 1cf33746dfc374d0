//! One attempt: run, settle, hand over to the completer.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;
use gristmill_core::job::{ClaimedJob, Fence};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, Verdict, settle, snoozed};
use gristmill_core::trace::TraceContext;
use gristmill_jobs::{Finish, JobContext, Registry};
use gristmill_store::{Completion, StoreHandle, failpoint};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::in_flight::InFlightGuard;
use crate::lease::Over;
use crate::metrics::Clocks;

/// A claimed job, the slot that it takes, and what calls it off.
#[derive(Debug)]
pub(crate) struct RunnableJob {
    pub(crate) job: ClaimedJob,
    pub(crate) guard: InFlightGuard,
    /// Free again when the attempt has been handed over.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Counts it among those that may still bring something to the completer.
    pub(crate) active: ActiveGuard,
    /// Says when the incarnation that claimed the job is over, or its drain time is.
    pub(crate) over: Over,
}

/// One of those that run or are about to.
#[derive(Debug)]
pub(crate) struct ActiveGuard(Arc<AtomicUsize>);

impl ActiveGuard {
    pub(crate) fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An attempt that has ended, for the completer to write down.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) completion: Completion,
    pub(crate) terms: Terms,
}

/// What decides what an ending means for one job, and the hold on it until that is written down.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) kind: String,
    pub(crate) max_attempts: u32,
    pub(crate) snoozes: u32,
    pub(crate) max_snoozes: u32,
    pub(crate) retry: RetryPolicy,
    pub(crate) _hold: InFlightGuard,
}

/// Runs attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    pub(crate) store: StoreHandle,
    pub(crate) registry: Registry,
    pub(crate) clocks: Arc<Clocks>,
}

impl Attempts {
    /// One attempt from its first to its last moment. It cannot fail: whatever happens to the
    /// handler is an ending.
    pub(crate) async fn attempt(&self, in_flight: RunnableJob, completer: &mpsc::Sender<Settled>) {
        let settled = self.run(in_flight.job, in_flight.guard, &in_flight.over).await;
        // Before the hand-over, so that the completer sees at once that nobody else can come.
        drop(in_flight.active);
        if let Some(settled) = settled {
            // The completer outlives every attempt, except when the process gives up; then the
            // lease runs out and somebody else makes good for us.
            let _ = completer.send(settled).await;
        }
        drop(in_flight.slot);
    }

    /// Runs and settles. `None` when the handler has committed its own completion.
    pub(crate) async fn run(&self, job: ClaimedJob, guard: InFlightGuard, over: &Over) -> Option<Settled> {
        let span = span(&job);
        let revoked = guard.revoked();
        let terms = Terms {
            kind: job.kind.clone(),
            max_attempts: job.max_attempts,
            snoozes: job.snoozes,
            max_snoozes: job.max_snoozes,
            retry: job.retry.clone(),
            _hold: guard,
        };
        let fence = job.fence;
        async {
            let began = Instant::now();
            let finish = self.handle(job, over, &revoked).await;
            failpoint::point("attempt.ended");
            self.clocks.ran(&terms.kind, began.elapsed().as_secs_f64());
            (!finish.committed).then(|| settled(finish, fence, terms))
        }
        .instrument(span)
        .await
    }

    async fn handle(&self, mut job: ClaimedJob, over: &Over, revoked: &CancellationToken) -> Finish {
        let Some(handler) = self.registry.get(&job.kind).cloned() else {
            return Finish::permanent(format!("this worker has no handler for the kind `{}`", job.kind));
        };
        let timeout = job.timeout;
        job.trace = job.trace.map(below);
        let cancel = CancellationToken::new();
        // Whatever the handler has started beside itself learns here that the attempt is over.
        let _fires = cancel.clone().drop_guard();
        let context = JobContext { job, store: Arc::clone(&self.store), cancel };
        let work = AssertUnwindSafe(handler.run(context)).catch_unwind();
        tokio::select! {
            biased;
            ended = tokio::time::timeout(timeout, work) => match ended {
                Ok(Ok(finish)) => finish,
                Ok(Err(panic)) => ended_with(Ending::Panicked, format!("the handler panicked: {}", message(&*panic))),
                Err(_) => ended_with(Ending::TimedOut, format!("the attempt took longer than its {timeout:?}")),
            },
            () = over.stopped.cancelled() => {
                ended_with(Ending::Interrupted, "the worker stopped before the attempt was through".to_owned())
            }
            () = over.lost.cancelled() => {
                ended_with(Ending::LeaseLost, "the lease was lost, others have taken over".to_owned())
            }
            () = revoked.cancelled() => {
                ended_with(Ending::Cancelled, "the job was cancelled, or taken away at its deadline".to_owned())
            }
        }
    }
}

impl Settled {
    /// The same attempt, but what came of it could not be kept: it has failed.
    pub(crate) fn refused(self, error: String) -> Self {
        settled(Finish::failed(error), self.completion.fence, self.terms)
    }
}

/// Decides what the ending means, and says so once where it is bad.
fn settled(mut finish: Finish, fence: Fence, terms: Terms) -> Settled {
    if let Ending::Snoozed { wait } = finish.ending {
        finish.ending = snoozed(wait, terms.snoozes, terms.max_snoozes);
        if !matches!(finish.ending, Ending::Snoozed { .. }) {
            let why = finish.error.take().unwrap_or_else(|| "no reason given".to_owned());
            let most = terms.max_snoozes;
            finish.error =
                Some(format!("snoozed {most} times already, which is the most; this counts as a failure: {why}"));
        }
    }
    // Snoozed attempts are not spent: they count neither as made nor as granted.
    let (attempt, most) = (fence.attempt - terms.snoozes, terms.max_attempts - terms.snoozes);
    let verdict = settle(finish.ending, attempt, most, &terms.retry, jitter());
    report(&finish, verdict);
    let completion = Completion {
        error: finish.error,
        output: finish.output,
        chunk: finish.chunk,
        batch_end: finish.batch_end,
        sql: finish.sql,
        follow: finish.follow,
        ..Completion::new(fence, finish.ending, verdict)
    };
    Settled { completion, terms }
}

fn report(finish: &Finish, verdict: Verdict) {
    let (ending, error) = (finish.ending.as_str(), finish.error.as_deref().unwrap_or_default());
    match verdict {
        Verdict::Done => tracing::debug!(ending, "job done"),
        Verdict::Retry { after } => tracing::warn!(ending, error, ?after, "attempt failed, will be tried again"),
        Verdict::Dead => tracing::error!(ending, error, "job is dead"),
        Verdict::Snooze { after } => tracing::info!(ending, error, ?after, "job snoozed, no attempt is spent"),
        Verdict::Requeue | Verdict::Release => tracing::info!(ending, error, "job given back"),
        Verdict::Revoked => tracing::info!(ending, error, "attempt called off: its job was taken away meanwhile"),
    }
}

fn ended_with(ending: Ending, error: String) -> Finish {
    Finish { ending, ..Finish::failed(error) }
}

/// The fields of a job, named once: everything logged while it runs carries them.
fn span(job: &ClaimedJob) -> tracing::Span {
    let span = tracing::info_span!(
        "job",
        job.id = %job.fence.job,
        job.kind = %job.kind,
        queue = %job.queue,
        attempt = job.fence.attempt,
        batch.id = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    if let Some(batch) = job.batch {
        span.record("batch.id", tracing::field::display(batch));
    }
    if let Some(trace) = job.trace.as_deref().and_then(TraceContext::parse) {
        span.record("trace_id", format_args!("{:032x}", trace.trace_id).to_string());
    }
    span
}

/// The trace context for what the handler causes: the same journey, a span of its own. What is no
/// trace context goes on as it is.
fn below(trace: String) -> String {
    TraceContext::parse(&trace).map_or(trace, |context| context.child(random() | 1).to_string())
}

/// A uniform draw from 0 to 1 for the jitter of the waits.
fn jitter() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let draw = (random() >> 11) as f64;
    draw / (1u64 << 53) as f64
}

/// The crate that makes our ids has the only randomness that we need.
fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // Six bits of an id are fixed; the halves lie upon each other so that none of them shows.
    high ^ low.rotate_left(32)
}

/// What a panic said. The payload of `panic!` is one of these two; anything else says nothing.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_stay_between_nothing_and_one_and_differ() {
        let draws: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(draws.iter().all(|draw| (0.0..=1.0).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 0.5) && draws.iter().any(|draw| *draw > 0.5));
    }

    #[test]
    fn what_a_handler_causes_belongs_to_the_same_trace() {
        let above = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
        let below = TraceContext::parse(&below(above.clone())).expect("a trace context");
        let above = TraceContext::parse(&above).expect("a trace context");
        assert_eq!(below.trace_id, above.trace_id);
        assert_ne!(below.span_id, above.span_id);
    }
}
