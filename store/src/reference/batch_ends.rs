//! Ends of batches that no aggregate declares: its aggregate is dead, or an operator has cancelled the batch.

use gristmill_core::batch::BatchState;
use gristmill_core::callback::Event;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;

use super::transition::{Transition, report_batch};
use super::{Clause, notify, triggers};
use crate::check;
use crate::error::Result;

/// Ends the batches whose aggregates have just died.
pub(super) fn aggregates_died(t: &mut Transition<'_>, dead: &[JobId]) -> Result<()> {
    if !t.store.keeps(Clause::DeadAggregateEndsItsBatch) {
        return Ok(());
    }
    let aggregates = dead.iter().filter_map(|id| t.state.jobs.get(id)).filter(|job| job.kind == "aggregate");
    let died = aggregates.filter_map(|job| Some((job.batch?, job.generation, job.error.clone())));
    let mut died: Vec<(BatchId, u32, Option<String>)> = died.collect();
    died.sort_unstable();
    for (batch, generation, error) in died {
        let error = error.unwrap_or_else(|| "its last attempt left no message".to_owned());
        halt(t, batch, generation, &error)?;
    }
    Ok(())
}

/// Ends a batch whose aggregate is dead: guarded by its state and its generation. Returns whether it was ended.
pub(super) fn halt(t: &mut Transition<'_>, id: BatchId, generation: u32, error: &str) -> Result<bool> {
    let now = t.now;
    let Some(batch) = t.state.batch_mut(id) else { return Ok(false) };
    if batch.state != BatchState::Aggregating || batch.generation != generation {
        return Ok(false);
    }
    batch.state = BatchState::Halted;
    batch.aggregate_error = Some(check::plain(error, check::REASON_CHARS_MAX));
    batch.finished_at = Some(now);
    triggers::batch_ended(t, id, BatchState::Halted)?;
    notify::ended(t, id, &[Event::Halted, Event::Settled])?;
    Ok(true)
}

/// Reports a batch that has just been cancelled.
pub(super) fn cancelled(t: &mut Transition<'_>, id: BatchId) -> Result<()> {
    report_batch(t, id, OwnType::BatchCancelled);
    notify::ended(t, id, &[Event::Cancelled])
}

/// The dead aggregates of a batch whose next generation begins become `cancelled`.
pub(super) fn supersede(t: &mut Transition<'_>, id: BatchId) {
    let dead = t.state.jobs.values().filter(|job| job.batch == Some(id) && job.kind == "aggregate");
    let dead: Vec<JobId> = dead.filter(|job| job.state == JobState::Dead).map(|job| job.id).collect();
    for job in dead {
        t.move_job(job, |job| job.state = JobState::Cancelled);
    }
}
