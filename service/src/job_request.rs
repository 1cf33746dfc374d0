//! From what a caller says about a job to a job that can be enqueued: everything that is wrong with it at once.

use gristmill_core::Instant;
use gristmill_core::duration::Span;
use gristmill_core::id::{JobId, is_name};
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX, Priority, RunAt};
use gristmill_core::limit::KEY_BYTES_MAX;
use gristmill_core::unique::{Hold, OnConflict, Unique};
use serde_json::Value;
use uuid::Uuid;

use crate::start::JobDefaults;

/// The most attempts that a caller may ask for.
pub const ATTEMPTS_MAX: u32 = 10_000;

/// The highest version of a payload.
const VERSION_MAX: u32 = 1_000_000;

/// The longest unique or idempotency key.
const NAME_BYTES_MAX: usize = 500;

/// What a caller says about a job; what it leaves open is as its kind's settings say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobRequest {
    /// What it does.
    pub kind: String,
    /// Its input.
    pub payload: Value,
    /// Which version of its kind's payload that is; 1 unless said.
    pub version: Option<u32>,
    /// The queue on which it waits.
    pub queue: Option<String>,
    /// Its priority.
    pub priority: Option<Priority>,
    /// Whose turn and limit it falls under.
    pub key: Option<String>,
    /// Starts after so long.
    pub after: Option<Span>,
    /// Starts at this instant.
    pub at: Option<Instant>,
    /// Only one job with this key at a time.
    pub unique: Option<String>,
    /// In which states it holds that key.
    pub unique_while: Option<Hold>,
    /// How long it holds that key, whatever its state.
    pub unique_for: Option<Span>,
    /// What happens when another job holds the key.
    pub on_conflict: Option<OnConflict>,
    /// Nothing is enqueued when a job with this key ever was.
    pub idempotency_key: Option<String>,
    /// How many attempts it has.
    pub max_attempts: Option<u32>,
    /// How long one attempt may take.
    pub timeout: Option<Span>,
}

/// What is wrong with a field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongField {
    /// Which field.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl JobRequest {
    /// The job, with the settings of its kind where the request says nothing.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the request.
    pub fn job(self, defaults: &JobDefaults) -> Result<NewJob, Vec<WrongField>> {
        let mut wrong = self.wrong();
        let unique = self.unique().unwrap_or_else(|fault| {
            wrong.push(fault);
            None
        });
        let mut job = NewJob::new(JobId::from(Uuid::now_v7()), self.kind, self.payload);
        defaults(&mut job);
        job.queue = self.queue.unwrap_or(job.queue);
        job.priority = self.priority.unwrap_or(job.priority);
        job.timeout = self.timeout.map_or(job.timeout, |span| span.0);
        job.max_attempts = self.max_attempts.unwrap_or(job.max_attempts);
        job.version = self.version.unwrap_or(1);
        job.run = match (self.after, self.at) {
            (Some(after), _) => RunAt::In(after.0),
            (None, Some(at)) => RunAt::At(at),
            (None, None) => RunAt::Now,
        };
        job.key = self.key;
        job.unique = unique;
        job.idempotency_key = self.idempotency_key;
        if wrong.is_empty() { Ok(job) } else { Err(wrong) }
    }

    fn wrong(&self) -> Vec<WrongField> {
        let mut wrong = Vec::new();
        let mut say = |field, message: String| wrong.push(WrongField { field, message });
        if !is_name(&self.kind) {
            let right = "a name has 1 to 100 letters, digits, `-` and `_`";
            say("kind", format!("`{}` cannot be the name of a kind: {right}", self.kind));
        } else if matches!(self.kind.as_str(), "chunk" | "aggregate") {
            say("kind", format!("jobs of kind `{}` are made by batches; start one instead", self.kind));
        }
        if let Some(queue) = self.queue.as_ref().filter(|queue| !is_name(queue)) {
            let right = "a name has 1 to 100 letters, digits, `-` and `_`";
            say("queue", format!("`{queue}` cannot be the name of a queue: {right}"));
        }
        let bytes = serde_json::to_vec(&self.payload).map_or(0, |bytes| bytes.len());
        if bytes > PAYLOAD_BYTES_MAX {
            let right = "put the data into a file or an object store and enqueue its address";
            say("payload", format!("has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} may be: {right}"));
        }
        if self.key.as_ref().is_some_and(|key| !(1..=KEY_BYTES_MAX).contains(&key.len()) || key.contains('\0')) {
            say("key", format!("must have 1 to {KEY_BYTES_MAX} bytes and no NUL"));
        }
        for (field, key) in [("unique", &self.unique), ("idempotency_key", &self.idempotency_key)] {
            if key.as_ref().is_some_and(|key| !(1..=NAME_BYTES_MAX).contains(&key.len()) || key.contains('\0')) {
                say(field, format!("must have 1 to {NAME_BYTES_MAX} bytes and no NUL"));
            }
        }
        if self.after.is_some() && self.at.is_some() {
            say("at", "is given together with `in`; only one says when it starts".to_owned());
        }
        if self.max_attempts.is_some_and(|attempts| !(1..=ATTEMPTS_MAX).contains(&attempts)) {
            say("max_attempts", format!("must be 1 to {ATTEMPTS_MAX}"));
        }
        if self.version.is_some_and(|version| !(1..=VERSION_MAX).contains(&version)) {
            say("version", format!("must be 1 to {VERSION_MAX}"));
        }
        if self.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
            say("timeout", "is 0, which lets no attempt run; write one such as `15m`".to_owned());
        }
        wrong
    }

    fn unique(&self) -> Result<Option<Unique>, WrongField> {
        let wrong = |field, message: &str| Err(WrongField { field, message: message.to_owned() });
        if self.unique_while.is_some() && self.unique_for.is_some() {
            return wrong(
                "unique_for",
                "is given together with `unique_while`; only one says how long the key is held",
            );
        }
        let Some(key) = &self.unique else {
            let said = self.unique_while.is_some() || self.unique_for.is_some() || self.on_conflict.is_some();
            let message = "is missing although the request says how the job is unique";
            return if said { wrong("unique", message) } else { Ok(None) };
        };
        let conflict = self.on_conflict.unwrap_or_default();
        let hold = match (&self.unique_while, self.unique_for) {
            (Some(hold), _) => hold.clone(),
            (None, Some(period)) => Hold::Period(period.0),
            (None, None) if conflict.takes_over() => Hold::Waiting,
            (None, None) => Hold::Unfinished,
        };
        Ok(Some(Unique::new(key).hold(hold).on_conflict(conflict)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn defaults() -> JobDefaults {
        Arc::new(|job| {
            job.queue = "configured".to_owned();
            job.max_attempts = 3;
        })
    }

    #[test]
    fn what_a_request_says_wins_over_the_settings_of_its_kind() {
        let request = JobRequest { kind: "email".to_owned(), ..JobRequest::default() };
        let job = request.clone().job(&defaults()).expect("a job");
        assert_eq!((job.queue.as_str(), job.max_attempts, job.version, job.run), ("configured", 3, 1, RunAt::Now));
        let said = JobRequest {
            queue: Some("mail".to_owned()),
            max_attempts: Some(9),
            after: Some(Span(Duration::from_secs(5))),
            unique: Some("shop-7".to_owned()),
            on_conflict: Some(OnConflict::Replace),
            ..request
        };
        let job = said.job(&defaults()).expect("a job");
        assert_eq!((job.queue.as_str(), job.max_attempts), ("mail", 9));
        assert_eq!(job.run, RunAt::In(Duration::from_secs(5)));
        assert_eq!(job.unique.expect("unique").hold, Hold::Waiting, "what comes while it runs is not lost");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let request = JobRequest {
            kind: "a b".to_owned(),
            queue: Some(String::new()),
            key: Some("x".repeat(KEY_BYTES_MAX + 1)),
            after: Some(Span(Duration::ZERO)),
            at: Some(Instant::UNIX_EPOCH),
            max_attempts: Some(0),
            version: Some(0),
            timeout: Some(Span(Duration::ZERO)),
            on_conflict: Some(OnConflict::Keep),
            ..JobRequest::default()
        };
        let wrong = request.job(&defaults()).expect_err("wrong");
        let fields: Vec<&str> = wrong.iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["kind", "queue", "key", "at", "max_attempts", "version", "timeout", "unique"]);
    }

    #[test]
    fn what_batches_are_made_of_cannot_be_enqueued() {
        for kind in ["chunk", "aggregate"] {
            let request = JobRequest { kind: kind.to_owned(), ..JobRequest::default() };
            assert!(request.job(&defaults()).expect_err(kind)[0].message.contains("made by batches"));
        }
    }
}
