//! Handlers that were written for apalis, as kinds of jobs: `async fn(Args, …) -> Result<Output, Error>`.
//!
//! The extractors that are re-exported here are apalis' own, so that a program with handlers for apalis only has to
//! change where it registers them: see [`App::apalis_kind`](crate::App::apalis_kind).

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use gristmill_jobs::{Finish, Handler, JobContext, States};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::{Service, ServiceExt};

pub use apalis_core::error::{AbortError, BoxDynError, DeferredError, RetryAfterError};
pub use apalis_core::task::Task;
pub use apalis_core::task::attempt::Attempt;
pub use apalis_core::task::data::{Data, MissingDataError};
pub use apalis_core::task::from_request::FromRequest;
pub use apalis_core::task::task_fn::task_fn;
pub use apalis_core::task::task_id::TaskId;
pub use apalis_core::worker::context::WorkerContext;

use crate::kind::FailureError;

/// A service of apalis' tasks as the worker sees it.
pub(crate) struct ApalisHandler<Args, S> {
    name: String,
    /// Cloned for each attempt. Nothing else happens under the lock.
    service: Mutex<S>,
    states: States,
    args: PhantomData<fn() -> Args>,
}

impl<Args, S> ApalisHandler<Args, S> {
    pub(crate) fn new(name: String, service: S, states: States) -> Self {
        Self { name, service: Mutex::new(service), states, args: PhantomData }
    }
}

#[async_trait]
impl<Args, S> Handler for ApalisHandler<Args, S>
where
    Args: DeserializeOwned + Send + 'static,
    S: Service<Task<Args>, Response: Serialize + Send, Error: Into<BoxDynError>, Future: Send> + Clone + Send + 'static,
{
    async fn run(&self, context: JobContext) -> Finish {
        let task = match task(&self.name, context, &self.states) {
            Ok(task) => task,
            // Another attempt would read the same payload.
            Err(wrong) => return Finish::permanent(wrong),
        };
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match service.oneshot(task).await.map_err(Into::into) {
            Ok(output) => match serde_json::to_value(&output) {
                Ok(output) => Finish::done(Some(output)),
                Err(error) => Finish::permanent(format!("the output cannot be written as JSON: {error}")),
            },
            Err(error) => finish(&error),
        }
    }
}

/// The attempt in apalis' terms: the payload as `Args`, and with it the id, the attempt, the data of the program's
/// layers, what it shares, and the token that fires when the attempt is over for another reason.
fn task<Args: DeserializeOwned>(name: &str, context: JobContext, states: &States) -> Result<Task<Args>, String> {
    let JobContext { job, task: beside, cancel, .. } = context;
    let args: Args = serde_path_to_error::deserialize(job.payload).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" at `{path}`") };
        let wanted = type_name::<Args>();
        let inner = error.inner();
        format!("the payload is not one of kind `{name}`{place}: {inner}; `{wanted}` is wanted")
    })?;
    let mut data = beside.data().clone();
    states.extend(&mut data);
    data.insert(cancel);
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let task = Task::new(args).map_context(|_| beside).into_builder();
    Ok(task
        .task_id(TaskId::from_string(job.fence.job.to_string()))
        .attempt(number(job.fence.attempt))
        .max_attempts(number(job.max_attempts))
        .with_data(data)
        .build())
}

fn finish(error: &BoxDynError) -> Finish {
    if let Some(failure) = error.downcast_ref::<FailureError>() {
        failure.finish()
    } else if error.is::<MissingDataError>() {
        Finish::failed(format!("{error}; share it with `App::state`"))
    } else {
        gristmill_worker::layers::finish(error)
    }
}

#[cfg(test)]
mod tests;
