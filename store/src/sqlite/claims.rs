//! Claims.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::ClaimedJob;

use super::claim::{
    age, claimable, claiming, first_waiting, gaps, let_go, mark_misrouted, may_run, oldest, served, still, streams,
    take, unmanaged, waiting, with,
};
use super::transition::Transition;
use super::{SqliteStore, limited, poison, row};
use crate::check;
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

/// The oldest of each stream of each queue that has something, and of those the first by priority and age: the index is
/// read at a few places, never the whole backlog. The maintained counters show which queues have something, so that a
/// paused backlog is not read at all.
pub(super) const CLAIM_NEXT: &str = claiming!(concat!(
    "SELECT id FROM (
        WITH RECURSIVE q (name) AS MATERIALIZED (
                SELECT DISTINCT c.queue FROM queue_count c
                WHERE c.state = 'queued' AND c.jobs > 0
                  AND (?5 = '[]' OR c.queue IN (SELECT value FROM json_each(?5)))
                  AND NOT EXISTS (SELECT 1 FROM queue p WHERE p.tenant = c.tenant AND p.name = c.queue AND p.paused)),
             ",
    streams!(),
    ",
             ",
    gaps!(),
    "
        SELECT n.id FROM stream j CROSS JOIN gap g CROSS JOIN job n
        WHERE ",
    served!(),
    " IN (SELECT value FROM json_each(?4)) AND ",
    unmanaged!(),
    " AND n.id IN ",
    oldest!("", "?3"),
    "
        ORDER BY n.lane, ",
    age!("n"),
    ", n.id LIMIT ?3)"
));

/// Whether job `j` is on one of the queues in `?6`, an array; empty is all. A message may be of a queue on which its job
/// waited before it was edited.
macro_rules! of_queues {
    () => {
        " AND (json_array_length(?6) = 0 OR j.queue IN (SELECT value FROM json_each(?6)))"
    };
}

#[async_trait]
impl Claims for SqliteStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        if ids.is_empty() {
            return Ok(ClaimReport::default());
        }
        let mut t = Transition::begin_short(self).await?;
        // A message may come twice: an id that is named twice must not use up the limit twice.
        let mut named = HashSet::with_capacity(ids.len());
        let ids: Vec<JobId> = ids.iter().copied().filter(|id| named.insert(*id)).collect();
        let asked = check::json(&ids)?;
        let statement = claiming!(concat!(
            "SELECT j.id FROM json_each(?5) e CROSS JOIN job j ON j.id = unhex(e.value, '-') WHERE ",
            claimable!(),
            of_queues!(),
            " ORDER BY j.lane, j.id LIMIT ?3"
        ));
        let queues = check::json(&claim.queues)?;
        let query = with(sqlx::query(statement), &t, claim)?.bind(asked.clone()).bind(queues.clone());
        let claimed = take(&mut t, claim, query).await?;
        let taken: HashSet<JobId> = claimed.iter().map(|job| job.fence.job).collect();
        let mut report = ClaimReport { claimed, ..ClaimReport::default() };
        if taken.len() < ids.len() {
            // Those that are still claimable were over the limit, or requested by an incarnation that is over: with one
            // writer no row is ever locked.
            let statement = concat!(
                "SELECT j.id, ",
                served!(),
                " IN (SELECT value FROM json_each(?4)) AS ours, NOT (",
                unmanaged!(),
                ") AS managed
                 FROM json_each(?5) e CROSS JOIN job j ON j.id = unhex(e.value, '-') WHERE j.state = 'queued' AND ",
                let_go!(),
                of_queues!(),
                " AND ?1 IS NOT NULL AND ?2 IS NOT NULL AND ?3 IS NOT NULL"
            );
            let left = t.rows(with(sqlx::query(statement), &t, claim)?.bind(asked).bind(queues)).await?;
            let left: HashMap<JobId, (bool, bool)> = left.iter().map(still).collect::<Result<_>>()?;
            let mut late = Vec::new();
            for id in ids.into_iter().filter(|id| !taken.contains(id)) {
                match left.get(&id) {
                    Some((_, true)) => report.limited.push(id),
                    Some((true, false)) => report.busy.push(id),
                    Some((false, false)) => report.foreign.push(id),
                    None => late.push(id),
                }
            }
            mark_misrouted(&mut t, &report.foreign).await?;
            let unknown = if late.is_empty() { HashSet::new() } else { poison::unknown_in(&mut t, &late).await? };
            (report.unknown, report.stale) = late.into_iter().partition(|id| unknown.contains(id));
        }
        t.commit().await?;
        Ok(report)
    }

    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>> {
        if claim.limit == 0 || !(self.plenty.load(Ordering::Relaxed) || waiting(self).await?) {
            return Ok(Vec::new());
        }
        let mut t = Transition::begin_short(self).await?;
        let query = with(sqlx::query(CLAIM_NEXT), &t, claim)?.bind(check::json(&claim.queues)?);
        let claimed = take(&mut t, claim, query).await?;
        t.commit().await?;
        self.plenty.store(claimed.len() >= claim.limit as usize, Ordering::Relaxed);
        Ok(claimed)
    }

    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim> {
        limited::claim_limited(self, claim).await
    }

    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>> {
        let statement = concat!(
            "SELECT j.id FROM job j
             WHERE j.astray AND j.state = 'queued' AND ",
            served!(),
            " IN (SELECT value FROM json_each(?1))
               AND (?2 = '[]' OR j.queue IN (SELECT value FROM json_each(?2))) AND ",
            let_go!(),
            " AND ",
            unmanaged!(),
            " ORDER BY j.lane, j.id LIMIT ?3"
        );
        let query = sqlx::query(statement).bind(check::json(&claim.kinds)?).bind(check::json(&claim.queues)?);
        let rows = query.bind(claim.limit).fetch_all(&self.readers).await.map_err(super::error::database)?;
        rows.iter().map(|row| row::id(row, "id")).collect()
    }

    async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64 {
        self.others.wait(&self.work, seen, at_most).await
    }

    fn hears_of_work(&self) -> bool {
        self.others.hears()
    }
}
