//! One run of a batch definition: its states, its counts, its failure budget.
//!
//! ```text
//! open → sealed → aggregating → complete | halted
//!   └───────┴──────────┴──────→ cancelled
//! complete | halted —redrive→ sealed, generation + 1
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

crate::words! {
    /// Where a batch is in its life cycle.
    pub enum BatchState {
        /// More chunks may come.
        Open = "open",
        /// No more chunks will come; some are not final yet.
        Sealed = "sealed",
        /// Every chunk is final; the aggregate runs.
        Aggregating = "aggregating",
        /// The aggregate is committed, within the failure budget.
        Complete = "complete",
        /// The aggregate is committed, and the failure budget was exceeded.
        Halted = "halted",
        /// Called off.
        Cancelled = "cancelled",
    }
}

impl BatchState {
    /// Whether the batch has ended (a redrive may open the next generation).
    pub fn is_final(self) -> bool {
        match self {
            Self::Complete | Self::Halted | Self::Cancelled => true,
            Self::Open | Self::Sealed | Self::Aggregating => false,
        }
    }
}

/// What became of a batch's items. They always reconcile: see [`Counts::pending`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items that the plan has found so far.
    pub input: u64,
    /// Items that passed every stage.
    pub ok: u64,
    /// Items that a transform dropped on purpose.
    pub skipped: u64,
    /// Items set aside one by one with a reason, and all items of dead chunks.
    pub quarantined: u64,
    /// Items of cancelled chunks.
    pub cancelled: u64,
}

impl Counts {
    /// Items that have no outcome yet: `input − ok − skipped − quarantined − cancelled`.
    pub fn pending(&self) -> u64 {
        self.input.saturating_sub(self.ok + self.skipped + self.quarantined + self.cancelled)
    }

    /// Whether the items with an outcome are no more than the items there are.
    pub fn reconcile(&self) -> bool {
        self.ok + self.skipped + self.quarantined + self.cancelled <= self.input
    }
}

/// How many items of a batch may be quarantined before it halts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FailureBudget {
    /// This many items.
    Count(u64),
    /// This percentage of the input.
    Percent(f64),
}

impl Default for FailureBudget {
    /// No items at all.
    fn default() -> Self {
        Self::Count(0)
    }
}

/// Why a text is not a failure budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a failure budget; write a count such as `100`, or a percentage from `0%` to `100%` such as `2.5%`"
)]
pub struct BadTolerate(pub String);

impl FromStr for FailureBudget {
    type Err = BadTolerate;

    fn from_str(text: &str) -> Result<Self, BadTolerate> {
        let bad = || BadTolerate(text.to_owned());
        match text.trim().strip_suffix('%') {
            Some(number) => {
                let percent: f64 = number.trim().parse().map_err(|_| bad())?;
                (0.0..=100.0).contains(&percent).then_some(Self::Percent(percent)).ok_or_else(bad)
            }
            None => text.trim().parse().map(Self::Count).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for FailureBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for FailureBudget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureBudget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Count(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) => Ok(Self::Count(count)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl FailureBudget {
    /// Whether this many quarantined items are over the budget, as far as can be known now.
    ///
    /// A percentage is judged early only when it cannot recover: against the whole input, once that is known. While the
    /// input is still being counted, the share may yet turn out to be small, so before the batch is `sealed` only a
    /// count is judged, and `0%`, which is zero of any number. With zero tolerance the first quarantined item exceeds
    /// the budget.
    pub fn exceeded_by(&self, counts: &Counts, sealed: bool) -> bool {
        match *self {
            Self::Count(limit) => counts.quarantined > limit,
            Self::Percent(0.0) => counts.quarantined > 0,
            #[expect(clippy::cast_precision_loss, reason = "an item count beyond 2^52 does not occur")]
            Self::Percent(percent) => sealed && counts.quarantined as f64 * 100.0 > percent * counts.input as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(input: u64, quarantined: u64) -> Counts {
        Counts { input, quarantined, ..Counts::default() }
    }

    #[test]
    fn a_budget_is_exceeded_by_one_more_than_it_says() {
        let count: FailureBudget = "2".parse().expect("a count");
        assert!(!count.exceeded_by(&counts(10, 2), false));
        assert!(count.exceeded_by(&counts(10, 3), false));
        let percent: FailureBudget = "25%".parse().expect("a percentage");
        assert!(!percent.exceeded_by(&counts(100, 25), true));
        assert!(percent.exceeded_by(&counts(100, 26), true));
    }

    #[test]
    fn a_percentage_waits_until_the_input_is_known() {
        let percent = FailureBudget::Percent(1.0);
        assert!(!percent.exceeded_by(&counts(10, 9), false));
        assert!(percent.exceeded_by(&counts(10, 9), true));
    }

    #[test]
    fn no_percent_at_all_need_not_wait() {
        assert!(FailureBudget::Percent(0.0).exceeded_by(&counts(10, 1), false));
        assert!(!FailureBudget::Percent(0.0).exceeded_by(&counts(10, 0), true));
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_refused_with_an_example() {
        for text in ["", "-1", "101%", "a few", "%"] {
            let error = text.parse::<FailureBudget>().expect_err(text).to_string();
            assert!(error.contains("2.5%"), "{error}");
        }
    }
}
