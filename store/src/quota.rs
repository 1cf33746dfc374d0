//! What a tenant may have at most, and what it has: quotas are judged here, without a database.

use serde::{Deserialize, Serialize};

gristmill_core::words! {
    /// What a tenant has a quota of that the store holds it to.
    pub enum QuotaOf {
        /// Jobs that have not ended.
        JobsWaiting = "jobs_waiting",
        /// Batches that have not ended.
        BatchesActive = "batches_active",
        /// Bytes of copies of inputs, and of uploads.
        StorageBytes = "storage_bytes",
    }
}

impl QuotaOf {
    /// What is counted, in the plural.
    fn noun(self) -> &'static str {
        match self {
            Self::JobsWaiting => "jobs that have not ended",
            Self::BatchesActive => "batches that have not ended",
            Self::StorageBytes => "bytes of inputs",
        }
    }
}

/// Why a tenant gets no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "`{tenant}` may have {limit} {} (its quota `{quota}`) and has {used}, so that {wanted} more do not \
     fit; wait until some have ended, or ask an owner of the installation for a greater quota", .quota.noun()
)]
pub struct OverQuota {
    /// The tenant.
    pub tenant: String,
    /// The quota.
    pub quota: QuotaOf,
    /// How many it may have.
    pub limit: u64,
    /// How many it has.
    pub used: u64,
    /// How many more were asked for.
    pub wanted: u64,
}

/// What a tenant uses of its quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TenantUsage {
    /// Jobs that have not ended.
    pub jobs_waiting: u64,
    /// Batches that have not ended.
    pub batches_active: u64,
    /// Bytes of copies of inputs; where a server says it, those of the uploads at that server as well.
    #[serde(default)]
    pub storage_bytes: u64,
}

/// Judges whether more fits into a quota.
///
/// # Errors
///
/// When it does not.
pub(crate) fn judge(tenant: &str, quota: QuotaOf, limit: u64, used: u64, wanted: u64) -> Result<(), OverQuota> {
    if used.saturating_add(wanted) <= limit {
        return Ok(());
    }
    Err(OverQuota { tenant: tenant.to_owned(), quota, limit, used, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_that_fits_is_let_in_and_the_refusal_says_how_many_there_are() {
        let judge = |limit, used, wanted| judge("north", QuotaOf::JobsWaiting, limit, used, wanted);
        assert_eq!((judge(3, 2, 1), judge(3, 0, 3)), (Ok(()), Ok(())));
        let refused = judge(3, 2, 2).expect_err("one too many").to_string();
        let said = "`north` may have 3 jobs that have not ended (its quota `jobs_waiting`) and has 2, so that 2 more";
        assert!(refused.starts_with(said), "{refused}");
        judge(0, 0, 1).expect_err("none at all");
        judge(3, u64::MAX, u64::MAX).expect_err("no overflow");
        judge(3, 9, 1).expect_err("a quota that was lowered");
    }
}
