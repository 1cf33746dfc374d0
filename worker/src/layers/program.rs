//! The layers that a program adds around its attempts.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::task::task_id::TaskId;
use gristmill_jobs::{Finish, JobContext};
use tower::util::{BoxCloneSyncService, Oneshot};
use tower::{Layer, Service, ServiceExt};

use super::{Handlers, never};

/// The request that a layer around attempts receives: the attempt in `args`, and with it what apalis knows of every
/// task: the job's id, the attempt, and data for the layers and extractors further inside.
pub type AttemptRequest = Task<JobContext>;

/// A service of attempts: what a program's layers wrap, and what they are.
pub type AttemptService = BoxCloneSyncService<AttemptRequest, Finish, BoxDynError>;

type Wrap = Arc<dyn Fn(AttemptService) -> AttemptService + Send + Sync>;

/// The layers of a program, the first one outermost.
///
/// A layer sees every attempt of this process, whatever its kind, and how each ended, including timeouts, panics, stops
/// and cancellations. It may change the ending, or return one without calling what it wraps. An error is an ending as
/// well: one that may succeed another time. Layers run within the attempt's time limit; one that panics or hangs costs
/// its own attempt.
#[derive(Clone, Default)]
pub struct Layers(Vec<Wrap>);

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} layers", self.0.len())
    }
}

impl Layers {
    /// Adds a layer inside the existing ones.
    pub fn push<L>(&mut self, layer: L)
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = Finish, Error: Into<BoxDynError>, Future: Send + 'static>,
        L::Service: Clone + Send + Sync + 'static,
    {
        self.0.push(Arc::new(move |inner| AttemptService::new(layer.layer(inner).map_err(Into::into))));
    }

    /// The handlers with these layers around them; nothing when there are none.
    pub(super) fn around(&self, handlers: &Handlers) -> Option<Program> {
        let innermost = AttemptService::new(handlers.clone().map_err(never as fn(Infallible) -> BoxDynError));
        let wrapped = self.0.iter().rev().fold(innermost, |inner, wrap| wrap(inner));
        (!self.0.is_empty()).then_some(Program { wrapped })
    }
}

/// The handlers with the program's layers around them. It is always ready: a layer that is not makes its attempt wait,
/// within the attempt's time limit.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    wrapped: AttemptService,
}

impl Service<AttemptRequest> for Program {
    type Response = Finish;
    type Error = BoxDynError;
    type Future = Oneshot<AttemptService, AttemptRequest>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: AttemptRequest) -> Self::Future {
        self.wrapped.clone().oneshot(described(task))
    }
}

/// Describes the attempt in apalis' terms, for layers that were written for any of its workers.
fn described(task: AttemptRequest) -> AttemptRequest {
    let fence = task.args.job.fence;
    let most = usize::try_from(task.args.job.max_attempts).unwrap_or(usize::MAX);
    task.into_builder()
        .task_id(TaskId::from_string(fence.job.to_string()))
        .attempt(usize::try_from(fence.attempt).unwrap_or(usize::MAX))
        .max_attempts(most)
        .build()
}
