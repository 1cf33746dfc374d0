//! Quotas of tenants: what a transaction adds is held against what the tenant may have, before it is counted.
//!
//! Copies of inputs are summed by an index of the batches that have some. Jobs are counted by the maintained counters of queues, batches by an index of those that have not ended, of which one
//! entry more is read than there may be. Only a tenant that has a quota is locked: what is added to it waits for what is
//! being added, so that many at once get no more than one after the other. The row of the tenant comes before the counters
//! in the order of locks, and behind jobs and batches.

use std::collections::BTreeMap;

use super::{Columns, Sql, values};
use crate::NewBatch;
use crate::accounts::Quotas;
use crate::error::{Result, StoreError};
use crate::quota::{QuotaOf, TenantUsage, judge};

const MAY: &str = "SELECT quotas FROM access_tenant WHERE name = $1";

const LOCK: &str = "SELECT quotas FROM access_tenant WHERE name = $1 FOR UPDATE";

const JOBS: &str = "
SELECT COALESCE(SUM(jobs), 0)::bigint AS found FROM queue_count
WHERE tenant = $1 AND state IN ('scheduled', 'queued', 'running', 'retry')";

const BATCHES: &str = "
SELECT count(*) AS found FROM (
    SELECT 1 FROM batch WHERE tenant = $1 AND state IN ('open', 'sealed', 'aggregating') LIMIT $2
) AS active";

const STORAGE: &str = "
SELECT COALESCE(SUM(spooled), 0)::bigint AS found FROM batch WHERE tenant = $1 AND spool IN ('kept', 'releasing')";

/// How many bytes the copies of a batch's input have, where it has copies.
pub(crate) fn spooled(batch: &NewBatch) -> Option<i64> {
    let bytes = || i64::try_from(batch.fingerprint.copied_bytes()).unwrap_or(i64::MAX);
    batch.fingerprint.has_copies().then(bytes)
}

/// How many jobs that have not ended a transaction adds to each tenant, from the changes of its counters: by tenant, queue
/// and state. Tenants that get none more are left out.
pub(crate) fn arrivals<'a>(changes: impl Iterator<Item = (&'a str, &'a str, i64)>) -> BTreeMap<String, u64> {
    let mut added: BTreeMap<String, i64> = BTreeMap::new();
    for (tenant, state, jobs) in changes {
        if ["scheduled", "queued", "running", "retry"].contains(&state) {
            *added.entry(tenant.to_owned()).or_default() += jobs;
        }
    }
    let more = |(tenant, jobs)| u64::try_from(jobs).ok().filter(|jobs| *jobs > 0).map(|jobs| (tenant, jobs));
    added.into_iter().filter_map(more).collect()
}

/// Refuses jobs that do not fit into the quota of their tenant. They are not counted yet.
pub(crate) async fn hold_jobs<S: Sql>(sql: &mut S, arrivals: BTreeMap<String, u64>) -> Result<(), S::Fault> {
    for (tenant, wanted) in arrivals {
        if let Some(limit) = locked(sql, &tenant, |quotas| quotas.jobs_waiting).await? {
            let used = found(sql, JOBS, values![&tenant]).await?;
            judge(&tenant, QuotaOf::JobsWaiting, limit, used, wanted).map_err(StoreError::from)?;
        }
    }
    Ok(())
}

/// Refuses a batch, which is there already, when it does not fit into the quotas of its tenant, or when no job of it would.
pub(crate) async fn hold_batch<S: Sql>(sql: &mut S, batch: &NewBatch) -> Result<(), S::Fault> {
    let tenant = batch.tenant.as_str();
    let wanted = batch.fingerprint.copied_bytes();
    if wanted > 0
        && let Some(limit) = locked(sql, tenant, |quotas| quotas.storage_bytes).await?
    {
        let used = found(sql, STORAGE, values![tenant]).await?.saturating_sub(wanted);
        judge(tenant, QuotaOf::StorageBytes, limit, used, wanted).map_err(StoreError::from)?;
    }
    if let Some(limit) = locked(sql, tenant, |quotas| quotas.batches_active).await? {
        let with_it = found(sql, BATCHES, values![tenant, limit.saturating_add(1)]).await?;
        let used = with_it.saturating_sub(1);
        judge(tenant, QuotaOf::BatchesActive, limit, used, 1).map_err(StoreError::from)?;
    }
    hold_jobs(sql, [(tenant.to_owned(), 1)].into()).await
}

/// What a tenant uses.
pub(crate) async fn usage<S: Sql>(sql: &mut S, tenant: &str) -> Result<TenantUsage, S::Fault> {
    let jobs_waiting = found(sql, JOBS, values![tenant]).await?;
    let batches_active = found(sql, BATCHES, values![tenant, i64::MAX]).await?;
    let storage_bytes = found(sql, STORAGE, values![tenant]).await?;
    Ok(TenantUsage { jobs_waiting, batches_active, storage_bytes })
}

/// A quota of a tenant, which is locked where it has that quota.
async fn locked<S: Sql>(sql: &mut S, tenant: &str, which: fn(&Quotas) -> Option<u64>) -> Result<Option<u64>, S::Fault> {
    for statement in [MAY, LOCK] {
        let row = sql.row(statement, values![tenant]).await?;
        let quotas: Option<Quotas> = row.map(|row| row.json("quotas")).transpose()?;
        let limit = quotas.as_ref().and_then(which);
        if limit.is_none() || statement == LOCK {
            return Ok(limit);
        }
    }
    Ok(None)
}

async fn found<S: Sql>(sql: &mut S, statement: &'static str, values: Vec<super::Value>) -> Result<u64, S::Fault> {
    let row = sql.row(statement, values).await?;
    // A counter that is wrong may be below nothing until it is repaired.
    let found: i64 = row.map(|row| row.number("found")).transpose()?.unwrap_or(0);
    Ok(u64::try_from(found).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_within_a_tenant_adds_nothing_and_what_is_new_does() {
        let changes = [
            ("a", "queued", 3),
            ("a", "scheduled", -1),
            ("a", "done", 5),
            ("b", "running", 1),
            ("b", "queued", -1),
            ("c", "retry", -2),
        ];
        assert_eq!(arrivals(changes.into_iter()), [("a".to_owned(), 2)].into());
    }
}
