//! An operation: a verb over everything that a query selects, carried out in steps.
//!
//! ```text
//! running → finished | cancelled —undo→ undoing → undone
//!    └───────────────undo─────────────────↑
//! ```

use std::time::Duration;

use chrono::TimeDelta;

use crate::Instant;
use crate::batch::BatchState;
use crate::job_state::JobState;
use crate::query::{Key, List, Query};

/// The most jobs that one step changes.
pub const STEP_JOBS_MAX: u32 = 500;

/// The most jobs that one step looks at, whether they match or not.
pub const STEP_READ_MAX: u32 = 2_000;

/// The most quarantined items that one step changes, where no rate is asked for: all of a batch as a rule, so that they
/// run again in one generation of it.
pub const STEP_ITEMS_MAX: u32 = 5_000;

/// The most quarantined items that one step looks at.
pub const STEP_ITEMS_READ_MAX: u32 = 10_000;

/// How many batches one step changes: each may have thousands of chunks.
pub const STEP_BATCHES_MAX: u32 = 1;

/// The most rows that a preview looks at: beyond them it says "more than".
pub const PREVIEW_READ_MAX: u32 = 100_000;

/// The highest rate, in jobs, items or batches a second.
pub const RATE_MAX: u32 = 1_000_000;

/// The longest time in which an operation can be undone: 7 days.
pub const UNDO_MAX: Duration = Duration::from_secs(7 * 86_400);

/// How much of a rate that was not used may be caught up on.
const CATCH_UP: TimeDelta = TimeDelta::seconds(1);

crate::words! {
    /// What is done to each job, quarantined item or batch.
    #[derive(PartialOrd, Ord)]
    pub enum OperationVerb {
        /// Jobs that wait are cancelled.
        Cancel = "cancel",
        /// Dead letters get another chance.
        Redrive = "redrive",
        /// Dead letters are deleted for good, when the time to undo it is over.
        Discard = "discard",
        /// Quarantined items run again as they are.
        RedriveItems = "redrive-items",
        /// Quarantined items are taken out of the quarantine, and deleted for good when the time to undo it is over.
        DiscardItems = "discard-items",
        /// Batches that go on are cancelled.
        CancelBatches = "cancel-batches",
        /// Batches that go on are paused.
        PauseBatches = "pause-batches",
        /// Batches that are paused go on.
        ResumeBatches = "resume-batches",
        /// Batches that halted or were cancelled go on in their next generation.
        RestartBatches = "restart-batches",
        /// Batches that have ended are deleted, each with all that belongs to it.
        DeleteBatches = "delete-batches",
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

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subjects {
    /// Jobs, dead letters among them.
    Jobs,
    /// Quarantined items.
    Items,
    /// Batches.
    Batches,
}

impl Subjects {
    /// What one is called, and several.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Jobs => ("job", "jobs"),
            Self::Items => ("item", "items"),
            Self::Batches => ("batch", "batches"),
        }
    }
}

/// What decides whether a verb could be done to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFacts {
    /// Its state.
    pub state: BatchState,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether its chunks are still being cancelled.
    pub stopping: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl OperationVerb {
    /// What it is done to.
    pub fn subjects(self) -> Subjects {
        match self {
            Self::Cancel | Self::Redrive | Self::Discard => Subjects::Jobs,
            Self::RedriveItems | Self::DiscardItems => Subjects::Items,
            Self::CancelBatches
            | Self::PauseBatches
            | Self::ResumeBatches
            | Self::RestartBatches
            | Self::DeleteBatches => Subjects::Batches,
        }
    }

    /// The list whose queries select what it is done to.
    pub fn list(self) -> List {
        match self {
            Self::Cancel => List::Jobs,
            Self::Redrive | Self::Discard => List::DeadLetters,
            _ => match self.subjects() {
                Subjects::Jobs => List::Jobs,
                Subjects::Items => List::Quarantine,
                Subjects::Batches => List::Batches,
            },
        }
    }

    /// The word for what is done to each, whatever that is: `cancel` for `cancel-batches`.
    pub fn word(self) -> &'static str {
        self.as_str().split('-').next().unwrap_or_default()
    }

    /// The states that its jobs are in; none where it is not about jobs.
    pub fn job_states(self) -> &'static [JobState] {
        match self {
            Self::Cancel => &[JobState::Queued, JobState::Retry, JobState::Scheduled],
            Self::Redrive | Self::Discard => &[JobState::Dead],
            _ => &[],
        }
    }

    /// The states that its batches are in; none where it is not about batches.
    pub fn batch_states(self) -> &'static [BatchState] {
        match self {
            Self::CancelBatches | Self::PauseBatches => {
                &[BatchState::Open, BatchState::Sealed, BatchState::Aggregating]
            }
            Self::ResumeBatches => &BatchState::ALL,
            Self::RestartBatches => &[BatchState::Halted, BatchState::Cancelled],
            Self::DeleteBatches => &[BatchState::Complete, BatchState::Halted, BatchState::Cancelled],
            _ => &[],
        }
    }

    /// The states of what it is done to.
    fn states(self) -> Vec<&'static str> {
        match self.subjects() {
            Subjects::Jobs => self.job_states().iter().map(|state| state.as_str()).collect(),
            Subjects::Items => vec!["open"],
            Subjects::Batches => self.batch_states().iter().map(|state| state.as_str()).collect(),
        }
    }

    /// Whether it can be undone.
    pub fn can_be_undone(self) -> bool {
        matches!(self, Self::Cancel | Self::Discard | Self::DiscardItems | Self::CancelBatches)
    }

    /// How many one step changes at most, at this rate a second.
    pub fn step_max(self, rate: Option<u32>) -> u32 {
        match self {
            Self::RedriveItems => rate.map_or(STEP_ITEMS_MAX, |rate| rate.clamp(1, STEP_JOBS_MAX)),
            _ if self.subjects() == Subjects::Batches => STEP_BATCHES_MAX,
            _ => step_jobs(rate),
        }
    }

    /// How many one step looks at, whether they match or not.
    pub fn read_max(self) -> u32 {
        match self.subjects() {
            Subjects::Jobs | Subjects::Batches => STEP_READ_MAX,
            Subjects::Items => STEP_ITEMS_READ_MAX,
        }
    }

    /// Whether it could ever be done to such a job. An aggregate ends with its batch, and a dead chunk goes with it.
    pub fn takes(self, kind: &str, in_batch: bool, is_chunk: bool) -> bool {
        let aggregate = in_batch && kind == "aggregate";
        match self {
            Self::Cancel => !aggregate,
            Self::Redrive => true,
            Self::Discard => !aggregate && !is_chunk,
            _ => false,
        }
    }

    /// Whether it can be done to such a batch now.
    pub fn takes_batch(self, batch: BatchFacts) -> bool {
        let BatchFacts { state, paused, stopping, deleting } = batch;
        let right = self.batch_states().contains(&state);
        right
            && match self {
                Self::PauseBatches => !paused,
                Self::ResumeBatches => paused && !stopping,
                Self::RestartBatches => !stopping && !deleting,
                Self::DeleteBatches => !deleting,
                _ => true,
            }
    }

    /// Refuses a query that would select everything by mistake, or nothing ever.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right.
    pub fn check(self, query: &Query) -> Result<(), String> {
        let states = self.states();
        if query.is_empty() {
            let all = match self {
                Self::Redrive | Self::Discard => "kind:*".to_owned(),
                _ if self.subjects() == Subjects::Batches => "name:*".to_owned(),
                _ => format!("state:{}", states.join(",")),
            };
            return Err(format!("the query is empty, and would select everything; write `{all}` if that is meant"));
        }
        if !states.iter().any(|state| query.allows_name(Key::State, state)) {
            let (_, several) = self.subjects().names();
            return Err(format!(
                "a {} is for {several} that are {}; the query selects none of these",
                self.word(),
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
    fn a_verb_is_for_what_its_query_lists_and_one_step_is_no_larger_than_it_may_be() {
        for verb in OperationVerb::ALL {
            assert_eq!(verb.job_states().is_empty(), verb.subjects() != Subjects::Jobs, "{verb}");
            assert_eq!(verb.batch_states().is_empty(), verb.subjects() != Subjects::Batches, "{verb}");
            assert!(verb.step_max(Some(7)) <= 7 && verb.step_max(None) >= 1, "{verb}");
            assert_eq!(verb.can_be_undone(), ["cancel", "discard"].contains(&verb.word()), "{verb}");
        }
        assert_eq!(OperationVerb::RedriveItems.step_max(None), STEP_ITEMS_MAX);
        assert_eq!(OperationVerb::CancelBatches.step_max(Some(9)), 1);
    }

    #[test]
    fn a_batch_is_taken_only_by_what_can_be_done_to_it_now() {
        let words = |facts: BatchFacts| {
            let taken = OperationVerb::ALL.into_iter().filter(|verb| verb.takes_batch(facts));
            taken.map(OperationVerb::word).collect::<Vec<_>>().join(" ")
        };
        let going = BatchFacts { state: BatchState::Sealed, paused: false, stopping: false, deleting: false };
        assert_eq!(words(going), "cancel pause");
        assert_eq!(words(BatchFacts { paused: true, ..going }), "cancel resume");
        assert_eq!(words(BatchFacts { paused: true, stopping: true, ..going }), "cancel", "it is being halted");
        let over = BatchFacts { state: BatchState::Cancelled, ..going };
        assert_eq!(words(over), "restart delete");
        assert_eq!(words(BatchFacts { stopping: true, paused: true, ..over }), "delete");
        assert_eq!(words(BatchFacts { deleting: true, ..over }), "");
        assert_eq!(words(BatchFacts { state: BatchState::Complete, ..going }), "delete");
        assert_eq!(words(BatchFacts { state: BatchState::Complete, paused: true, ..going }), "resume delete");
    }

    #[test]
    fn a_query_that_selects_everything_or_nothing_is_refused() {
        for (verb, text, right) in [
            (OperationVerb::RedriveItems, "", "state:open"),
            (OperationVerb::DeleteBatches, "", "name:*"),
            (OperationVerb::RedriveItems, "state:redriven", "items that are open"),
            (OperationVerb::CancelBatches, "state:halted", "batches that are open, sealed, aggregating"),
            (OperationVerb::RestartBatches, "state:complete", "halted, cancelled"),
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
