//! Ends an attempt that is called off from outside: a stop, a lost lease, a job that was cancelled or taken away.
//!
//! The handler is then dropped at the await that it has reached. Nothing that it does afterwards could count.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::task::Task;
use gristmill_core::settle::Ending;
use gristmill_jobs::{Finish, JobContext};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tower::{Layer, Service};

use super::endings::ended_with;

/// Ends attempts that are called off.
#[derive(Debug, Clone, Copy)]
pub(super) struct RevocationLayer {
    /// How long the inner service may take to notice it first.
    pub(super) grace: Duration,
}

/// A service whose attempts end when they are called off.
#[derive(Debug, Clone)]
pub(crate) struct Revocation<S> {
    inner: S,
    grace: Duration,
}

impl<S> Layer<S> for RevocationLayer {
    type Service = Revocation<S>;

    fn layer(&self, inner: S) -> Revocation<S> {
        Revocation { inner, grace: self.grace }
    }
}

impl<S> Service<Task<JobContext>> for Revocation<S>
where
    S: Service<Task<JobContext>, Response = Finish, Error = Infallible>,
{
    type Response = Finish;
    type Error = Infallible;
    type Future = Revocable<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<JobContext>) -> Revocable<S::Future> {
        let signals = task.args.signals.clone();
        Revocable {
            stopped: signals.stopped.cancelled_owned(),
            lost: signals.lost.cancelled_owned(),
            revoked: signals.revoked.cancelled_owned(),
            called_off: None,
            waits: None,
            grace: self.grace,
            inner: self.inner.call(task),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum CalledOff {
    Stopped,
    Lost,
    Revoked,
}

impl CalledOff {
    fn finish(self) -> Finish {
        let (ending, error) = match self {
            Self::Stopped => (Ending::Interrupted, "the worker stopped before the attempt was through"),
            Self::Lost => (Ending::LeaseLost, "the lease was lost, others have taken over"),
            Self::Revoked => (Ending::Cancelled, "the job was cancelled, or taken away at its deadline"),
        };
        ended_with(ending, error.to_owned())
    }
}

pin_project! {
    pub(crate) struct Revocable<F> {
        #[pin]
        stopped: WaitForCancellationFutureOwned,
        #[pin]
        lost: WaitForCancellationFutureOwned,
        #[pin]
        revoked: WaitForCancellationFutureOwned,
        called_off: Option<CalledOff>,
        #[pin]
        waits: Option<Sleep>,
        grace: Duration,
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Finish, Infallible>>> Future for Revocable<F> {
    type Output = Result<Finish, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // An attempt that has ended by itself counts, even if it is called off at the same moment.
        if let Poll::Ready(ended) = this.inner.poll(cx) {
            return Poll::Ready(ended);
        }
        if this.called_off.is_none() {
            *this.called_off = if this.stopped.poll(cx).is_ready() {
                Some(CalledOff::Stopped)
            } else if this.lost.poll(cx).is_ready() {
                Some(CalledOff::Lost)
            } else if this.revoked.poll(cx).is_ready() {
                Some(CalledOff::Revoked)
            } else {
                None
            };
            if this.called_off.is_some() && !this.grace.is_zero() {
                this.waits.set(Some(sleep(*this.grace)));
            }
        }
        let Some(called_off) = *this.called_off else { return Poll::Pending };
        match this.waits.as_mut().as_pin_mut().map(|waits| waits.poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) | None => Poll::Ready(Ok(called_off.finish())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::super::testing::{Scripted, task};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_signal_is_an_ending_of_its_own() {
        for (place, ending) in [Ending::Interrupted, Ending::LeaseLost, Ending::Cancelled].into_iter().enumerate() {
            let task = task().await;
            let signals = task.args.signals.clone();
            [&signals.stopped, &signals.lost, &signals.revoked][place].cancel();
            let service = RevocationLayer { grace: Duration::ZERO }.layer(Scripted::new(|_| std::future::pending()));
            assert_eq!(service.oneshot(task).await.expect("an ending").ending, ending);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ending_that_comes_at_the_same_moment_counts() {
        let task = task().await;
        task.args.signals.revoked.cancel();
        let service =
            RevocationLayer { grace: Duration::ZERO }.layer(Scripted::new(|_| async { Ok(Finish::done(None)) }));
        assert_eq!(service.oneshot(task).await.expect("an ending").ending, Ending::Done);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_inside_has_the_grace_to_notice_first() {
        let grace = Duration::from_secs(1);
        for (takes, ending) in [(900, Ending::Permanent), (1_100, Ending::Cancelled)] {
            let task = task().await;
            task.args.signals.revoked.cancel();
            let began = Instant::now();
            let service = RevocationLayer { grace }.layer(Scripted::new(move |_| async move {
                sleep(Duration::from_millis(takes)).await;
                Ok(Finish::permanent("noticed"))
            }));
            assert_eq!(service.oneshot(task).await.expect("an ending").ending, ending);
            assert_eq!(began.elapsed(), Duration::from_millis(takes).min(grace));
        }
    }
}
