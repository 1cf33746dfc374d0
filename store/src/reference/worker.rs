//! Process incarnations, their leases, and leadership.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::{Fence, JobState};
use gristmill_core::settle::{Ending, Verdict};

use super::ReferenceStore;
use super::settle::{Settlement, settle};
use super::state::{Leader, Worker, WorkerState, ago, later};
use super::transition::Transition;
use crate::check::{self, REASON_CHARS_MAX, plain};
use crate::error::Result;
use crate::{Dispatched, NewWorker, WorkerView, Workers};

/// How long an incarnation that is over is still shown.
const SHOWN: Duration = Duration::from_secs(86_400);

#[async_trait]
impl Workers for ReferenceStore {
    async fn register_worker(&self, worker: &NewWorker) -> Result<()> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let entered = NewWorker {
            role: plain(&worker.role, REASON_CHARS_MAX),
            host: plain(&worker.host, REASON_CHARS_MAX),
            version: plain(&worker.version, REASON_CHARS_MAX),
            ..worker.clone()
        };
        t.state.workers.entry(worker.id).or_insert_with(|| {
            Arc::new(Worker {
                lease_until: later(now, worker.lease),
                entered,
                running: 0,
                state: WorkerState::Alive,
                started_at: now,
                seen_at: now,
            })
        });
        t.commit()?;
        Ok(())
    }

    async fn beat(&self, worker: WorkerId, lease: Duration, running: u32) -> Result<bool> {
        let mut t = Transition::begin(self);
        let now = t.now;
        // A lease that has run out unnoticed may still be extended: nothing has been taken from its holder.
        let Some(found) = alive(&mut t, worker) else { return Ok(false) };
        found.lease_until = later(now, lease);
        found.seen_at = now;
        found.running = running;
        t.commit()?;
        Ok(true)
    }

    async fn hold(&self, lease: Duration, held: &[Fence]) -> Result<u64> {
        let mut t = Transition::begin(self);
        let until = later(t.now, lease);
        let mut moved = 0;
        for fence in held {
            let holds = alive(&mut t, fence.worker).is_some();
            let job = t.state.job_mut(fence.job).filter(|job| job.attempt == fence.attempt);
            let Some(job) = job.filter(|job| holds && job.worker == Some(fence.worker)) else { continue };
            if job.deadline.is_some_and(|deadline| deadline < until) {
                job.deadline = Some(until);
                moved += 1;
            }
        }
        t.commit()?;
        Ok(moved)
    }

    async fn revoked(&self, held: &[Fence]) -> Result<Vec<Fence>> {
        let t = Transition::begin(self);
        let holds = |fence: &&Fence| {
            t.state.jobs.get(&fence.job).is_some_and(|job| {
                job.attempt == fence.attempt && (job.worker == Some(fence.worker) || job.state == JobState::Done)
            })
        };
        Ok(held.iter().filter(|fence| !holds(fence)).copied().collect())
    }

    async fn wait_for_revocation(&self, seen: u64, at_most: Duration) -> u64 {
        self.gone.wait(seen, at_most).await
    }

    async fn retire_worker(&self, worker: WorkerId) -> Result<Dispatched> {
        let mut t = Transition::begin(self);
        let now = t.now;
        if let Some(found) = alive(&mut t, worker) {
            found.state = WorkerState::Stopped;
            found.lease_until = now;
            found.seen_at = now;
            found.running = 0;
        }
        release(&mut t, worker, &[], "the worker stopped")?;
        Ok(t.commit()?.dispatched)
    }

    async fn release_unknown(&self, worker: WorkerId, known: &[Fence]) -> Result<Dispatched> {
        let mut t = Transition::begin(self);
        release(&mut t, worker, known, "the claim's result was lost")?;
        Ok(t.commit()?.dispatched)
    }

    async fn workers(&self) -> Result<Vec<WorkerView>> {
        let t = Transition::begin(self);
        let recent = ago(t.now, SHOWN);
        let mut shown: Vec<WorkerView> = t
            .state
            .workers
            .values()
            .filter(|worker| worker.state == WorkerState::Alive || worker.seen_at > recent)
            .map(|worker| view(worker, t.now))
            .collect();
        shown.sort_by_key(|worker| Reverse((worker.started_at, worker.id)));
        Ok(shown)
    }

    async fn lead(&self, name: &str, holder: WorkerId, lease: Duration) -> Result<Option<i64>> {
        check::name("lease", name)?;
        let mut t = Transition::begin(self);
        let lease_until = later(t.now, lease);
        let epoch = match t.state.leaders.get(name) {
            None => 1,
            Some(leader) if leader.holder == holder => leader.epoch,
            Some(leader) if leader.lease_until <= t.now => leader.epoch + 1,
            Some(_) => return Ok(None),
        };
        t.state.leaders.insert(name.to_owned(), Leader { holder, epoch, lease_until });
        t.commit()?;
        Ok(Some(epoch))
    }
}

fn alive<'t>(t: &'t mut Transition<'_>, worker: WorkerId) -> Option<&'t mut Worker> {
    let found = t.state.workers.get_mut(&worker).map(Arc::make_mut);
    found.filter(|worker| worker.state == WorkerState::Alive)
}

/// Gives back what runs under an incarnation, except what is kept.
fn release(t: &mut Transition<'_>, worker: WorkerId, known: &[Fence], why: &str) -> Result<()> {
    let known = |job: JobId, attempt: u32| known.iter().any(|fence| fence.job == job && fence.attempt == attempt);
    let running = t.state.jobs.values().filter(|job| job.state == JobState::Running && job.worker == Some(worker));
    let released: Vec<Settlement<'_>> = running
        .filter(|job| !known(job.id, job.attempt))
        .map(|job| Fence { job: job.id, attempt: job.attempt, worker })
        .map(|fence| Settlement::taken(fence, Ending::Interrupted, Verdict::Release, why))
        .collect();
    settle(t, &released)?;
    Ok(())
}

fn view(worker: &Worker, now: Instant) -> WorkerView {
    let NewWorker { id, role, host, pid, version, slots, queues, kinds, .. } = worker.entered.clone();
    let state = match worker.state {
        WorkerState::Alive if worker.lease_until < now => "lost",
        WorkerState::Alive => "alive",
        WorkerState::Lost => "lost",
        WorkerState::Stopped => "stopped",
    };
    WorkerView {
        id,
        role,
        host,
        pid,
        version,
        slots,
        running: worker.running,
        queues,
        kinds,
        started_at: worker.started_at,
        seen_at: worker.seen_at,
        state: state.to_owned(),
    }
}
