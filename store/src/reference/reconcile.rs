//! Reconcile: every batch that is not final is compared with its jobs.
//!
//! Queue counters are not kept here but counted, so that they cannot be wrong.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::job::JobState;

use super::state::{Batch, Job, State};
use super::transition::Transition;
use super::{ReferenceStore, batch_ends, fan_in};
use crate::ReconcileReport;
use crate::duties::over;
use crate::error::Result;

pub(super) fn reconcile(store: &ReferenceStore, dry_run: bool) -> Result<ReconcileReport> {
    let mut t = Transition::begin(store);
    let batches: Vec<Arc<Batch>> = t.state.batches.values().filter(|batch| !batch.state.is_final()).cloned().collect();
    let mut report = ReconcileReport { batches: batches.len() as u64, ..ReconcileReport::default() };
    for batch in &batches {
        mend(&mut t, batch, &mut report.findings)?;
    }
    if !dry_run && !report.findings.is_empty() {
        report.dispatched = t.commit()?.dispatched;
    }
    Ok(report)
}

fn mend(t: &mut Transition<'_>, batch: &Batch, findings: &mut Vec<String>) -> Result<()> {
    let id = batch.id;
    let said = &batch.tally;
    let open = chunks(&t.state, batch, |job| !job.state.is_final());
    let dead = chunks(&t.state, batch, |job| job.state == JobState::Dead);
    if said.remaining != open {
        findings
            .push(format!("batch {id} said that {} of its chunks remain, but {open} do; corrected", said.remaining));
        t.delta(id).remaining += open - said.remaining;
    }
    if said.dead != dead {
        findings.push(format!("batch {id} said that {} of its chunks are dead, but {dead} are; corrected", said.dead));
        t.delta(id).dead += dead - said.dead;
    }
    if batch.state == BatchState::Sealed && open == 0 {
        findings.push(format!("batch {id} had nothing left to do, but its aggregate had not begun; begun now"));
        t.delta(id);
    }
    if batch.state == BatchState::Aggregating {
        mend_aggregate(t, batch, findings)?;
    }
    Ok(())
}

/// A batch that aggregates waits for one job, which must be there and able to end.
fn mend_aggregate(t: &mut Transition<'_>, batch: &Batch, findings: &mut Vec<String>) -> Result<()> {
    let id = batch.id;
    let aggregates =
        |job: &&Arc<Job>| job.batch == Some(id) && job.kind == "aggregate" && job.generation == batch.generation;
    let Some(job) = t.state.jobs.values().find(aggregates) else {
        findings.push(format!("batch {id} was aggregating without a job that does it; enqueued now"));
        return fan_in::fire(t, id);
    };
    if job.state.is_final() {
        let (state, error) = (job.state, job.error.clone());
        findings.push(over(id, state));
        let error = error.unwrap_or_else(|| format!("the job is {state}"));
        batch_ends::halt(t, id, batch.generation, &error)?;
    }
    Ok(())
}

fn chunks(state: &State, batch: &Batch, which: impl Fn(&Job) -> bool) -> i64 {
    let count = state.jobs.values().filter(|job| job.chunk_of() == Some(batch.id) && which(job)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}
