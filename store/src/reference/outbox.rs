//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

use super::ReferenceStore;
use super::state::most;
use super::state::{Job, ago, later};
use super::transition::Transition;
use crate::error::Result;
use crate::{Dispatch, Dispatched, Outbox, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

#[async_trait]
impl Outbox for ReferenceStore {
    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        let mut t = Transition::begin(self);
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

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        if !self.with_outbox {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self);
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
}
