//! What may be changed of a job while it waits: its priority, its queue, when it starts, its payload.
//!
//! Whether it may be is decided here, from the job as it is; the store only writes down what this returns, in the
//! transaction in which it has read the job. An edit can be tied to the [edition](Waiting::edition) that it is based on.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Instant;
use crate::job::{Priority, RunAt};
use crate::job_state::JobState;

/// What is to be changed; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobEdit {
    /// Its priority.
    pub priority: Option<Priority>,
    /// The queue on which it waits.
    pub queue: Option<String>,
    /// When it starts. A job that could start at once waits for the time then.
    pub run: Option<RunAt>,
    /// Its payload, as a whole.
    pub payload: Option<Value>,
    /// Only if it still is this edition.
    pub edition: Option<String>,
}

/// A job that is to be changed, as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting<'a> {
    /// Its state.
    pub state: JobState,
    /// Attempts made.
    pub attempt: u32,
    /// The queue on which it waits.
    pub queue: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// When it may start, if not at once.
    pub run_at: Option<Instant>,
    /// Its payload.
    pub payload: &'a Value,
    /// Whether its payload is the store's own: it is a chunk, whose payload says which items it holds, or an aggregate.
    pub fixed_payload: bool,
}

/// What a job becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    /// Its state: `queued`, or one that waits for a time.
    pub state: JobState,
    /// The queue on which it waits.
    pub queue: String,
    /// Its priority.
    pub priority: Priority,
    /// When it may start, if not at once.
    pub run_at: Option<Instant>,
    /// Its payload, if that is another one.
    pub payload: Option<Value>,
}

/// Why a job is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    /// It does not wait.
    #[error("is {0}; only one that waits (`queued`, `scheduled`, `retry`) can be edited")]
    NotWaiting(JobState),
    /// It was changed since it was read.
    #[error("was changed since it was read; read it again, and repeat the edit on what is there")]
    Stale,
    /// Its payload is not to be changed by hand.
    #[error("has a payload of the store's own, which says what it does for its batch; it cannot be edited")]
    FixedPayload,
}

impl Waiting<'_> {
    /// What of it can be edited, in a few characters: equal as long as nothing of that has changed. The state and the
    /// number of attempts belong to it, so that a job which has run meanwhile is another edition.
    pub fn edition(&self) -> String {
        let mut hasher = Sha256::new();
        let run_at = self.run_at.map(|at| at.timestamp_micros());
        let head = format!("{} {} {} {run_at:?} {}\n", self.state, self.attempt, self.priority, self.queue);
        hasher.update(head.as_bytes());
        hasher.update(self.payload.to_string().as_bytes());
        let sum = hasher.finalize();
        sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What it becomes at this time. `None` when the edit changes nothing of it.
    ///
    /// # Errors
    ///
    /// Why it is not changed.
    pub fn edited(&self, edit: &JobEdit, now: Instant) -> Result<Option<Edited>, NotEdited> {
        if !matches!(self.state, JobState::Queued | JobState::Scheduled | JobState::Retry) {
            return Err(NotEdited::NotWaiting(self.state));
        }
        if edit.edition.as_ref().is_some_and(|edition| *edition != self.edition()) {
            return Err(NotEdited::Stale);
        }
        let payload = edit.payload.as_ref().filter(|payload| *payload != self.payload);
        if payload.is_some() && self.fixed_payload {
            return Err(NotEdited::FixedPayload);
        }
        let run_at = match edit.run {
            None => self.run_at,
            Some(run) => due(run, now).filter(|due| *due > now),
        };
        let edited = Edited {
            state: match (run_at, self.attempt, edit.run) {
                (_, _, None) => self.state,
                (None, _, Some(_)) => JobState::Queued,
                (Some(_), 0, Some(_)) => JobState::Scheduled,
                (Some(_), _, Some(_)) => JobState::Retry,
            },
            queue: edit.queue.clone().unwrap_or_else(|| self.queue.to_owned()),
            priority: edit.priority.unwrap_or(self.priority),
            run_at,
            payload: payload.cloned(),
        };
        let same = edited.state == self.state
            && edited.queue == self.queue
            && edited.priority == self.priority
            && edited.run_at == self.run_at
            && edited.payload.is_none();
        Ok((!same).then_some(edited))
    }
}

/// The instant at which a job may start, to the microsecond, as stores keep it. `None` is at once.
fn due(run: RunAt, now: Instant) -> Option<Instant> {
    let at = match run {
        RunAt::Now => return None,
        RunAt::In(wait) => chrono::TimeDelta::from_std(wait).ok().and_then(|wait| now.checked_add_signed(wait)),
        RunAt::At(at) => Some(at),
    };
    let at = at.filter(|at| *at < latest()).unwrap_or_else(latest);
    Instant::from_timestamp_micros(at.timestamp_micros())
}

/// The latest instant at which a job starts: the end of the year 9999, which every store can keep.
fn latest() -> Instant {
    Instant::from_timestamp(253_402_300_799, 0).unwrap_or(Instant::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Instant {
        Instant::from_timestamp(1_800_000_000 + second, 0).expect("an instant")
    }

    fn waiting(state: JobState, payload: &Value) -> Waiting<'_> {
        let run_at = (state != JobState::Queued).then(|| at(100));
        let attempt = u32::from(state == JobState::Retry);
        Waiting { state, attempt, queue: "mail", priority: Priority::Normal, run_at, payload, fixed_payload: false }
    }

    fn to_run(run: RunAt) -> JobEdit {
        JobEdit { run: Some(run), ..JobEdit::default() }
    }

    #[test]
    fn only_what_waits_is_edited() {
        let payload = json!(1);
        for state in JobState::ALL {
            let edit = JobEdit { priority: Some(Priority::High), ..JobEdit::default() };
            let edited = waiting(state, &payload).edited(&edit, at(0));
            match state {
                JobState::Queued | JobState::Scheduled | JobState::Retry => {
                    let edited = edited.expect("it waits").expect("it changes");
                    assert_eq!((edited.state, edited.priority, edited.payload), (state, Priority::High, None));
                }
                other => assert_eq!(edited, Err(NotEdited::NotWaiting(other))),
            }
        }
    }

    #[test]
    fn a_time_makes_a_job_wait_and_none_or_a_past_one_lets_it_run() {
        let payload = json!(1);
        let wait = Duration::from_secs(60);
        for (state, run, becomes, run_at) in [
            (JobState::Queued, RunAt::In(wait), JobState::Scheduled, Some(at(60))),
            (JobState::Scheduled, RunAt::At(at(5)), JobState::Scheduled, Some(at(5))),
            (JobState::Retry, RunAt::In(wait), JobState::Retry, Some(at(60))),
            (JobState::Retry, RunAt::Now, JobState::Queued, None),
            (JobState::Scheduled, RunAt::At(at(-5)), JobState::Queued, None),
            (JobState::Scheduled, RunAt::In(Duration::ZERO), JobState::Queued, None),
            (JobState::Scheduled, RunAt::In(Duration::MAX), JobState::Scheduled, Some(latest())),
        ] {
            let edited = waiting(state, &payload).edited(&to_run(run), at(0)).expect("it waits").expect("it changes");
            assert_eq!((edited.state, edited.run_at), (becomes, run_at), "{state} {run:?}");
        }
        let begun = Waiting { attempt: 2, ..waiting(JobState::Queued, &payload) };
        let edited = begun.edited(&to_run(RunAt::In(wait)), at(0)).expect("it waits").expect("it changes");
        assert_eq!(edited.state, JobState::Retry, "it was tried before");
    }

    #[test]
    fn what_changes_nothing_is_no_edit() {
        let payload = json!({ "to": 1 });
        let same = JobEdit {
            priority: Some(Priority::Normal),
            queue: Some("mail".to_owned()),
            run: Some(RunAt::At(at(100))),
            payload: Some(json!({ "to": 1 })),
            edition: None,
        };
        assert_eq!(waiting(JobState::Scheduled, &payload).edited(&same, at(0)), Ok(None));
        assert_eq!(waiting(JobState::Queued, &payload).edited(&to_run(RunAt::Now), at(0)), Ok(None));
        assert_eq!(waiting(JobState::Queued, &payload).edited(&JobEdit::default(), at(0)), Ok(None));
    }

    #[test]
    fn an_edit_of_another_edition_is_refused() {
        let (payload, other) = (json!({ "to": 1 }), json!({ "to": 2 }));
        let job = waiting(JobState::Retry, &payload);
        let edit =
            |edition: String| JobEdit { queue: Some("slow".to_owned()), edition: Some(edition), ..JobEdit::default() };
        job.edited(&edit(job.edition()), at(0)).expect("it is this one").expect("it changes");
        let others = [
            Waiting { attempt: 2, ..job.clone() },
            Waiting { queue: "other", ..job.clone() },
            Waiting { priority: Priority::Low, ..job.clone() },
            Waiting { run_at: Some(at(101)), ..job.clone() },
            Waiting { payload: &other, ..job.clone() },
            Waiting { state: JobState::Queued, run_at: None, ..job.clone() },
        ];
        for now in others {
            assert_eq!(now.edited(&edit(job.edition()), at(0)), Err(NotEdited::Stale), "{now:?}");
        }
    }

    #[test]
    fn the_payload_of_a_chunk_stays() {
        let payload = json!({ "items": 3 });
        let chunk = Waiting { fixed_payload: true, ..waiting(JobState::Queued, &payload) };
        let edit = |payload| JobEdit { payload: Some(payload), priority: Some(Priority::Low), ..JobEdit::default() };
        assert_eq!(chunk.edited(&edit(json!({ "items": 4 })), at(0)), Err(NotEdited::FixedPayload));
        chunk.edited(&edit(payload.clone()), at(0)).expect("it is the same").expect("the priority changes");
    }
}
