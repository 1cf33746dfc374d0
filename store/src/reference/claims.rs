//! Claims.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, JobState};

use super::ReferenceStore;
use super::claim::{first, may, oldest, serves, take};
use super::limits::{self, limited};
use super::poison::is_unknown;
use super::state::Job;
use super::transition::Transition;
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

#[async_trait]
impl Claims for ReferenceStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        let mut t = Transition::begin(self);
        // A message may come twice.
        let named: BTreeSet<JobId> = ids.iter().copied().collect();
        let limited = limited(&t.state);
        // A message may be of a queue on which its job waited before it was edited.
        let here = |job: &Job| claim.queues.is_empty() || claim.queues.contains(&job.queue);
        let free = |job: &Job| here(job) && may(self, &t.state, claim, job) && !limited.has(&job.queue, &job.kind);
        let jobs = named.iter().filter_map(|id| t.state.jobs.get(id)).map(|job| &**job);
        let may_run: Vec<&Job> = jobs.filter(|job| free(job)).collect();
        let chosen = first(may_run, claim.limit);
        let mut report = ClaimReport { claimed: take(&mut t, claim, &chosen), ..ClaimReport::default() };
        let taken: BTreeSet<JobId> = report.claimed.iter().map(|job| job.fence.job).collect();
        for id in named.difference(&taken) {
            match t.state.jobs.get(id).filter(|job| here(job)) {
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
        let chosen = oldest(free.filter(|job| may(self, &t.state, claim, job)).collect(), claim.limit);
        let mut claimed = take(&mut t, claim, &chosen);
        claimed.sort_by_key(|job| (job.priority, job.fence.job));
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

    async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64 {
        self.work.wait(seen, at_most).await
    }
}
