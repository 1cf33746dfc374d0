//! A schedule that follows a batch instead of the clock: which endings of the batch count.

use crate::batch::BatchState;

crate::words! {
    /// Which endings of the followed batch count.
    #[derive(Default)]
    pub enum Ending {
        /// It is complete: within its failure budget.
        #[default]
        Done = "done",
        /// It was halted over its failure budget.
        Halted = "halted",
        /// It has ended by itself, in either way. A cancelled batch is not followed.
        Settled = "settled",
    }
}

impl Ending {
    /// Whether a batch that ends in this state is followed.
    pub fn counts(self, state: BatchState) -> bool {
        match state {
            BatchState::Complete => self != Self::Halted,
            BatchState::Halted => self != Self::Done,
            BatchState::Open | BatchState::Sealed | BatchState::Aggregating | BatchState::Cancelled => false,
        }
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
