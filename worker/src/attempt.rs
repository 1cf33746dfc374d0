//! One attempt: the job that was claimed for it, and what its ending means.
//!
//! What runs around the handler is in [`layers`](crate::layers).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill_core::job::{ClaimedJob, Fence};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, Verdict, settle, snoozed};
use gristmill_core::trace::TraceContext;
use gristmill_jobs::{Finish, Signals, WithoutRows};
use gristmill_store::Completion;
use tokio::sync::OwnedSemaphorePermit;

use crate::in_flight::InFlightGuard;
use crate::lease::Over;

/// A claimed job, and the signals that call it off.
#[derive(Debug)]
pub(crate) struct ClaimedAttempt {
    pub(crate) job: ClaimedJob,
    /// Keeps the attempt among those in flight until its ending has been written down.
    pub(crate) guard: InFlightGuard,
    /// Fires when the incarnation that claimed the job is over, or when its drain time is.
    pub(crate) over: Over,
}

/// A claimed job with the slot in which it runs.
#[derive(Debug)]
pub(crate) struct RunnableJob {
    pub(crate) attempt: ClaimedAttempt,
    /// Released when the ending has been handed over to the completer.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Counts it among the attempts that may still send an ending to the completer.
    pub(crate) active: ActiveGuard,
}

/// Counts one attempt as active for as long as this lives.
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

impl ClaimedAttempt {
    /// Splits it into the job, what its ending will be judged by, and what calls it off.
    pub(crate) fn split(self) -> (ClaimedJob, Terms, Signals) {
        let Self { job, guard, over } = self;
        let Over { stopped, lost } = over;
        let signals = Signals { stopped, lost, revoked: guard.revoked() };
        let terms = Terms {
            fence: job.fence,
            kind: job.kind.clone(),
            max_attempts: job.max_attempts,
            snoozes: job.snoozes,
            max_snoozes: job.max_snoozes,
            retry: job.retry.clone(),
            without_rows: None,
            guard,
        };
        (job, terms, signals)
    }
}

/// An attempt that has ended, for the completer to write down.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) completion: Completion,
    pub(crate) terms: Terms,
}

/// Decides what an ending means for one job, and holds the guard that keeps the attempt in flight until that is written
/// down.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) fence: Fence,
    pub(crate) kind: String,
    pub(crate) max_attempts: u32,
    pub(crate) snoozes: u32,
    pub(crate) max_snoozes: u32,
    pub(crate) retry: RetryPolicy,
    /// What a chunk's result is without the rows that the user's table refuses.
    pub(crate) without_rows: Option<WithoutRows>,
    pub(crate) guard: InFlightGuard,
}

impl Settled {
    /// The same attempt, but its result could not be stored: it has failed.
    pub(crate) fn refused(self, error: String) -> Self {
        settled(Finish::failed(error), self.terms)
    }
}

/// Decides what the ending means, and logs it once if it is bad.
pub(crate) fn settled(mut finish: Finish, mut terms: Terms) -> Settled {
    terms.guard.ended();
    terms.without_rows = finish.without_rows.take();
    if let (Ending::Snoozed { wait }, false) = (finish.ending, finish.unbounded) {
        finish.ending = snoozed(wait, terms.snoozes, terms.max_snoozes);
        if !matches!(finish.ending, Ending::Snoozed { .. }) {
            let why = finish.error.take().unwrap_or_else(|| "no reason given".to_owned());
            let most = terms.max_snoozes;
            finish.error =
                Some(format!("snoozed {most} times already, which is the most; this counts as a failure: {why}"));
        }
    }
    let fence = terms.fence;
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
        messages: finish.messages,
        events: finish.events,
        ..Completion::new(fence, finish.ending, verdict)
    };
    Settled { completion, terms }
}

/// The error itself is in the store, where only those see it who may see the job: it may quote a payload, the output of
/// a program or the words of a service.
fn report(finish: &Finish, verdict: Verdict) {
    let ending = finish.ending.as_str();
    match verdict {
        Verdict::Done => tracing::debug!(ending, "job done"),
        Verdict::Retry { after } => {
            tracing::warn!(ending, ?after, "attempt failed, will be tried again; see `gristmill job show`");
        }
        Verdict::Dead => tracing::error!(ending, "job is dead; see `gristmill dead list`"),
        Verdict::Snooze { after } => tracing::info!(ending, ?after, "job snoozed, no attempt is spent"),
        Verdict::Requeue | Verdict::Release => tracing::info!(ending, "job given back"),
        Verdict::Revoked => tracing::info!(ending, "attempt called off: its job was taken away meanwhile"),
    }
    if let Some(error) = finish.error.as_deref() {
        tracing::debug!(ending, error, "why");
    }
}

/// The trace context for what the handler causes: the same trace, with a span of its own. A malformed trace context is
/// passed on as it is.
pub(crate) fn below(trace: String) -> String {
    TraceContext::parse(&trace).map_or(trace, |context| context.child(random() | 1).to_string())
}

/// A uniform draw from 0 to 1 for the jitter of the waits.
fn jitter() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let draw = (random() >> 11) as f64;
    draw / (1u64 << 53) as f64
}

/// The crate that makes our ids is the only source of random numbers that we need.
fn random() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // Six bits of an id are fixed; folding the halves onto each other hides them.
    high ^ low.rotate_left(32)
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
