//! Claim: workers take queued jobs.

use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence, JobState, served};

use super::state::{Job, State, WorkerState, later};
use super::transition::Transition;
use super::{Clause, ReferenceStore};
use crate::Claim;

/// Whether a worker with handlers for these kinds may claim a job.
pub(super) fn may(store: &ReferenceStore, state: &State, claim: &Claim, job: &Job) -> bool {
    let free = job.state == JobState::Queued
        || (!store.keeps(Clause::ClaimOnce) && job.state == JobState::Running && job.attempt < job.max_attempts);
    free && serves(claim, job) && !state.paused(job)
}

pub(super) fn serves(claim: &Claim, job: &Job) -> bool {
    claim.kinds.contains(&served(&job.kind, job.version))
}

/// The first of them by priority, then by age: a job of a batch is as old as its batch.
pub(super) fn oldest(mut jobs: Vec<&Job>, limit: u32) -> Vec<JobId> {
    jobs.sort_by_key(|job| (job.priority, job.batch.map_or(job.id.0, |batch| batch.0), job.id));
    jobs.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|job| job.id).collect()
}

/// The first of them by priority, then by id.
pub(super) fn first(mut jobs: Vec<&Job>, limit: u32) -> Vec<JobId> {
    jobs.sort_by_key(|job| (job.priority, job.id));
    jobs.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|job| job.id).collect()
}

/// Whether the claiming incarnation is over.
pub(super) fn is_over(t: &Transition<'_>, claim: &Claim) -> bool {
    let over = t.state.workers.get(&claim.worker).is_some_and(|worker| worker.state != WorkerState::Alive);
    over && t.store.keeps(Clause::ClaimerIsAlive)
}

/// Makes jobs `running`. An incarnation that is over claims nothing: it may not know yet, and no process would rescue
/// what it took a second time.
pub(super) fn take(t: &mut Transition<'_>, claim: &Claim, chosen: &[JobId]) -> Vec<ClaimedJob> {
    if is_over(t, claim) {
        return Vec::new();
    }
    let now = t.now;
    // A whole lease beyond the job's own limit: within it the worker beats, and says what it still has to write down.
    let lease = t.state.workers.get(&claim.worker).map(|worker| worker.lease_until - worker.seen_at);
    let lease = lease.and_then(|lease| lease.to_std().ok()).unwrap_or_default();
    let mut claimed = Vec::with_capacity(chosen.len());
    for id in chosen {
        t.move_job(*id, |job| {
            job.state = JobState::Running;
            job.attempt += 1;
            job.worker = Some(claim.worker);
            job.started_at = Some(now);
            job.deadline = Some(later(now, job.timeout.saturating_add(lease)));
            job.run_at = None;
            job.misrouted = false;
        });
        claimed.extend(t.state.jobs.get(id).map(|job| claimed_job(job, claim, t)));
    }
    claimed
}

fn claimed_job(job: &Job, claim: &Claim, t: &Transition<'_>) -> ClaimedJob {
    ClaimedJob {
        fence: Fence { job: job.id, attempt: job.attempt, worker: claim.worker },
        tenant: job.tenant.clone(),
        queue: job.queue.clone(),
        priority: job.priority,
        key: job.key.clone(),
        kind: job.kind.clone(),
        version: job.version,
        payload: job.payload.clone(),
        batch: job.batch,
        seq: job.seq,
        generation: job.generation,
        max_attempts: job.max_attempts,
        snoozes: job.snoozes,
        max_snoozes: job.max_snoozes,
        timeout: job.timeout,
        retry: job.retry.clone(),
        trace: job.trace.clone(),
        created_at: job.created_at,
        queued_at: job.queued_at.unwrap_or(t.now),
        started_at: t.now,
    }
}
