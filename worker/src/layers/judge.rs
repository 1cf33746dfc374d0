//! Turns a claimed job into an attempt, and asks `settle` what its ending means.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use apalis_core::task::Task;
use gristmill_jobs::{Finish, JobContext};
use gristmill_store::{StoreHandle, failpoint};
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{Layer, Service};

use crate::attempt::{ClaimedAttempt, Settled, Terms, below, settled};

/// Judges endings.
#[derive(Debug, Clone)]
pub(super) struct JudgeLayer {
    pub(super) store: StoreHandle,
}

/// A service of claimed jobs. It returns nothing when the handler has committed its own completion.
#[derive(Debug, Clone)]
pub(crate) struct Judge<S> {
    inner: S,
    store: StoreHandle,
}

impl<S> Layer<S> for JudgeLayer {
    type Service = Judge<S>;

    fn layer(&self, inner: S) -> Judge<S> {
        Judge { inner, store: Arc::clone(&self.store) }
    }
}

impl<S> Service<Task<ClaimedAttempt>> for Judge<S>
where
    S: Service<Task<JobContext>, Response = Finish, Error = Infallible>,
{
    type Response = Option<Settled>;
    type Error = Infallible;
    type Future = Judged<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, task: Task<ClaimedAttempt>) -> Judged<S::Future> {
        let (claimed, beside) = task.take();
        let (mut job, terms, signals) = claimed.split();
        job.trace = job.trace.map(below);
        let cancel = CancellationToken::new();
        let over = cancel.clone().drop_guard();
        // The task's own data goes on with it: `Dispatch` gives it to the handler.
        let context = JobContext { job, store: Arc::clone(&self.store), cancel, signals, task: Arc::default() };
        let inner = self.inner.call(Task::new(context).map_context(|_| beside));
        Judged { terms: Some(terms), over: Some(over), inner }
    }
}

pin_project! {
    pub(crate) struct Judged<F> {
        terms: Option<Terms>,
        // Notifies what the handler has started on its own that the attempt is over.
        over: Option<DropGuard>,
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Finish, Infallible>>> Future for Judged<F> {
    type Output = Result<Option<Settled>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(finish) = ready!(this.inner.poll(cx));
        *this.over = None;
        failpoint::point("attempt.ended");
        let terms = this.terms.take().filter(|_| !finish.committed);
        Poll::Ready(Ok(terms.map(|terms| settled(finish, terms))))
    }
}
