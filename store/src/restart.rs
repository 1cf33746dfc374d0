//! When a batch may be restarted: what both stores check before they do it.

use gristmill_core::batch::{BatchState, Counts, FailureBudget};
use gristmill_core::id::BatchId;

use crate::error::{Result, StoreError};
use crate::retention::being_deleted;
use crate::stop::being_stopped;

/// What a restart must know of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Halted {
    pub(crate) state: BatchState,
    /// Whether its plan was complete.
    pub(crate) planned: bool,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Whether its chunks are still being cancelled.
    pub(crate) stopping: bool,
}

/// Refuses a batch that cannot be restarted.
pub(crate) fn may_restart(batch: BatchId, halted: &Halted) -> Result<()> {
    let refused = |why: String| Err(StoreError::Conflict(format!("batch {batch} {why}")));
    match halted.state {
        BatchState::Halted | BatchState::Cancelled => {}
        BatchState::Complete => {
            return refused("is complete; redrive its dead chunks or its quarantined items instead".to_owned());
        }
        state @ (BatchState::Open | BatchState::Sealed | BatchState::Aggregating) => {
            return refused(format!("is {state}: it is under way, and there is nothing to restart"));
        }
    }
    if halted.deleting {
        return Err(being_deleted(batch));
    }
    if halted.stopping {
        return Err(being_stopped(batch));
    }
    if !halted.planned {
        return refused(
            "was cancelled while it was being planned: its input was not read to the end; run it as a new batch"
                .to_owned(),
        );
    }
    Ok(())
}

/// Refuses to run chunks again whose input is gone. A batch that only lacks its aggregate does not read its input.
pub(crate) fn refuse_without_input(batch: BatchId, spools_removed: bool, chunks: usize) -> Result<()> {
    if !spools_removed || chunks == 0 {
        return Ok(());
    }
    let why = "cannot go on: the copy of its input has been removed since it ended; run it as a new batch";
    Err(StoreError::Conflict(format!("batch {batch} {why}")))
}

/// Refuses a restart after which the batch would halt again at once.
pub(crate) fn refuse_over_budget(batch: BatchId, failure_budget: FailureBudget, counts: &Counts) -> Result<()> {
    if !failure_budget.exceeded_by(counts, true) {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "batch {batch} would halt again at once: {} of its {} items are quarantined, more than the budget of {failure_budget}; \
         allow more with `--failure-budget`, bring dead chunks back with `--dead`, or redrive its quarantine first",
        counts.quarantined, counts.input
    )))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_what_has_ended_unfinished_and_was_planned_to_the_end_goes_on() {
        let batch = BatchId(Uuid::nil());
        for state in BatchState::ALL {
            let fine = Halted { state, planned: true, deleting: false, stopping: false };
            let may = matches!(state, BatchState::Halted | BatchState::Cancelled);
            assert_eq!(may_restart(batch, &fine).is_ok(), may, "{state}");
            assert!(may_restart(batch, &Halted { planned: false, ..fine }).is_err(), "{state}");
            assert!(may_restart(batch, &Halted { deleting: true, ..fine }).is_err(), "{state}");
            assert!(may_restart(batch, &Halted { stopping: true, ..fine }).is_err(), "{state}");
        }
    }

    #[test]
    fn only_what_runs_again_needs_its_input() {
        let batch = BatchId(Uuid::nil());
        assert!(refuse_without_input(batch, true, 1).is_err());
        assert!(refuse_without_input(batch, false, 1).is_ok());
        assert!(refuse_without_input(batch, true, 0).is_ok());
    }
}
