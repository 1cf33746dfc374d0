//! Claims.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::ClaimedJob;

use super::claim::{claim_next, misrouted};
use super::connect::{single, transact};
use super::{PostgresStore, limited};
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

#[async_trait]
impl Claims for PostgresStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        transact!(self, super::claim::claim, (claim, ids)).await
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        transact!(self, claim_next, claim).await
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
}
