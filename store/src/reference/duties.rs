//! Redispatch, promote and the outbox: what the scheduler looks after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::ReferenceStore;
use super::state::{Job, ago, later};
use super::transition::Transition;
use crate::error::Result;
use crate::{Dispatch, Dispatched, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

pub(super) fn promote(store: &ReferenceStore, limit: u32) -> Result<Dispatched> {
    let mut t = Transition::begin(store);
    let waits = |job: &&Arc<Job>| matches!(job.state, JobState::Scheduled | JobState::Retry);
    let due = t.state.jobs.values().filter(waits).filter_map(|job| Some((job.run_at?, job.id)));
    let mut due: Vec<_> = due.filter(|(run_at, _)| *run_at <= t.now).collect();
    due.sort_unstable();
    for (_, id) in due.into_iter().take(most(limit)) {
        queue_again(&mut t, id);
    }
    Ok(t.commit()?.dispatched)
}

/// Makes a job `queued` that waits for a time.
pub(super) fn queue_again(t: &mut Transition<'_>, id: JobId) {
    let now = t.now;
    t.move_job(id, |job| {
        job.state = JobState::Queued;
        job.queued_at = Some(now);
        job.run_at = None;
    });
}

pub(super) fn outbox_take(store: &ReferenceStore, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
    let mut t = Transition::begin(store);
    let (now, before) = (t.now, ago(t.now, older_than));
    let mut taken = Vec::new();
    let free = t
        .state
        .outbox
        .iter_mut()
        .filter(|(_, row)| row.created_at <= before && row.held_until.is_none_or(|until| until <= now));
    for (id, row) in free.take(most(limit)) {
        let row = Arc::make_mut(row);
        row.held_until = Some(later(now, HOLD));
        let (queue, jobs) = (row.queue.clone(), row.jobs.clone());
        taken.push(Dispatch { outbox: *id, queue, priority: row.priority, purpose: row.purpose, jobs });
    }
    t.commit()?;
    Ok(taken)
}

pub(super) fn outbox_done(store: &ReferenceStore, ids: &[i64]) -> Result<()> {
    let mut t = Transition::begin(store);
    t.state.outbox.retain(|id, _| !ids.contains(id));
    t.commit()?;
    Ok(())
}

pub(super) fn outbox_backlog(store: &ReferenceStore) -> OutboxBacklog {
    let t = Transition::begin(store);
    let oldest = t.state.outbox.values().map(|row| row.created_at).min();
    OutboxBacklog { rows: t.state.outbox.len() as u64, oldest }
}

pub(super) fn redispatch(store: &ReferenceStore, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
    if !store.with_outbox {
        return Ok(Dispatched::default());
    }
    let mut t = Transition::begin(store);
    let before = ago(t.now, older_than);
    let limited = super::limits::limited(&t.state);
    let rows = t.state.outbox.values().filter(|row| row.purpose == Purpose::Dispatch && row.queue == queue);
    let waiting: BTreeSet<JobId> = rows.flat_map(|row| row.jobs.iter().copied()).collect();
    let queued =
        t.state.jobs.values().filter(|job| job.state == JobState::Queued && job.queue == queue && !job.misrouted);
    let mut lost: Vec<Arc<Job>> = queued
        .filter(|job| job.queued_at.is_some_and(|at| at <= before))
        .filter(|job| !t.state.paused(job) && !waiting.contains(&job.id) && !limited.has(&job.queue, &job.kind))
        .cloned()
        .collect();
    lost.sort_by_key(|job| (job.priority, job.id));
    for job in lost.iter().take(most(limit)) {
        t.arrived(job);
    }
    Ok(t.commit()?.dispatched)
}

/// A limit as the number of rows.
pub(super) fn most(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}
