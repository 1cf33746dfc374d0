//! The worker as apalis sees it: a stream of jobs that are already claimed, and the service that runs them.
//!
//! Claiming and everything else that can fail happen outside, because any error that a backend yields ends the whole
//! apalis worker and drops what runs. So this backend cannot fail.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::lifecycle::LifecycleFuture;
use futures::future::BoxFuture;
use gristmill_core::id::JobId;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tower::layer::util::Identity;
use tower::{Service, ServiceExt};

use crate::attempt::{ActiveGuard, RunnableJob, Settled};
use crate::ended::Ended;
use crate::layers::Attempts;

/// Yields jobs until the claim loop has ended, then lets apalis wait for the jobs that still run.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) jobs: mpsc::Receiver<RunnableJob>,
}

/// Runs what the backend yields, and hands each ending over to the completer. To apalis nothing of it is an error.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) attempts: Attempts,
    pub(crate) ended: Ended,
}

/// One running job: its attempt, then the hand-over of its ending.
pub(crate) struct RunnerFuture {
    /// Boxed once, whatever layers the stack has.
    attempt: BoxFuture<'static, Result<Option<Settled>, Infallible>>,
    active: Option<ActiveGuard>,
    ended: Ended,
    /// Waits for room when the completer is busy.
    hand_over: Option<BoxFuture<'static, ()>>,
    /// Released with this future, when the ending has been handed over.
    _slot: OwnedSemaphorePermit,
}

impl Future for RunnerFuture {
    type Output = Result<(), Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(sending) = &mut self.hand_over {
            return sending.as_mut().poll(cx).map(Ok);
        }
        let Ok(settled) = ready!(self.attempt.as_mut().poll(cx));
        // Before the hand-over, so that the completer sees at once that no other ending can come.
        self.active = None;
        let Some(settled) = settled else { return Poll::Ready(Ok(())) };
        let Some(settled) = self.ended.offer(settled) else { return Poll::Ready(Ok(())) };
        let ended = self.ended.clone();
        let sending = self.hand_over.insert(Box::pin(async move { ended.send(settled).await }));
        sending.as_mut().poll(cx).map(Ok)
    }
}

/// The same, wrapped by apalis: what is spawned.
pub(crate) type Spawned = LifecycleFuture<RunnerFuture>;

impl Service<Task<RunnableJob>> for Runner {
    type Response = ();
    type Error = Infallible;
    type Future = RunnerFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<RunnableJob>) -> RunnerFuture {
        let (RunnableJob { attempt, slot, active }, beside) = task.take();
        let attempt = self.attempts.clone().oneshot(Task::new(attempt).map_context(|_| beside));
        RunnerFuture {
            attempt: Box::pin(attempt),
            active: Some(active),
            ended: self.ended.clone(),
            hand_over: None,
            _slot: slot,
        }
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
        let job = ready!(self.jobs.poll_recv(cx));
        if job.is_none() {
            // The end of the stream alone does not end an apalis worker: it waits for this call, which can only be
            // refused before the start, when nothing has been polled.
            let _ = worker.stop();
        }
        Poll::Ready(job.map(|job| Ok(Task::new(job))))
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
