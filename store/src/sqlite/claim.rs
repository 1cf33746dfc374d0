//! Claim: queued jobs become somebody's; those that limits and turns decide about in [`super::limited`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, Fence, JobState};
use sqlx::sqlite::SqliteRow;

use super::transition::{Query, Transition};
use super::{SqliteStore, limited, poison, row};
use crate::check;
use crate::error::Result;
use crate::{Claim, ClaimReport, Claims, LimitedClaim};

/// How often another process's commits are looked for while somebody waits for work.
const LOOK: Duration = Duration::from_millis(50);

/// What a worker must serve to run job `j`, spelt as `core::job::served` does.
macro_rules! served {
    () => {
        "(CASE j.version WHEN 1 THEN j.kind ELSE j.kind || '@' || j.version END)"
    };
}

/// That nobody has paused job `j`.
macro_rules! let_go {
    () => {
        "NOT EXISTS (SELECT 1 FROM queue q WHERE q.tenant = j.tenant AND q.name = j.queue AND q.paused)
         AND (j.batch_id IS NULL OR NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = j.batch_id AND b.paused))"
    };
}

/// That job `j` is not claimed by limits and turns.
macro_rules! unmanaged {
    () => {
        "j.queue NOT IN (SELECT name FROM managed WHERE scope = 'queue')
         AND j.kind NOT IN (SELECT name FROM managed WHERE scope = 'kind')"
    };
}

/// Whether job `j` may be claimed by whoever has handlers for the kinds in `?4`.
macro_rules! may_run {
    () => {
        concat!("j.state = 'queued' AND ", served!(), " IN (SELECT value FROM json_each(?4)) AND ", let_go!())
    };
}

/// The same where limits and turns do not decide.
macro_rules! claimable {
    () => {
        concat!(may_run!(), " AND ", unmanaged!())
    };
}

/// Makes those jobs `running` that the sub-query chooses. An incarnation that is over claims nothing: it
/// may not know yet, and nobody would rescue what it took a second time.
macro_rules! claim {
    ($choice:expr) => {
        concat!(
            "UPDATE job SET state = 'running', attempt = attempt + 1, worker_id = ?2, started_at = ?1,
                            deadline = ?1 + timeout_ms * 1000, run_at = NULL, astray = 0
             WHERE id IN (",
            $choice,
            ") AND NOT EXISTS (SELECT 1 FROM worker w WHERE w.id = ?2 AND w.state <> 'alive')
             RETURNING id, tenant, queue, lane, key, kind, version, payload, batch_id, seq, generation, attempt, max_attempts,
                         snoozes, max_snoozes, timeout_ms, retry, trace, created_at, queued_at, started_at"
        )
    };
}
pub(super) use {claim as claiming, let_go, may_run, served, unmanaged};

#[async_trait]
impl Claims for SqliteStore {
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport> {
        if ids.is_empty() {
            return Ok(ClaimReport::default());
        }
        let mut t = Transition::begin(self).await?;
        // A message may come twice: an id that is named twice must not use up the limit twice.
        let mut named = HashSet::with_capacity(ids.len());
        let ids: Vec<JobId> = ids.iter().copied().filter(|id| named.insert(*id)).collect();
        let asked = check::json(&ids)?;
        let statement = claim!(concat!(
            "SELECT j.id FROM json_each(?5) e CROSS JOIN job j ON j.id = unhex(e.value, '-') WHERE ",
            claimable!(),
            " ORDER BY j.lane, j.id LIMIT ?3"
        ));
        let query = with(sqlx::query(statement), &t, claim)?.bind(asked.clone());
        let claimed = take(&mut t, claim, query).await?;
        let taken: HashSet<JobId> = claimed.iter().map(|job| job.fence.job).collect();
        let mut report = ClaimReport { claimed, ..ClaimReport::default() };
        if taken.len() < ids.len() {
            // Those that are still claimable were over the limit, or asked for by an incarnation that is over:
            // with one writer no row is ever locked.
            let statement = concat!(
                "SELECT j.id, ",
                served!(),
                " IN (SELECT value FROM json_each(?4)) AS ours, NOT (",
                unmanaged!(),
                ") AS managed
                 FROM json_each(?5) e CROSS JOIN job j ON j.id = unhex(e.value, '-') WHERE j.state = 'queued' AND ",
                let_go!(),
                " AND ?1 IS NOT NULL AND ?2 IS NOT NULL AND ?3 IS NOT NULL"
            );
            let left = t.rows(with(sqlx::query(statement), &t, claim)?.bind(asked)).await?;
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
        if claim.limit == 0 || !waiting(self).await? {
            return Ok(Vec::new());
        }
        let mut t = Transition::begin(self).await?;
        // From each priority of each queue that has something the oldest, and of those the first by priority and
        // age: the index is read at a few places, never the whole backlog. The maintained counters say
        // which queues have something, so that a paused backlog is not read at all.
        let statement = claim!(concat!(
            "SELECT id FROM (
                WITH q(name) AS MATERIALIZED (
                        SELECT DISTINCT c.queue FROM queue_count c
                        WHERE c.state = 'queued' AND c.jobs > 0
                          AND (?5 = '[]' OR c.queue IN (SELECT value FROM json_each(?5)))
                          AND NOT EXISTS (SELECT 1 FROM queue p WHERE p.tenant = c.tenant AND p.name = c.queue AND p.paused)
                          AND c.queue NOT IN (SELECT name FROM managed WHERE scope = 'queue')),
                     l(lane) AS (VALUES (0), (1), (2))
                SELECT n.id, n.lane FROM q CROSS JOIN l CROSS JOIN job n
                WHERE n.id IN (SELECT j.id FROM job j WHERE j.queue = q.name AND j.lane = l.lane AND ",
            claimable!(),
            " ORDER BY j.id LIMIT ?3)
                ORDER BY n.lane, n.id LIMIT ?3)"
        ));
        let query = with(sqlx::query(statement), &t, claim)?.bind(check::json(&claim.queues)?);
        let claimed = take(&mut t, claim, query).await?;
        t.commit().await?;
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

    async fn wait_for_work(&self, at_most: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + at_most;
        loop {
            let look = deadline.min(tokio::time::Instant::now() + LOOK);
            tokio::select! {
                () = self.work.notified() => return true,
                () = tokio::time::sleep_until(look) => {}
            }
            if self.others_committed().await.unwrap_or(false) {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
        }
    }
}

/// A job that is queued still: whether the worker has its kind, and whether it is managed.
fn still(row: &SqliteRow) -> Result<(JobId, (bool, bool))> {
    Ok((row::id(row, "id")?, (row::flag(row, "ours")?, row::flag(row, "managed")?)))
}

/// Notes jobs whose message has come to a worker that cannot run them.
async fn mark_misrouted(t: &mut Transition<'_>, foreign: &[JobId]) -> Result<()> {
    if !foreign.is_empty() {
        let statement = "
            UPDATE job SET astray = 1
            WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1)) AND state = 'queued' AND NOT astray";
        t.run(sqlx::query(statement).bind(check::json(&foreign)?)).await?;
    }
    Ok(())
}

/// Whether anything is queued at all: a look by a reader, so that an idle worker does not keep the
/// one writer busy.
pub(super) async fn waiting(store: &SqliteStore) -> Result<bool> {
    let statement = "SELECT EXISTS (SELECT 1 FROM queue_count WHERE state = 'queued' AND jobs > 0)";
    sqlx::query_scalar(statement).fetch_one(&store.readers).await.map_err(super::error::database)
}

/// Binds what both statements share: `?1` now, `?2` worker, `?3` limit, `?4` kinds.
pub(super) fn with(query: Query, t: &Transition<'_>, claim: &Claim) -> Result<Query> {
    Ok(query.bind(t.now).bind(claim.worker.0).bind(claim.limit).bind(check::json(&claim.kinds)?))
}

/// Runs a claim and notes what it moved, by priority and age.
pub(super) async fn take(t: &mut Transition<'_>, claim: &Claim, query: Query) -> Result<Vec<ClaimedJob>> {
    let rows = t.rows(query).await?;
    let mut retries = HashMap::new();
    let mut claimed: Vec<ClaimedJob> =
        rows.iter().map(|row| claimed_job(row, claim, &mut retries)).collect::<Result<_>>()?;
    for job in &claimed {
        t.count(&job.tenant, &job.queue, JobState::Queued, -1);
        t.arrived(job.fence.job, &job.tenant, &job.queue, job.priority, JobState::Running);
    }
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    Ok(claimed)
}

fn claimed_job(
    row: &SqliteRow,
    claim: &Claim,
    retries: &mut HashMap<String, gristmill_core::retry::RetryPolicy>,
) -> Result<ClaimedJob> {
    let text: &str = row::get(row, "retry")?;
    // A group has a policy or two in common: each text is read once.
    let retry = match retries.get(text) {
        Some(known) => known.clone(),
        None => {
            let policy: gristmill_core::retry::RetryPolicy = row::json(row, "retry")?;
            retries.insert(text.to_owned(), policy.clone());
            policy
        }
    };
    Ok(ClaimedJob {
        fence: Fence { job: row::id(row, "id")?, attempt: row::number(row, "attempt")?, worker: claim.worker },
        tenant: row::get(row, "tenant")?,
        queue: row::get(row, "queue")?,
        priority: row::priority(row)?,
        key: row::get(row, "key")?,
        kind: row::get(row, "kind")?,
        version: row::number(row, "version")?,
        payload: row::json(row, "payload")?,
        batch: row::maybe_id(row, "batch_id")?,
        seq: row::get(row, "seq")?,
        generation: row::number(row, "generation")?,
        max_attempts: row::number(row, "max_attempts")?,
        snoozes: row::number(row, "snoozes")?,
        max_snoozes: row::number(row, "max_snoozes")?,
        timeout: row::millis(row, "timeout_ms")?,
        retry,
        trace: row::get(row, "trace")?,
        created_at: row::instant(row, "created_at")?,
        queued_at: row::instant(row, "queued_at")?,
        started_at: row::instant(row, "started_at")?,
    })
}
