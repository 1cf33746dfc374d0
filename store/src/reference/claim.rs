//! Claim: queued jobs become somebody's.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence, JobState, served};

use super::limits::{self, limited};
use super::poison::is_unknown;
use super::state::{Job, KeyState, State, later};
use super::transition::Transition;
use super::{Clause, ReferenceStore};
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

#[async_trait]
impl Claims for ReferenceStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        let mut t = Transition::begin(self);
        // A message may come twice.
        let named: BTreeSet<JobId> = ids.iter().copied().collect();
        let limited = limited(&t.state);
        let free = |job: &Job| may(self, &t.state, claim, job) && !limited.has(&job.queue, &job.kind);
        let jobs = named.iter().filter_map(|id| t.state.jobs.get(id)).map(|job| &**job);
        let may_run: Vec<&Job> = jobs.filter(|job| free(job)).collect();
        let chosen = first(may_run, claim.limit);
        let mut report = ClaimReport { claimed: take(&mut t, claim, &chosen), ..ClaimReport::default() };
        let taken: BTreeSet<JobId> = report.claimed.iter().map(|job| job.fence.job).collect();
        for id in named.difference(&taken) {
            match t.state.jobs.get(id) {
                Some(job)
                    if job.state == JobState::Queued && limited.has(&job.queue, &job.kind) && !t.state.paused(job) =>
                {
                    report.limited.push(*id);
                }
                Some(job) if may(self, &t.state, claim, job) => report.busy.push(*id),
                Some(job) if job.state == JobState::Queued && !serves(claim, job) && !t.state.paused(job) => {
                    report.foreign.push(*id);
                }
                _ if is_unknown(&t.state, *id) => report.unknown.push(*id),
                _ => report.stale.push(*id),
            }
        }
        for id in &report.foreign {
            if let Some(job) = t.state.job_mut(*id) {
                job.misrouted = true;
            }
        }
        t.commit()?;
        Ok(report)
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        let mut t = Transition::begin(self);
        let wanted = |job: &&Job| claim.queues.is_empty() || claim.queues.contains(&job.queue);
        let queued = t.state.jobs.values().map(|job| &**job).filter(|job| job.state == JobState::Queued).filter(wanted);
        let limited = limited(&t.state);
        let free = queued.filter(|job| !limited.has(&job.queue, &job.kind));
        let chosen = first(free.filter(|job| may(self, &t.state, claim, job)).collect(), claim.limit);
        let claimed = take(&mut t, claim, &chosen);
        t.commit()?;
        Ok(claimed)
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        limits::claim_limited(self, claim)
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        let t = Transition::begin(self);
        let wanted = |job: &&Job| claim.queues.is_empty() || claim.queues.contains(&job.queue);
        let misrouted =
            t.state.jobs.values().map(|job| &**job).filter(|job| job.misrouted && job.state == JobState::Queued);
        let limited = limited(&t.state);
        let free = misrouted.filter(wanted).filter(|job| !limited.has(&job.queue, &job.kind));
        let ours = free.filter(|job| serves(claim, job) && !t.state.paused(job));
        Ok(first(ours.collect(), claim.limit))
    }

    async fn wait_for_work(&self, at_most: Duration) -> bool {
        tokio::time::timeout(at_most, self.work.notified()).await.is_ok()
    }
}

/// Whether whoever has handlers for these kinds may claim a job.
pub(super) fn may(store: &ReferenceStore, state: &State, claim: &Claim, job: &Job) -> bool {
    let free = job.state == JobState::Queued
        || (!store.keeps(Clause::ClaimOnce) && job.state == JobState::Running && job.attempt < job.max_attempts);
    free && serves(claim, job) && !state.paused(job)
}

fn serves(claim: &Claim, job: &Job) -> bool {
    claim.kinds.contains(&served(&job.kind, job.version))
}

/// The first so many by priority, then by age.
fn first(mut jobs: Vec<&Job>, limit: u32) -> Vec<JobId> {
    jobs.sort_by_key(|job| (job.priority, job.id));
    jobs.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).map(|job| job.id).collect()
}

/// Whether the incarnation that claims is over.
pub(super) fn is_over(t: &Transition<'_>, claim: &Claim) -> bool {
    let over = t.state.workers.get(&claim.worker).is_some_and(|worker| worker.blockers != KeyState::Alive);
    over && t.store.keeps(Clause::ClaimerIsAlive)
}

/// Makes jobs `running`. An incarnation that is over claims nothing: it may not know yet, and nobody would rescue
/// what it took a second time.
pub(super) fn take(t: &mut Transition<'_>, claim: &Claim, chosen: &[JobId]) -> Vec<ClaimedJob> {
    if is_over(t, claim) {
        return Vec::new();
    }
    let now = t.now;
    let mut claimed = Vec::with_capacity(chosen.len());
    for id in chosen {
        t.move_job(*id, |job| {
            job.state = JobState::Running;
            job.attempt += 1;
            job.worker = Some(claim.worker);
            job.started_at = Some(now);
            job.deadline = Some(later(now, job.timeout));
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
