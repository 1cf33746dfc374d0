//! Dead letters get another chance; a batch that has ended gets its next generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use gristmill_core::unique::Unique;

use super::batch_ends;
use super::state::Job;
use super::transition::Transition;
use crate::error::{Result, StoreError};
use crate::redrives::may_aggregate_again;
use crate::retention::being_deleted;

/// Gives a dead letter as many further attempts as it had at first. A chunk counts for the present generation.
pub(super) fn queue_dead(t: &mut Transition<'_>, dead: &Job) {
    if let ("aggregate", Some(batch)) = (dead.kind.as_str(), dead.batch) {
        // It does not run again itself: an empty change fires that of the next generation.
        t.delta(batch);
        return;
    }
    let now = t.now;
    let generation = dead.chunk_of().and_then(|id| t.state.batches.get(&id)).map(|batch| batch.generation);
    t.move_job(dead.id, |job| {
        job.state = JobState::Queued;
        job.max_attempts += job.granted;
        job.queued_at = Some(now);
        job.finished_at = None;
        job.generation = generation.unwrap_or(job.generation);
    });
    if let Some(batch) = dead.chunk_of() {
        let delta = t.delta(batch);
        delta.remaining += 1;
        delta.dead -= 1;
        delta.quarantined -= dead.weight();
    }
}

/// The unique key that a dead letter holds when it is queued again: it does so only with a rule by states.
fn held_again(dead: &Job) -> Option<&Unique> {
    let unique = dead.unique.as_ref().filter(|unique| unique.hold.period().is_none())?;
    unique.hold.holds(JobState::Queued, dead.started_at.is_some()).then_some(unique)
}

/// Refuses a dead letter that cannot run again now; returns its batch if that has ended and must be opened. Of several
/// redriven together only one can hold a unique key.
pub(super) fn refuse(t: &Transition<'_>, found: &[Arc<Job>], dead: &Job) -> Result<Option<BatchId>> {
    let id = dead.id;
    let again = held_again(dead);
    let holds = |other: &&Arc<Job>| {
        let key = again.map(|unique| unique.key.as_str());
        let too = found.iter().any(|one| one.id == other.id).then(|| held_again(other)).flatten();
        let held = other.holds(t.now).or(too.map(|unique| unique.key.as_str()));
        key.is_some() && other.id != id && other.tenant == dead.tenant && held == key
    };
    if let Some(holder) = t.state.jobs.values().find(holds) {
        let holder = holder.id;
        let what = format!("job {id} cannot be redriven while job {holder} holds its unique key; wait for that one");
        return Err(StoreError::Conflict(what));
    }
    let Some(batch) = dead.batch.and_then(|batch| t.state.batches.get(&batch)) else { return Ok(None) };
    if dead.kind == "aggregate" {
        may_aggregate_again(id, batch.id, batch.state, dead.generation == batch.generation)?;
        return Ok(Some(batch.id));
    }
    let chunk = dead.seq.is_some();
    match batch.state {
        BatchState::Open | BatchState::Sealed => Ok(None),
        BatchState::Aggregating if chunk => {
            let what = format!("batch {} is aggregating; redrive its dead chunks when it has ended", batch.id);
            Err(StoreError::Conflict(what))
        }
        BatchState::Cancelled if chunk => {
            Err(StoreError::Conflict(format!("batch {} is cancelled; its work cannot be redriven", batch.id)))
        }
        BatchState::Complete | BatchState::Halted if chunk => Ok(Some(batch.id)),
        BatchState::Aggregating | BatchState::Complete | BatchState::Halted | BatchState::Cancelled => Ok(None),
    }
}

/// Opens the next generation of batches that have ended, and returns the highest one opened. What a halt has cancelled
/// does not come back, so its reason stays: such a batch can never be complete.
pub(super) fn open_next(t: &mut Transition<'_>, batches: &BTreeSet<BatchId>) -> Result<Option<u32>> {
    let mut opened = None;
    for id in batches {
        batch_ends::supersede(t, *id);
        let Some(batch) = t.state.batch_mut(*id) else { continue };
        if batch.deleting {
            return Err(being_deleted(id));
        }
        if !matches!(batch.state, BatchState::Complete | BatchState::Halted) {
            continue;
        }
        batch.state = BatchState::Sealed;
        batch.generation += 1;
        batch.finished_at = None;
        batch.result = None;
        batch.halting = false;
        batch.aggregate_error = None;
        if batch.tally.cancelled == 0 {
            batch.reason = None;
        }
        opened = opened.max(Some(batch.generation));
    }
    Ok(opened)
}
