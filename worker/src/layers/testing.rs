//! What the tests of single layers use: an attempt, and a service that does what a test says.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::task::Task;
use futures::FutureExt;
use futures::future::BoxFuture;
use gristmill_core::job::NewJob;
use gristmill_jobs::{Finish, JobContext};
use gristmill_store::Claim;
use gristmill_store::testing::{TestStore, claim_as, job, worker};
use tower::Service;

/// An attempt at a job of kind `told`, claimed from a store of its own.
pub(super) async fn task() -> Task<JobContext> {
    let store = TestStore::reference(false).handle();
    let worker = worker(Duration::from_secs(60));
    store.register_worker(&worker).await.expect("registered");
    store.enqueue(&[NewJob { kind: "told".to_owned(), ..job() }]).await.expect("enqueued");
    let claim = Claim { kinds: vec!["told".to_owned()], ..claim_as(worker.id, 1) };
    let job = store.claim_next(&claim).await.expect("claimed").pop().expect("a job");
    Task::new(JobContext::new(job, store))
}

type Script<E> = Arc<dyn Fn(Task<JobContext>) -> BoxFuture<'static, Result<Finish, E>> + Send + Sync>;

/// Answers each attempt with the result of the test's function.
pub(super) struct Scripted<E>(Script<E>);

impl<E> Clone for Scripted<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Scripted<E> {
    pub(super) fn new<F, Fut>(script: F) -> Self
    where
        F: Fn(Task<JobContext>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Finish, E>> + Send + 'static,
    {
        Self(Arc::new(move |task| script(task).boxed()))
    }
}

impl<E> Service<Task<JobContext>> for Scripted<E> {
    type Response = Finish;
    type Error = E;
    type Future = BoxFuture<'static, Result<Finish, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<JobContext>) -> Self::Future {
        (self.0)(task)
    }
}
