//! A batch that halted or was cancelled continues.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::job::JobState;

use super::control::{control_report, finish};
use super::create::no_batch;
use super::state::{Job, Spools};
use super::transition::Transition;
use super::{ReferenceStore, batch_ends};
use crate::error::Result;
use crate::restart::{Halted, may_restart, refuse_over_budget, refuse_without_input};
use crate::{ControlReport, Restart};

pub(super) fn restart(store: &ReferenceStore, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport> {
    let mut t = Transition::begin(store);
    let report = restart_in(&mut t, tenant, restart)?;
    finish(t, report, dry_run)
}

/// The same within a transition.
pub(super) fn restart_in(t: &mut Transition<'_>, tenant: &str, restart: &Restart) -> Result<ControlReport> {
    let id = restart.batch;
    let batch = t.state.batches.get(&id).filter(|batch| batch.tenant == tenant);
    let batch = Arc::clone(batch.ok_or_else(|| no_batch(id))?);
    let spools_removed = batch.spools.is_some_and(|spools| spools != Spools::Kept);
    let halted = Halted { state: batch.state, planned: batch.planned, deleting: batch.deleting, stopping: false };
    may_restart(id, &halted)?;
    let undone = |job: &&Arc<Job>| {
        let state = job.state == JobState::Cancelled || restart.dead && job.state == JobState::Dead;
        // A chunk without items is one that was split: its halves have them.
        job.chunk_of() == Some(id) && job.items > 0 && state
    };
    let chunks: Vec<Arc<Job>> = t.state.jobs.values().filter(undone).cloned().collect();
    refuse_without_input(id, spools_removed, chunks.len())?;
    let (mut counts, now, generation) = (batch.tally.counts(), t.now, batch.generation + 1);
    // At least an empty change: if nothing is left to do, the aggregate fires.
    t.delta(id);
    for chunk in &chunks {
        let delta = t.delta(id);
        delta.remaining += 1;
        if chunk.state == JobState::Dead {
            delta.dead -= 1;
            delta.quarantined -= chunk.weight();
            counts.quarantined = counts.quarantined.saturating_sub(chunk.items);
        } else {
            delta.cancelled -= chunk.weight();
        }
        t.move_job(chunk.id, |job| {
            job.state = JobState::Queued;
            job.max_attempts = job.max_attempts.max(job.attempt + job.granted);
            job.queued_at = Some(now);
            job.finished_at = None;
            job.error = None;
            job.generation = generation;
        });
    }
    let failure_budget = restart.failure_budget.unwrap_or(batch.failure_budget);
    refuse_over_budget(id, failure_budget, &counts)?;
    batch_ends::supersede(t, id);
    if let Some(batch) = t.state.batch_mut(id) {
        batch.state = BatchState::Sealed;
        batch.generation = generation;
        batch.halting = false;
        batch.pause = None;
        batch.result = None;
        batch.finished_at = None;
        batch.reason = None;
        batch.aggregate_error = None;
        batch.failure_budget = failure_budget;
    }
    Ok(ControlReport { generation: Some(generation), ..control_report(chunks.iter().map(|chunk| chunk.id)) })
}
