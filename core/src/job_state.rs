//! The states of a job. [`crate::job`] draws how they follow each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job is in its life. Each state says how a job gets in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Enqueued for a later time. Leaves by promotion when `run_at` has come, or by cancelling.
    Scheduled,
    /// May be claimed now. Leaves by a claim, or by cancelling.
    Queued,
    /// Claimed by a worker whose lease is alive. Leaves by settling, rescue, release or cancelling.
    Running,
    /// Failed or snoozed, and waits for `run_at`. Leaves by promotion, by hand, or by cancelling.
    Retry,
    /// Finished well. Final.
    Done,
    /// A dead letter: attempts spent, or the error is permanent. Final, until it is redriven.
    Dead,
    /// Called off. Final.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 7] =
        [Self::Scheduled, Self::Queued, Self::Running, Self::Retry, Self::Done, Self::Dead, Self::Cancelled];

    /// Whether nothing but a redrive by hand can change the job any more.
    pub fn is_final(self) -> bool {
        match self {
            Self::Done | Self::Dead | Self::Cancelled => true,
            Self::Scheduled | Self::Queued | Self::Running | Self::Retry => false,
        }
    }

    /// The word for it, the same in the database, on the command line and on the dashboard.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retry => "retry",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is none of those expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not one of {expected}")]
pub struct UnknownWord {
    /// What was found.
    pub found: String,
    /// What would have been right, separated by commas.
    pub expected: String,
}

impl FromStr for JobState {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownWord { found: text.to_owned(), expected: Self::ALL.map(Self::as_str).join(", ") })
    }
}
