//! The settings of one kind of job, from its code and from `[kind.NAME]` in the configuration.

use gristmill_core::definition::AggregateJob;
use gristmill_core::duration::Span;
use gristmill_core::job::{NewJob, Priority};
use gristmill_core::retry::RetryPolicy;
use serde::{Deserialize, Serialize};

/// The settings of one kind of job where the enqueuer says nothing; they win over its code.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindSettings {
    /// The queue on which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Which of the waiting jobs come first.
    #[serde(alias = "lane", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long to wait between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many attempts it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How many times it may be snoozed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_snoozes: Option<u32>,
}

impl KindSettings {
    /// How aggregates are tried: what their batch says, and these settings where it says nothing.
    pub(crate) fn behind(&self, batch: Option<AggregateJob>) -> Option<AggregateJob> {
        let said = batch.unwrap_or_default();
        let job = AggregateJob {
            max_attempts: said.max_attempts.or(self.max_attempts),
            timeout: said.timeout.or(self.timeout),
            retry: said.retry.or_else(|| self.retry.clone()),
        };
        (job != AggregateJob::default()).then_some(job)
    }

    /// Replaces the job's values with those that are set here.
    pub fn apply(self, job: &mut NewJob) {
        if let Some(queue) = self.queue {
            job.queue = queue;
        }
        if let Some(priority) = self.priority {
            job.priority = priority;
        }
        if let Some(retry) = self.retry {
            job.retry = retry;
        }
        if let Some(timeout) = self.timeout {
            job.timeout = timeout.0;
        }
        if let Some(max_attempts) = self.max_attempts {
            job.max_attempts = max_attempts;
        }
        if let Some(max_snoozes) = self.max_snoozes {
            job.max_snoozes = max_snoozes;
        }
    }
}
