//! The fan-in: a batch's counters change with the jobs that moved, and the change that leaves nothing remaining
//! fires the aggregate, in the same transition.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::{NewJob, Priority};
use serde_json::json;

use super::state::{Batch, unsigned};
use super::transition::Transition;
use super::{insert, notify};
use crate::BatchProgress;
use crate::check::AGGREGATE_KEY;
use crate::error::Result;

/// Applies the noted changes to the batches, fires what is ready, and returns where each batch stands then.
pub(super) fn apply(t: &mut Transition<'_>) -> Result<Vec<BatchProgress>> {
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (id, by) in t.take_deltas() {
        if by.quarantined > 0 {
            failed.push(id);
        }
        let Some(batch) = t.state.batch_mut(id) else { continue };
        batch.tally.add(&by);
        if batch.state == BatchState::Sealed && batch.tally.remaining == 0 {
            batch.state = BatchState::Aggregating;
            all.push(progress(batch));
            fire(t, id)?;
        } else {
            all.push(progress(batch));
        }
    }
    for id in failed {
        notify::first_failure(t, id)?;
    }
    Ok(all)
}

/// Inserts the job that aggregates the present generation of a batch. Its key is the second guard against two.
pub(super) fn fire(t: &mut Transition<'_>, id: BatchId) -> Result<()> {
    let now = t.now;
    let job = t.state.ids.job(now);
    let Some(batch) = t.state.batches.get(&id) else { return Ok(()) };
    let generation = batch.generation;
    let mut asked = NewJob {
        tenant: batch.tenant.clone(),
        queue: batch.definition.queue.clone(),
        priority: Priority::High,
        idempotency_key: Some(format!("{AGGREGATE_KEY}{id}:{generation}")),
        trace: batch.trace.clone(),
        batch: Some(id),
        ..NewJob::new(job, "aggregate", json!({ "batch": id, "generation": generation }))
    };
    batch.definition.aggregate_job.clone().unwrap_or_default().apply(&mut asked);
    insert::new_jobs(t, &[asked])?;
    Ok(())
}

/// Where a batch stands.
fn progress(batch: &Batch) -> BatchProgress {
    BatchProgress {
        batch: batch.id,
        state: batch.state,
        generation: batch.generation,
        counts: batch.tally.counts(),
        remaining: unsigned(batch.tally.remaining),
        halting: batch.halting,
        failure_budget: batch.failure_budget,
    }
}
