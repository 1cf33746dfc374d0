//! What stops a batch as a whole: a cancel by hand, or a halt over its failure budget.
//!
//! A batch may have millions of chunks. To cancel them all at once would keep their rows locked and in memory for
//! minutes, and a caller that gave up in between would begin anew. So the first transaction decides: it says in the batch's
//! row what becomes of it, and cancels as many chunks as one transaction may. A smaller batch is over with it. What is
//! left follows in steps, and until the last of them the batch is paused without a time, which is the mark that a step
//! is due: nothing of it starts any more, it cannot be resumed or restarted, and when the process that stops it dies,
//! the scheduler goes on.

use gristmill_core::id::BatchId;

use crate::ControlReport;
use crate::error::StoreError;

/// How many chunks one transaction cancels, and how many messages.
pub(crate) const STEP_CHUNKS_MAX: i64 = 5_000;

/// How many stopped batches the scheduler looks at in one go.
pub(crate) const STOPS_MAX: i64 = 100;

/// How many samples a report has.
const SAMPLES_MAX: usize = 5;

/// Whether a step is due for the batch of a row, in both databases.
macro_rules! stopping {
    () => {
        "paused AND paused_at IS NULL AND (state = 'cancelled' OR halting)"
    };
}
pub(crate) use stopping;

/// The refusal to let a batch go on of which there is still something to be cancelled.
pub(crate) fn being_stopped(batch: BatchId) -> StoreError {
    StoreError::Conflict(format!(
        "batch {batch} is being stopped: its chunks are being cancelled, in steps; try again when none remains"
    ))
}

/// Adds the report of a further step.
pub(crate) fn add(report: &mut ControlReport, step: ControlReport) {
    report.affected += step.affected;
    report.samples.extend(step.samples);
    report.samples.truncate(SAMPLES_MAX);
    report.dispatched.dispatches.extend(step.dispatched.dispatches);
    report.dispatched.moved += step.dispatched.moved;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dispatched;

    #[test]
    fn the_reports_of_all_steps_add_up() {
        let step = |samples: &[&str]| ControlReport {
            affected: 4,
            samples: samples.iter().map(|&sample| sample.to_owned()).collect(),
            dispatched: Dispatched { dispatches: Vec::new(), moved: 4 },
            ..ControlReport::default()
        };
        let mut report = step(&["a", "b", "c", "d"]);
        add(&mut report, step(&["e", "f"]));
        assert_eq!((report.affected, report.dispatched.moved), (8, 8));
        assert_eq!(report.samples, ["a", "b", "c", "d", "e"]);
    }
}
