//! A job as a request describes it.

use gristmill_core::Instant;
use gristmill_core::duration::Span;
use gristmill_core::job::{NewJob, Priority, RunAt};
use gristmill_core::unique::{Hold, OnConflict};
use serde::Serialize;
use serde_json::Value;

use super::error::HttpError;
use crate::payload::{Payload, new_job};

/// A job as a request describes it. What is left open is as the server's settings of its kind say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HttpJob {
    /// What it does.
    pub kind: String,
    /// Its input.
    pub payload: Value,
    /// Which version of its kind's payload that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The queue on which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whose turn and limit it falls under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Starts after so long.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// Starts at this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Only one job with this key at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<String>,
    /// In which states it holds that key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_while: Option<Hold>,
    /// How long it holds that key, whatever its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_for: Option<Span>,
    /// What happens when another job holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// Nothing is enqueued when a job with this key ever was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How many attempts it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl HttpJob {
    /// A job of a kind by its name, with nothing else said.
    pub fn new(kind: impl Into<String>, payload: Value) -> Self {
        Self { kind: kind.into(), payload, ..Self::default() }
    }

    /// A job with this payload and its kind's settings, except how long to wait between attempts and how often it may be
    /// snoozed: those are the server's.
    ///
    /// # Errors
    ///
    /// When the payload cannot be written as JSON.
    pub fn of<P: Payload>(payload: &P) -> Result<Self, HttpError> {
        let job =
            new_job(payload).map_err(|error| HttpError::Input(format!("the payload cannot be written: {error}")))?;
        Ok(Self::from(job))
    }
}

impl From<NewJob> for HttpJob {
    fn from(job: NewJob) -> Self {
        let (after, at) = match job.run {
            RunAt::Now => (None, None),
            RunAt::In(after) => (Some(Span(after)), None),
            RunAt::At(at) => (None, Some(at)),
        };
        let unique = job.unique;
        let (unique_while, unique_for) = match unique.as_ref().map(|unique| unique.hold.clone()) {
            Some(Hold::Period(period)) => (None, Some(Span(period))),
            hold => (hold, None),
        };
        Self {
            kind: job.kind,
            payload: job.payload,
            version: Some(job.version),
            queue: Some(job.queue),
            priority: Some(job.priority),
            key: job.key,
            after,
            at,
            unique_while,
            unique_for,
            on_conflict: unique.as_ref().map(|unique| unique.conflict),
            unique: unique.map(|unique| unique.key),
            idempotency_key: job.idempotency_key,
            max_attempts: Some(job.max_attempts),
            timeout: Some(Span(job.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gristmill_core::id::JobId;
    use gristmill_core::unique::Unique;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_not_said_is_left_to_the_server() {
        assert_eq!(
            json!(HttpJob::new("email", json!({ "to": 1 }))),
            json!({ "kind": "email", "payload": { "to": 1 } })
        );
    }

    #[test]
    fn a_prepared_job_says_all_that_a_request_can_say() {
        let unique = Unique::new("shop-7").hold(Hold::Period(Duration::from_secs(3_600)));
        let job = NewJob {
            run: RunAt::In(Duration::from_secs(90)),
            unique: Some(unique),
            ..NewJob::new(JobId(Uuid::now_v7()), "reindex", json!(null))
        };
        let said = json!(HttpJob::from(job));
        assert_eq!(
            (&said["in"], &said["unique"], &said["unique_for"]),
            (&json!("1m30s"), &json!("shop-7"), &json!("1h"))
        );
        assert_eq!((said.get("unique_while"), said.get("at")), (None, None));
    }
}
