//! Ends an attempt that takes longer than its job allows.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::task::Task;
use gristmill_core::settle::Ending;
use gristmill_jobs::{Finish, JobContext};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service};

use super::endings::ended_with;

/// Ends attempts at their job's own time limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeoutLayer {
    /// How long the inner service may take beyond it.
    pub(super) grace: Duration,
}

/// A service whose attempts end at their job's own time limit.
#[derive(Debug, Clone)]
pub(crate) struct Timeout<S> {
    inner: S,
    grace: Duration,
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, grace: self.grace }
    }
}

impl<S> Service<Task<JobContext>> for Timeout<S>
where
    S: Service<Task<JobContext>, Response = Finish, Error = Infallible>,
{
    type Response = Finish;
    type Error = Infallible;
    type Future = Timed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<JobContext>) -> Timed<S::Future> {
        let limit = task.args.job.timeout;
        Timed { limit, over: sleep(limit.saturating_add(self.grace)), inner: self.inner.call(task) }
    }
}

pin_project! {
    pub(crate) struct Timed<F> {
        limit: Duration,
        #[pin]
        over: Sleep,
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Finish, Infallible>>> Future for Timed<F> {
    type Output = Result<Finish, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(ended) = this.inner.poll(cx) {
            return Poll::Ready(ended);
        }
        ready!(this.over.poll(cx));
        let error = format!("the attempt took longer than its {:?}", this.limit);
        Poll::Ready(Ok(ended_with(Ending::TimedOut, error)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use tower::ServiceExt;

    use super::super::testing::{Scripted, task};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_job_has_its_own_limit_and_says_which() {
        for seconds in [2, 50] {
            let mut task = task().await;
            task.args.job.timeout = Duration::from_secs(seconds);
            let began = Instant::now();
            let service = TimeoutLayer { grace: Duration::from_secs(1) };
            let service = service.layer(Scripted::new(|_| std::future::pending()));
            let finish = service.oneshot(task).await.expect("an ending");
            assert_eq!(finish.ending, Ending::TimedOut);
            assert_eq!(finish.error, Some(format!("the attempt took longer than its {seconds}s")));
            assert_eq!(began.elapsed().as_secs(), seconds + 1);
        }
    }
}
