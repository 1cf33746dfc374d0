//! What a job carries, and its kind's settings, which apply unless the enqueuer overrides them.

use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_core::job::{DEFAULT_QUEUE, NewJob, Priority};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::SNOOZES_MAX;
use gristmill_core::unique::Unique;
use serde::Serialize;
use uuid::Uuid;

/// The payload of one kind of job. It needs no handler: the workers have that.
///
/// A program that also handles the kind implements `gristmill::Kind` instead, whose jobs look the same.
///
/// ```
/// use gristmill_client::{Payload, Unique};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Invoice { customer: String, month: u32 }
///
/// impl Payload for Invoice {
///     const KIND: &str = "invoice";
///     fn queue() -> &'static str { "billing" }
///     fn unique(&self) -> Option<Unique> { Some(Unique::new(format!("{}-{}", self.customer, self.month))) }
/// }
/// ```
pub trait Payload: Serialize {
    /// The name of the kind: 1 to 100 letters, digits, `-` and `_`.
    const KIND: &'static str;

    /// The version of the payload, 1 or more: only workers that read this version run the job.
    const VERSION: u32 = 1;

    /// The queue on which its jobs wait; the queue `default` unless overridden.
    fn queue() -> &'static str {
        DEFAULT_QUEUE
    }

    /// The priority of its jobs: normal by default.
    fn priority() -> Priority {
        Priority::Normal
    }

    /// How long to wait between attempts: from 1 second doubling to 10 minutes by default.
    fn retry() -> RetryPolicy {
        RetryPolicy::default()
    }

    /// How many attempts a job has: 5 by default.
    fn max_attempts() -> u32 {
        5
    }

    /// How many times a job may be snoozed: 100 by default.
    fn max_snoozes() -> u32 {
        SNOOZES_MAX
    }

    /// How long one attempt may take: 15 minutes by default.
    fn timeout() -> Duration {
        Duration::from_secs(15 * 60)
    }

    /// What makes a job unique. Nothing by default.
    fn unique(&self) -> Option<Unique> {
        None
    }
}

/// Creates the job of a payload, with a fresh id and its kind's settings.
///
/// # Errors
///
/// When the payload cannot be written as JSON.
pub fn new_job<P: Payload>(payload: &P) -> serde_json::Result<NewJob> {
    Ok(NewJob {
        queue: P::queue().to_owned(),
        priority: P::priority(),
        version: P::VERSION,
        max_attempts: P::max_attempts(),
        max_snoozes: P::max_snoozes(),
        timeout: P::timeout(),
        retry: P::retry(),
        unique: payload.unique(),
        ..NewJob::new(JobId(Uuid::now_v7()), P::KIND, serde_json::to_value(payload)?)
    })
}
