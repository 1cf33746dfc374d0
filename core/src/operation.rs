//! An operation: a verb over everything that a query selects, carried out in steps.
//!
//! ```text
//! running → finished | cancelled —undo→ undoing → undone
//!    └───────────────undo─────────────────↑
//! ```

use std::time::Duration;

use chrono::TimeDelta;

use crate::Instant;
use crate::job_state::JobState;
use crate::query::{Key, List, Query};

/// The most jobs that one step changes.
pub const STEP_JOBS_MAX: u32 = 500;

/// The most jobs that one step looks at, whether they match or not.
pub const STEP_READ_MAX: u32 = 2_000;

/// The most jobs that a preview looks at: beyond them it says "more than".
pub const PREVIEW_READ_MAX: u32 = 100_000;

/// The highest rate, in jobs a second.
pub const RATE_MAX: u32 = 1_000_000;

/// The longest time in which an operation can be undone: 7 days.
pub const UNDO_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How much of a rate that was not used may be caught up on.
const CATCH_UP: TimeDelta = TimeDelta::seconds(1);

crate::words! {
    /// What is done to each job.
    #[derive(PartialOrd, Ord)]
    pub enum OperationVerb {
        /// Jobs that wait are cancelled.
        Cancel = "cancel",
        /// Dead letters get another chance.
        Redrive = "redrive",
        /// Dead letters are deleted for good, when the time to undo it is over.
        Discard = "discard",
    }
}

crate::words! {
    /// The state of an operation.
    #[derive(PartialOrd, Ord)]
    pub enum OperationState {
        /// Its steps go on.
        Running = "running",
        /// Everything that it selects is done.
        Finished = "finished",
        /// It was called off: what it has changed stays so.
        Cancelled = "cancelled",
        /// What it has changed is brought back, in steps.
        Undoing = "undoing",
        /// What could be brought back is back.
        Undone = "undone",
    }
}

impl OperationState {
    /// Whether steps are still to come, whatever else happens.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Undoing)
    }
}

impl OperationVerb {
    /// The list whose queries select its jobs.
    pub fn list(self) -> List {
        match self {
            Self::Cancel => List::Jobs,
            Self::Redrive | Self::Discard => List::DeadLetters,
        }
    }

    /// The states that its jobs are in.
    pub fn states(self) -> &'static [JobState] {
        match self {
            Self::Cancel => &[JobState::Queued, JobState::Retry, JobState::Scheduled],
            Self::Redrive | Self::Discard => &[JobState::Dead],
        }
    }

    /// Whether it can be undone.
    pub fn can_be_undone(self) -> bool {
        self != Self::Redrive
    }

    /// Whether it could ever be done to such a job. An aggregate ends with its batch, and a dead chunk goes with it.
    pub fn takes(self, kind: &str, in_batch: bool, is_chunk: bool) -> bool {
        let aggregate = in_batch && kind == "aggregate";
        match self {
            Self::Cancel => !aggregate,
            Self::Redrive => true,
            Self::Discard => !aggregate && !is_chunk,
        }
    }

    /// Refuses a query that would select everything by mistake, or nothing ever.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right.
    pub fn check(self, query: &Query) -> Result<(), String> {
        let states: Vec<&str> = self.states().iter().map(|state| state.as_str()).collect();
        if query.is_empty() {
            let all = match self {
                Self::Cancel => format!("state:{}", states.join(",")),
                Self::Redrive | Self::Discard => "kind:*".to_owned(),
            };
            return Err(format!("the query is empty, and would select everything; write `{all}` if that is meant"));
        }
        if !states.iter().any(|state| query.allows_name(Key::State, state)) {
            return Err(format!(
                "a {self} is for jobs that are {}; the query selects none of these",
                states.join(", ")
            ));
        }
        Ok(())
    }
}

/// How many jobs the next step may change, at this rate a second.
pub fn step_jobs(rate: Option<u32>) -> u32 {
    rate.unwrap_or(STEP_JOBS_MAX).clamp(1, STEP_JOBS_MAX)
}

/// When the next step is due, after one that was due at `due` and has changed so many jobs. Of a rate that was not used,
/// because no scheduler ran, a second is caught up on at most.
pub fn next_due(rate: Option<u32>, due: Instant, now: Instant, jobs: u64) -> Instant {
    let Some(rate) = rate else { return now };
    let micros = jobs.saturating_mul(1_000_000).div_ceil(u64::from(rate.max(1)));
    let wait = TimeDelta::microseconds(i64::try_from(micros).unwrap_or(i64::MAX));
    let from = due.max(now.checked_sub_signed(CATCH_UP).unwrap_or(now));
    from.checked_add_signed(wait).unwrap_or(Instant::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::parse;

    fn second(seconds: f64) -> Instant {
        Instant::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_secs_f64(seconds)
    }

    /// How many jobs are changed in 60 seconds, when a scheduler looks every `every` seconds, from `from` on.
    fn in_a_minute(rate: u32, every: f64, from: f64) -> u64 {
        let (mut due, mut jobs, mut at) = (second(0.0), 0, from);
        while at < 60.0 {
            let now = second(at);
            while due <= now {
                let step = u64::from(step_jobs(Some(rate)));
                jobs += step;
                due = next_due(Some(rate), due, now, step);
            }
            at += every;
        }
        jobs
    }

    #[test]
    fn a_rate_is_kept_whatever_the_rhythm_of_the_scheduler() {
        for (rate, every) in [(10, 0.25), (500, 0.25), (500, 1.0), (1_234, 0.25), (5_000, 0.5), (1, 0.25)] {
            let (jobs, right) = (in_a_minute(rate, every, 0.0), u64::from(rate) * 60);
            let step = u64::from(step_jobs(Some(rate)));
            assert!(jobs.abs_diff(right) <= step + u64::from(rate), "{rate} a second, every {every} s: {jobs}");
        }
    }

    #[test]
    fn what_was_missed_while_no_scheduler_ran_is_not_caught_up_on() {
        let late = in_a_minute(100, 0.25, 50.0);
        assert!(late <= 100 * 12, "ten seconds are left, and one is caught up on: {late}");
    }

    #[test]
    fn without_a_rate_the_next_step_is_due_at_once_and_no_step_is_larger_than_allowed() {
        assert_eq!(next_due(None, second(0.0), second(5.0), 500), second(5.0));
        assert_eq!((step_jobs(None), step_jobs(Some(7)), step_jobs(Some(9_999))), (500, 7, 500));
    }

    #[test]
    fn a_query_that_selects_everything_or_nothing_is_refused() {
        for (verb, text, right) in [
            (OperationVerb::Cancel, "", "state:queued,retry,scheduled"),
            (OperationVerb::Discard, "", "kind:*"),
            (OperationVerb::Cancel, "state:running,done", "queued, retry, scheduled"),
            (OperationVerb::Cancel, "-state:queued,retry,scheduled", "selects none of these"),
        ] {
            let query = parse(verb.list(), text).expect(text);
            assert!(verb.check(&query).expect_err(text).contains(right), "{text}");
        }
        let query = parse(List::Jobs, "state:queued,running kind:a").expect("read");
        OperationVerb::Cancel.check(&query).expect("some of it can be");
    }
}
