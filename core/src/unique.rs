//! Unique jobs: how long a job holds its key, and what happens to another job that arrives meanwhile.
//!
//! The job's row is the lock: the job's own state determines whether it holds its key, so no lock can outlive its job.
//! The holder decides how long the key is held, the newcomer what happens then.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::job_state::JobState;

/// Without a cap, a debounce waits for at most this many times its wait.
const CAP_FACTOR: u32 = 10;

/// The states of a job that is not final.
const UNFINISHED: [JobState; 4] = [JobState::Scheduled, JobState::Queued, JobState::Running, JobState::Retry];

/// What makes a job unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// At most one job per tenant holds this key at a time.
    pub key: String,
    /// How long this job, once enqueued, keeps other jobs out.
    pub hold: Hold,
    /// What happens to this job when another one holds the key.
    pub conflict: OnConflict,
}

impl Unique {
    /// Held until the job is final; a second job is not created.
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), hold: Hold::Unfinished, conflict: OnConflict::Keep }
    }

    /// The same, with this hold.
    #[must_use]
    pub fn hold(self, hold: Hold) -> Self {
        Self { hold, ..self }
    }

    /// The same, with this action when the key is held.
    #[must_use]
    pub fn on_conflict(self, conflict: OnConflict) -> Self {
        Self { conflict, ..self }
    }
}

/// How long a job holds its unique key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hold {
    /// Until it is final.
    #[default]
    Unfinished,
    /// Until it has begun. A job that was claimed once never holds the key again, even when it is queued again.
    Waiting,
    /// For this long after its enqueue, whatever its state.
    Period(Duration),
    /// While it is in one of these states.
    States(HeldStates),
}

/// States in which a job holds its key: those before its end, and any final states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldStates(Vec<JobState>);

impl HeldStates {
    /// Checks that no second job can slip in.
    ///
    /// # Errors
    ///
    /// [`BadUnique`] when a job could leave these states and come back, or start outside them.
    pub fn new(states: &[JobState]) -> Result<Self, BadUnique> {
        if let Some(gap) = UNFINISHED.into_iter().find(|state| !states.contains(state)) {
            let listed = states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ");
            return Err(BadUnique(format!(
                "the states `{listed}` lack `{gap}`: {}, and a second job slips through; list at least {}, or write \
                 `waiting` for until it has begun",
                slips_through(gap),
                words(&UNFINISHED, ", "),
            )));
        }
        Ok(Self(JobState::ALL.into_iter().filter(|state| states.contains(state)).collect()))
    }
}

fn slips_through(gap: JobState) -> &'static str {
    match gap {
        JobState::Scheduled => "a job for later would not hold its key before its time has come",
        JobState::Queued => "a job that is queued again after a retry would not hold its key any more",
        JobState::Running => "a job sets its key free by being claimed, and takes it again when it is given back",
        JobState::Retry => "a job sets its key free by failing, and takes it again when it is tried again",
        JobState::Done | JobState::Dead | JobState::Cancelled => "it is final",
    }
}

fn words(states: &[JobState], between: &str) -> String {
    states.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(between)
}

impl Hold {
    /// How the store keeps it: the states separated by commas, `waiting` or `period`. `None` means until the job is
    /// final.
    pub fn rule(&self) -> Option<String> {
        match self {
            Self::Unfinished => None,
            Self::Waiting => Some("waiting".to_owned()),
            Self::Period(_) => Some("period".to_owned()),
            Self::States(states) => Some(words(&states.0, ",")),
        }
    }

    /// Whether a job in this state holds its key, regardless of its period; `begun` says whether any attempt has ever
    /// begun.
    pub fn holds(&self, state: JobState, begun: bool) -> bool {
        match self {
            Self::Unfinished => !state.is_final(),
            Self::Waiting => !begun && matches!(state, JobState::Scheduled | JobState::Queued),
            Self::Period(_) => true,
            Self::States(states) => states.0.contains(&state),
        }
    }

    /// How long after the enqueue the key is held, when only that counts.
    pub fn period(&self) -> Option<Duration> {
        match self {
            Self::Period(period) => Some(*period),
            Self::Unfinished | Self::Waiting | Self::States(_) => None,
        }
    }
}

/// Why something is not a valid uniqueness rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadUnique(String);

impl FromStr for Hold {
    type Err = BadUnique;

    fn from_str(text: &str) -> Result<Self, BadUnique> {
        match text {
            "unfinished" => Ok(Self::Unfinished),
            "waiting" => Ok(Self::Waiting),
            states => {
                let states = states.split(',').map(|word| word.trim().parse()).collect::<Result<Vec<JobState>, _>>();
                let states = states.map_err(|error| {
                    BadUnique(format!("{error}; write `unfinished`, `waiting`, or states separated by commas"))
                })?;
                HeldStates::new(&states).map(Self::States)
            }
        }
    }
}

impl TryFrom<String> for Hold {
    type Error = BadUnique;

    fn try_from(text: String) -> Result<Self, BadUnique> {
        text.parse()
    }
}

impl From<Hold> for String {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Period(period) => duration::format(period),
            other => other.rule().unwrap_or_else(|| "unfinished".to_owned()),
        }
    }
}

/// What happens to a job whose unique key is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OnConflict {
    /// It is not created: the holder takes its place.
    #[default]
    Keep,
    /// A holder that has not begun takes over its payload, priority and time. A holder that has begun takes its place.
    Replace,
    /// A holder that has not begun takes over its payload and waits anew. A holder that has begun takes its place.
    Debounce {
        /// How long after the last enqueue the holder starts.
        wait: Duration,
        /// The latest time, after the first enqueue, at which it starts.
        cap: Duration,
    },
    /// It is an error, and nothing of its group is enqueued.
    Refuse,
}

impl OnConflict {
    /// A debounce that starts at the latest ten waits after the first enqueue.
    pub fn debounce(wait: Duration) -> Self {
        Self::Debounce { wait, cap: wait.saturating_mul(CAP_FACTOR) }
    }

    /// Whether it changes a holder.
    pub fn takes_over(self) -> bool {
        match self {
            Self::Replace | Self::Debounce { .. } => true,
            Self::Keep | Self::Refuse => false,
        }
    }
}

impl fmt::Display for OnConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Replace => f.write_str("replace"),
            Self::Refuse => f.write_str("refuse"),
            Self::Debounce { wait, cap } => {
                write!(f, "debounce={}/{}", duration::format(*wait), duration::format(*cap))
            }
        }
    }
}

impl FromStr for OnConflict {
    type Err = BadUnique;

    fn from_str(text: &str) -> Result<Self, BadUnique> {
        match text {
            "keep" => return Ok(Self::Keep),
            "replace" => return Ok(Self::Replace),
            "refuse" => return Ok(Self::Refuse),
            _ => {}
        }
        let Some(waits) = text.strip_prefix("debounce=") else {
            let right = "write `keep`, `replace`, `refuse`, `debounce=5s`, or `debounce=5s/1m` with a latest start";
            return Err(BadUnique(format!("`{text}` is nothing that can become of a second job; {right}")));
        };
        let read = |text: &str| duration::parse(text).map_err(|error| BadUnique(error.to_string()));
        let (wait, cap) = match waits.split_once('/') {
            None => return sound(Self::debounce(read(waits)?)),
            Some((wait, cap)) => (read(wait)?, read(cap)?),
        };
        sound(Self::Debounce { wait, cap })
    }
}

fn sound(conflict: OnConflict) -> Result<OnConflict, BadUnique> {
    match conflict {
        OnConflict::Debounce { wait, .. } if wait.is_zero() => {
            Err(BadUnique("a debounce of 0 waits for nobody; write how long, such as `debounce=5s`".to_owned()))
        }
        OnConflict::Debounce { wait, cap } if cap < wait => Err(BadUnique(format!(
            "a debounce of {} cannot start after {} at the latest; the second must be the longer one",
            duration::format(wait),
            duration::format(cap)
        ))),
        OnConflict::Debounce { .. } | OnConflict::Keep | OnConflict::Replace | OnConflict::Refuse => Ok(conflict),
    }
}

impl TryFrom<String> for OnConflict {
    type Error = BadUnique;

    fn try_from(text: String) -> Result<Self, BadUnique> {
        text.parse()
    }
}

impl From<OnConflict> for String {
    fn from(conflict: OnConflict) -> Self {
        conflict.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_with_a_gap_are_refused_with_the_reason() {
        for (states, gap) in [
            ("queued,running", "`scheduled`"),
            ("scheduled,queued,running", "`retry`"),
            ("scheduled,queued,retry,done", "`running`"),
            ("scheduled,running,retry", "`queued`"),
            ("done", "`scheduled`"),
        ] {
            let refused = states.parse::<Hold>().expect_err(states).to_string();
            assert!(refused.contains(&format!("lack {gap}")) && refused.contains("slips through"), "{refused}");
        }
    }

    #[test]
    fn holds_are_read_and_kept_in_the_order_of_a_jobs_life() {
        let rule = |text: &str| text.parse::<Hold>().expect(text).rule();
        assert_eq!(rule("unfinished"), None);
        assert_eq!(rule("waiting").as_deref(), Some("waiting"));
        assert_eq!(
            rule("done, retry,running,queued,scheduled").as_deref(),
            Some("scheduled,queued,running,retry,done")
        );
        assert!("sleeping".parse::<Hold>().is_err());
    }

    #[test]
    fn conflicts_are_read_as_they_are_written() {
        for text in ["keep", "replace", "refuse", "debounce=5s/1m"] {
            assert_eq!(text.parse::<OnConflict>().map(|conflict| conflict.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("debounce=5s".parse(), Ok(OnConflict::debounce(Duration::from_secs(5))));
        for wrong in ["drop", "debounce", "debounce=", "debounce=0s", "debounce=1m/5s", "debounce=5s/x"] {
            assert!(wrong.parse::<OnConflict>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_states_word_is_a_part_of_another() {
        // The stores search the rule for a state's word.
        for state in JobState::ALL {
            let within = JobState::ALL.iter().filter(|other| other.as_str().contains(state.as_str())).count();
            assert_eq!(within, 1, "{state}");
        }
    }
}
