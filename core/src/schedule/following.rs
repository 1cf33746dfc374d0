//! A schedule that follows a batch instead of the clock: which of its endings count.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::batch::BatchState;
use crate::job::UnknownWord;

/// Which endings of the followed batch count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It is complete: within its failure budget.
    #[default]
    Done,
    /// It was halted over its failure budget.
    Halted,
    /// It has come to its end by itself, in either way. One that somebody cancelled is followed by nothing.
    Settled,
}

impl Ending {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Done, Self::Halted, Self::Settled];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Halted => "halted",
            Self::Settled => "settled",
        }
    }

    /// Whether a batch that ends in this state is followed.
    pub fn counts(self, state: BatchState) -> bool {
        match state {
            BatchState::Complete => self != Self::Halted,
            BatchState::Halted => self != Self::Done,
            BatchState::Open | BatchState::Sealed | BatchState::Aggregating | BatchState::Cancelled => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Ending {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::ALL
            .into_iter()
            .find(|ending| ending.as_str() == text)
            .ok_or_else(|| UnknownWord { found: text.to_owned(), expected: Self::ALL.map(Self::as_str).join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_batch_is_followed_by_nothing_and_the_others_as_asked() {
        let ends = [BatchState::Complete, BatchState::Halted, BatchState::Cancelled];
        let counts = |ending: Ending| ends.map(|state| ending.counts(state));
        assert_eq!(counts(Ending::Done), [true, false, false]);
        assert_eq!(counts(Ending::Halted), [false, true, false]);
        assert_eq!(counts(Ending::Settled), [true, true, false]);
        assert_eq!("halted".parse::<Ending>().map(Ending::as_str).ok(), Some("halted"));
        assert!("cancelled".parse::<Ending>().is_err());
    }
}
