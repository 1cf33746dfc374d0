//! The innermost service: the handler of the job's kind.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::task::Task;
use futures::future::BoxFuture;
use gristmill_jobs::{Finish, JobContext, Registry};
use tower::Service;

/// Runs the handler that the registry has for a job.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    registry: Arc<Registry>,
}

impl Dispatch {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry: Arc::new(registry) }
    }
}

impl Service<Task<JobContext>> for Dispatch {
    type Response = Finish;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Finish, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<JobContext>) -> Self::Future {
        let (mut context, beside) = task.take();
        context.task = beside;
        let Some(handler) = self.registry.get(context.kind()).cloned() else {
            let lacking = format!("this worker has no handler for the kind `{}`", context.kind());
            return Box::pin(std::future::ready(Ok(Finish::permanent(lacking))));
        };
        Box::pin(async move { Ok(handler.run(context).await) })
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::settle::Ending;
    use tower::ServiceExt;

    use super::super::testing::task;
    use super::*;

    #[tokio::test]
    async fn a_kind_without_a_handler_fails_for_good_and_is_named() {
        let finish = Dispatch::new(Registry::default()).oneshot(task().await).await.expect("an ending");
        assert_eq!(finish.ending, Ending::Permanent);
        assert_eq!(finish.error.as_deref(), Some("this worker has no handler for the kind `told`"));
    }
}
