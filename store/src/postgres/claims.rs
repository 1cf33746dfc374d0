//! Claims.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::ClaimedJob;
use uuid::Uuid;

use super::claim::{self, Taken, claim_next, misrouted, unreadable};
use super::connect::{alone, single, transact};
use super::{PostgresStore, limited};
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

#[async_trait]
impl Claims for PostgresStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let claimed = self.readable(alone!(self, claim::claim, (claim, asked.as_slice())).await?).await?;
        // A message may come twice: an id that is named twice is claimed once, and is not left over.
        let mut seen: HashSet<Uuid> = claimed.iter().map(|job| job.fence.job.0).collect();
        let left: Vec<Uuid> = asked.into_iter().filter(|id| seen.insert(*id)).collect();
        if left.is_empty() {
            return Ok(ClaimReport { claimed, ..ClaimReport::default() });
        }
        let report = transact!(self, claim::left, (claim, left.as_slice())).await?;
        Ok(ClaimReport { claimed, ..report })
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        self.readable(alone!(self, claim_next, claim).await?).await
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        transact!(self, limited::claim_limited, claim).await
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        single!(self, misrouted, claim)
    }

    async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64 {
        self.hints.wait_for_work(seen, at_most).await
    }

    fn hears_of_work(&self) -> bool {
        // Behind a pooler a listener hears nothing, and nothing shows that.
        self.holds_sessions() && self.hints.hears()
    }
}

impl PostgresStore {
    /// What a claim took, once those that cannot be read are closed. They are committed as running by then: if this
    /// process dies before, they are rescued, and claimed and closed again.
    async fn readable(&self, taken: Taken) -> Result<Vec<ClaimedJob>> {
        if !taken.unreadable.is_empty() {
            transact!(self, unreadable, taken.unreadable.as_slice()).await?;
        }
        Ok(taken.jobs)
    }
}
