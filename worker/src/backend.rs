//! The worker as apalis sees it: a stream of jobs that are claimed already, and the bench where
//! they are run.
//!
//! Claiming, settling and everything that can fail are outside, because any error that a backend
//! yields ends the whole apalis worker and drops what runs. So this one cannot fail.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::lifecycle::LifecycleFuture;
use futures::future::BoxFuture;
use gristmill_core::id::JobId;
use tokio::sync::mpsc;
use tower::Service;
use tower::layer::util::Identity;

use crate::attempt::{Attempts, RunnableJob, Settled};

/// Yields jobs until the claim loop has ended, then lets apalis wait for those that run.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) jobs: mpsc::Receiver<RunnableJob>,
}

/// Runs what the backend yields. Nothing of it is an error to apalis: whatever happens to a job is
/// settled and handed over inside.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) ended: mpsc::Sender<Settled>,
}

/// One job on the bench. A type of its own, because the compiler cannot prove that a boxed future
/// inside apalis' generic one lives long enough to be spawned.
pub(crate) struct RunnerFuture(BoxFuture<'static, ()>);

impl Future for RunnerFuture {
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

/// The same in apalis' wrapping: what is spawned.
pub(crate) type Spawned = LifecycleFuture<RunnerFuture>;

impl Service<Task<RunnableJob>> for Runner {
    type Response = ();
    type Error = Infallible;
    type Future = RunnerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<RunnableJob>) -> RunnerFuture {
        let (attempts, ended) = (Arc::clone(&self.attempts), self.ended.clone());
        RunnerFuture(Box::pin(async move { attempts.attempt(task.args, &ended).await }))
    }
}

impl Backend for Claimed {
    type Task = Task<RunnableJob>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<RunnableJob>, Infallible>>> {
        let in_flight = ready!(self.jobs.poll_recv(cx));
        if in_flight.is_none() {
            // The end of the stream alone does not end an apalis worker: it waits for this word.
            // It can only be refused before the start, and then nothing has been polled.
            let _ = worker.stop();
        }
        Poll::Ready(in_flight.map(|in_flight| Ok(Task::new(in_flight))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Claimed {
    type Args = RunnableJob;
    type Id = JobId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
