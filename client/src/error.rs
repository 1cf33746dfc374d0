//! Why the client failed, and why a wait ended without the expected output.

use gristmill_core::id::{BatchId, JobId, is_name};
use gristmill_store::{BatchView, StoreError};

/// Why something was not enqueued, started or read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's address is wrong, or it refused the login.
    #[error(transparent)]
    Broker(#[from] gristmill_broker::BrokerError),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
    /// The request makes no sense; the text says what would.
    #[error("{0}")]
    Invalid(String),
    /// The store took the job but returned no id for it.
    #[error("the store gave no id for the job")]
    NoId,
}

/// Why a wait did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The client's tenant has no such job or run.
    #[error("the tenant `{tenant}` has no {what}")]
    NotFound {
        /// What was waited for: `job ID`, or the run of a batch.
        what: String,
        /// The client's tenant.
        tenant: String,
    },
    /// The job is a dead letter: its attempts are spent, or its error is permanent.
    #[error("the job {job} failed for good after {attempts} attempts: {error}")]
    Dead {
        /// Which job.
        job: JobId,
        /// How many attempts were made.
        attempts: u32,
        /// What went wrong last.
        error: String,
    },
    /// The job was cancelled.
    #[error("the job {0} was cancelled")]
    Cancelled(JobId),
    /// The scheduler could not start the batch: there is no such definition, or its source cannot be read.
    #[error("the batch `{name}` was not started: {reason}")]
    NotStarted {
        /// The requested batch definition.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The batch has ended, and is not complete: it halted over its failure budget, or was cancelled.
    #[error("the batch {} is {}: {}", .0.id, .0.state, .0.reason.as_deref().unwrap_or("no reason was given"))]
    NotComplete(Box<BatchView>),
    /// The time ran out first. The job or batch goes on.
    #[error("the wait is over: {what} is {state}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The last state that was seen.
        state: String,
        /// The batch, if its run has started.
        batch: Option<BatchId>,
    },
    /// The store refused, or could not be reached until the time ran out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Refuses what cannot be a name.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), ClientError> {
    if is_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(100).collect();
    Err(ClientError::Invalid(format!("`{shown}` names no {what}; use 1 to 100 letters, digits, `-` and `_`")))
}
