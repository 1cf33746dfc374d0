//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Priority};
use uuid::Uuid;

use super::ReferenceStore;
use super::state::most;
use super::state::{Job, ago, later};
use super::transition::Transition;
use crate::error::Result;
use crate::{DeadLetter, Dispatch, Dispatched, LostJobs, Outbox, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

#[async_trait]
impl Outbox for ReferenceStore {
    async fn outbox_take(&self, older_than: Duration, share: u32, limit: u32) -> Result<Vec<Dispatch>> {
        let mut t = Transition::begin(self);
        let (now, before) = (t.now, ago(t.now, older_than));
        let mut turns: BTreeMap<(Purpose, String, Priority), u32> = BTreeMap::new();
        let mut free = Vec::new();
        for (id, row) in t.state.outbox.iter().filter(|(_, row)| row.created_at <= before) {
            let turn = turns.entry((row.purpose, row.queue.clone(), row.priority)).or_default();
            *turn += 1;
            if *turn <= share && row.held_until.is_none_or(|until| until <= now) {
                free.push((*turn, *id));
            }
        }
        free.sort_unstable();
        free.truncate(most(limit));
        let mut taken = Vec::new();
        for (_, id) in free {
            let Some(row) = t.state.outbox.get_mut(&id).map(Arc::make_mut) else { continue };
            row.held_until = Some(later(now, HOLD));
            let (queue, jobs) = (row.queue.clone(), row.jobs.clone());
            taken.push(Dispatch { outbox: id, queue, priority: row.priority, purpose: row.purpose, jobs });
        }
        taken.sort_by_key(|row| row.outbox);
        t.commit()?;
        Ok(taken)
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        let mut t = Transition::begin(self);
        t.state.outbox.retain(|id, _| !ids.contains(id));
        t.commit()?;
        Ok(())
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        let t = Transition::begin(self);
        let oldest = t.state.outbox.values().map(|row| row.created_at).min();
        Ok(OutboxBacklog { rows: t.state.outbox.len() as u64, oldest })
    }

    async fn redispatch(&self, queue: &str, lost: &LostJobs) -> Result<Dispatched> {
        if !self.with_outbox {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self);
        let before = ago(t.now, lost.older_than);
        let limited = super::limits::limited(&t.state);
        let rows = t.state.outbox.values().filter(|row| row.purpose == Purpose::Dispatch && row.queue == queue);
        let waits: BTreeSet<Priority> = rows.filter(|row| row.created_at <= before).map(|row| row.priority).collect();
        let after = lost.after.map(|(priority, id)| (priority, t.state.jobs.get(&id).map_or(id.0, |job| age(job)), id));
        let queued =
            t.state.jobs.values().filter(|job| job.state == JobState::Queued && job.queue == queue && !job.misrouted);
        let mut found: Vec<Arc<Job>> = queued
            .filter(|job| job.queued_at.is_some_and(|at| at <= before) && !waits.contains(&job.priority))
            .filter(|job| after.is_none_or(|after| (job.priority, age(job), job.id) > after))
            .filter(|job| !t.state.paused(job) && !limited.has(&job.queue, &job.kind))
            .cloned()
            .collect();
        found.sort_by_key(|job| (job.priority, age(job), job.id));
        for job in found.iter().take(most(lost.limit)) {
            t.arrived(job);
        }
        Ok(t.commit()?.dispatched)
    }

    async fn dead_letters(&self, jobs: &[JobId]) -> Result<Vec<DeadLetter>> {
        let t = Transition::begin(self);
        let dead = jobs.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|id| t.state.jobs.get(id));
        let copy = |job: &Arc<Job>| DeadLetter {
            job: job.id,
            kind: job.kind.clone(),
            attempt: job.attempt,
            error: job.error.clone(),
            trace: job.trace.clone(),
        };
        Ok(dead.filter(|job| job.state == JobState::Dead).map(copy).collect())
    }
}

/// A job of a batch is as old as its batch.
fn age(job: &Job) -> Uuid {
    job.batch.map_or(job.id.0, |batch| batch.0)
}
