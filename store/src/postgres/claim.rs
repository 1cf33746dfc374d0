//! Claim: workers take jobs; those under limits and turns are taken in [`super::limited`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence, JobState};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Outcome;
use super::poison;
use super::values::{count, from_json, small};
use super::work::{Work, priority_of};
use crate::error::{Result, StoreError};
use crate::row;
use crate::{Claim, ClaimReport};

/// What a worker must serve to run row `j`, spelt as `core::job::served` does.
macro_rules! served {
    () => {
        "(CASE j.version WHEN 1 THEN j.kind ELSE j.kind || '@' || j.version::text END)"
    };
}

/// Whether row `j` is not paused.
macro_rules! let_go {
    () => {
        "(j.tenant, j.queue) NOT IN (SELECT tenant, name FROM queue WHERE paused)
      AND (j.batch_id IS NULL OR j.batch_id NOT IN (SELECT id FROM batch WHERE paused))"
    };
}

/// Whether row `j` is not claimed by limits and turns.
macro_rules! unmanaged {
    () => {
        "j.queue NOT IN (SELECT name FROM managed WHERE scope = 'queue')
      AND j.kind NOT IN (SELECT name FROM managed WHERE scope = 'kind')"
    };
}

/// Which rows `j` are claimable at all: of a kind that the worker has, not paused and not managed. The subqueries do
/// not depend on the row, so that each runs once.
macro_rules! claimable {
    ($kinds:literal) => {
        concat!("j.state = 'queued' AND ", served!(), " = ANY(", $kinds, ") AND ", let_go!(), " AND ", unmanaged!())
    };
}

/// Which rows `j` this worker may claim: none if its incarnation is over.
macro_rules! may_run {
    ($kinds:literal, $worker:literal) => {
        concat!(
            claimable!($kinds),
            "
      AND NOT EXISTS (SELECT 1 FROM worker WHERE id = ",
            $worker,
            " AND state <> 'alive')"
        )
    };
}

/// The lock of a worker's claims, in our own class of locks, since the database may be shared: a claim holds it shared
/// until its transaction has ended, and [`super::worker::release_unknown`] requests it exclusively.
macro_rules! claims_lock {
    ($worker:literal) => {
        concat!("1735553389, hashtext(", $worker, "::uuid::text)")
    };
}

pub(super) use claims_lock;

/// The claim itself, of the rows that a CTE `taken` has locked. The deadline leaves a whole lease beyond the job's own
/// limit: within it the worker beats, and says what it still has to write down ([`super::worker::hold`]). Its result may get lost with its connection while the
/// COMMIT is under way: the lock is held by then, and shows a process that looks for the claimed jobs that the commit
/// may still land. Taken here, it costs no round trip.
macro_rules! claiming {
    ($taken:expr) => {
        concat!(
            "WITH under_way AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(",
            claims_lock!("$1"),
            ")::text AS lock), taken AS (",
            $taken,
            ")
UPDATE job j SET state = 'running', attempt = j.attempt + 1, worker_id = $1, started_at = now(), run_at = NULL, astray = FALSE,
       deadline = now() + j.timeout_ms * interval '1 millisecond'
           + COALESCE((SELECT GREATEST(w.lease_until - w.seen_at, interval '0') FROM worker w WHERE w.id = $1), interval '0')
FROM taken WHERE j.id = taken.id AND (SELECT lock FROM under_way) IS NOT NULL
RETURNING j.id, j.attempt, j.tenant, j.queue, j.lane, j.key, j.kind, j.version, j.payload, j.batch_id, j.seq, j.generation,
          j.max_attempts, j.snoozes, j.max_snoozes, j.timeout_ms, j.retry, j.trace, j.created_at, j.queued_at, j.started_at"
        )
    };
}

pub(super) use {claiming, let_go, served, unmanaged};

const CLAIM: &str = claiming!(concat!(
    "SELECT j.id FROM job j WHERE j.id = ANY($3) AND ",
    may_run!("$2", "$1"),
    " ORDER BY j.lane, j.id LIMIT $4 FOR UPDATE SKIP LOCKED"
));

/// Whether the worker's incarnation is over does not matter here: then its messages go to other workers.
const STILL_QUEUED: &str = concat!(
    "SELECT j.id, ",
    served!(),
    " = ANY($1) AS ours, NOT (",
    unmanaged!(),
    ") AS managed FROM job j WHERE j.id = ANY($2) AND j.state = 'queued' AND ",
    let_go!()
);

/// A row that another transaction holds at the moment is being claimed, or else the probe finds it.
const STRAY: &str = "
UPDATE job SET astray = TRUE WHERE id IN (
    SELECT id FROM job WHERE id = ANY($1) AND state = 'queued' AND NOT astray ORDER BY id FOR UPDATE SKIP LOCKED)";

/// The first jobs of each kind: as many steps in the index as there are kinds.
const ASTRAY: &str = concat!(
    "SELECT head.id FROM unnest($1::text[]) AS k (served)
CROSS JOIN LATERAL (
    SELECT j.id, j.lane FROM job j
    WHERE j.astray AND j.state = 'queued' AND ",
    served!(),
    " = k.served AND (cardinality($2::text[]) = 0 OR j.queue = ANY($2)) AND ",
    let_go!(),
    " AND ",
    unmanaged!(),
    " ORDER BY j.lane, j.id LIMIT $3) AS head
ORDER BY head.lane, head.id LIMIT $3"
);

/// Walks the index from queue to queue: as many steps as there are queues with waiting jobs.
const WAITING_QUEUES: &str = "
WITH RECURSIVE waiting (queue) AS (
    (SELECT queue FROM job WHERE state = 'queued' ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM job j WHERE j.state = 'queued' AND j.queue > w.queue ORDER BY j.queue LIMIT 1)
    FROM waiting w WHERE w.queue IS NOT NULL
)
SELECT queue FROM waiting WHERE queue IS NOT NULL";

/// How many jobs each of several queues contributes to the next ones by priority and age. Reads without locking.
const SHARES: &str = concat!(
    "SELECT head.queue, count(*) FROM (
    SELECT j.queue FROM unnest($3::text[]) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT j.queue, j.lane, j.id FROM job j WHERE j.queue = q.queue AND ",
    may_run!("$2", "$1"),
    "   ORDER BY j.lane, j.id LIMIT $4) AS j
    ORDER BY j.lane, j.id LIMIT $4) AS head
GROUP BY head.queue"
);

/// Each queue's share, skipping rows that other workers are claiming.
const CLAIM_NEXT: &str = claiming!(concat!(
    "SELECT j.id FROM unnest($3::text[], $4::bigint[]) AS q (queue, share)
    CROSS JOIN LATERAL (
        SELECT j.id FROM job j WHERE j.queue = q.queue AND ",
    may_run!("$2", "$1"),
    "   ORDER BY j.lane, j.id LIMIT q.share FOR UPDATE SKIP LOCKED) AS j"
));

row! {
    pub(super) struct ClaimedRow {
        id: Uuid,
        attempt: i32,
        tenant: String,
        queue: String,
        lane: i16,
        key: Option<String>,
        kind: String,
        version: i32,
        payload: String,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        generation: i32,
        max_attempts: i32,
        snoozes: i32,
        max_snoozes: i32,
        timeout_ms: i64,
        retry: String,
        trace: Option<String>,
        created_at: Instant,
        queued_at: Option<Instant>,
        started_at: Instant,
    }
}

impl ClaimedRow {
    fn job(self, worker: WorkerId) -> Result<ClaimedJob, StoreError> {
        let what = format!("job {}", self.id);
        Ok(ClaimedJob {
            fence: Fence { job: JobId(self.id), attempt: small(self.attempt), worker },
            tenant: self.tenant,
            queue: self.queue,
            priority: priority_of(self.lane)?,
            key: self.key,
            kind: self.kind,
            version: small(self.version),
            payload: from_json(&self.payload, &what)?,
            batch: self.batch_id.map(BatchId),
            seq: self.seq,
            generation: small(self.generation),
            max_attempts: small(self.max_attempts),
            snoozes: small(self.snoozes),
            max_snoozes: small(self.max_snoozes),
            timeout: Duration::from_millis(count(self.timeout_ms)),
            retry: from_json(&self.retry, &what)?,
            trace: self.trace,
            created_at: self.created_at,
            queued_at: self.queued_at.unwrap_or(self.created_at),
            started_at: self.started_at,
        })
    }
}

/// Claims by message.
pub(super) async fn claim(work: &mut Work<'_>, (claim, ids): &(&Claim, &[JobId])) -> Outcome<ClaimReport> {
    let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(&asked)
        .bind(i64::from(claim.limit))
        .fetch_all(&mut *work.conn)
        .await?;
    let mut claimed = enter(work, rows, claim.worker)?;
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    let mut seen: HashSet<Uuid> = claimed.iter().map(|job| job.fence.job.0).collect();
    let left: Vec<Uuid> = asked.into_iter().filter(|id| seen.insert(*id)).collect();
    let mut report = ClaimReport { claimed, ..ClaimReport::default() };
    if !left.is_empty() {
        let queued = still_queued(work, claim, &left).await?;
        let mut late = Vec::new();
        for id in left {
            match queued.get(&id) {
                Some((_, true)) => report.limited.push(JobId(id)),
                Some((true, false)) => report.busy.push(JobId(id)),
                Some((false, false)) => report.foreign.push(JobId(id)),
                None => late.push(id),
            }
        }
        mark_misrouted(work, &report.foreign).await?;
        let unknown = if late.is_empty() { HashSet::new() } else { poison::unknown(work.conn, &late).await? };
        (report.unknown, report.stale) = late.into_iter().map(JobId).partition(|id| unknown.contains(id));
    }
    work.close().await?;
    Ok(report)
}

/// Notes jobs whose message has come to a worker that cannot run them.
async fn mark_misrouted(work: &mut Work<'_>, foreign: &[JobId]) -> Outcome<()> {
    if !foreign.is_empty() {
        let ids: Vec<Uuid> = foreign.iter().map(|id| id.0).collect();
        sqlx::query(STRAY).bind(ids).execute(&mut *work.conn).await?;
    }
    Ok(())
}

/// Returns misrouted jobs that this worker may claim.
pub(super) async fn misrouted(conn: &mut PgConnection, claim: &Claim) -> Outcome<Vec<JobId>> {
    let ids: Vec<Uuid> = sqlx::query_scalar(ASTRAY)
        .bind(&claim.kinds)
        .bind(&claim.queues)
        .bind(i64::from(claim.limit))
        .fetch_all(conn)
        .await?;
    Ok(ids.into_iter().map(JobId).collect())
}

/// Those that are still queued and not paused, each with whether the worker has its kind, and whether it is managed.
async fn still_queued(work: &mut Work<'_>, claim: &Claim, ids: &[Uuid]) -> Outcome<HashMap<Uuid, (bool, bool)>> {
    let ids: Vec<(Uuid, bool, bool)> =
        sqlx::query_as(STILL_QUEUED).bind(&claim.kinds).bind(ids).fetch_all(&mut *work.conn).await?;
    Ok(ids.into_iter().map(|(id, ours, limited)| (id, (ours, limited))).collect())
}

/// Claims from the store itself.
pub(super) async fn claim_next(work: &mut Work<'_>, claim: &&Claim) -> Outcome<Vec<ClaimedJob>> {
    let shares = shares(work, claim).await?;
    if shares.is_empty() {
        return Ok(Vec::new());
    }
    let (queues, counts): (Vec<String>, Vec<i64>) = shares.into_iter().unzip();
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM_NEXT)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(queues)
        .bind(counts)
        .fetch_all(&mut *work.conn)
        .await?;
    let mut claimed = enter(work, rows, claim.worker)?;
    claimed.sort_by_key(|job| (job.priority, job.fence.job));
    work.close().await?;
    Ok(claimed)
}

/// How many jobs to take from which queue. Locking the heads of all queues and taking the first of them would be
/// simpler, but would hide from other workers what is then not taken.
async fn shares(work: &mut Work<'_>, claim: &Claim) -> Outcome<Vec<(String, i64)>> {
    let limit = i64::from(claim.limit);
    let mut queues = claim.queues.clone();
    if queues.is_empty() {
        queues = sqlx::query_scalar(WAITING_QUEUES).fetch_all(&mut *work.conn).await?;
    }
    queues.sort_unstable();
    queues.dedup();
    if queues.len() < 2 {
        return Ok(queues.into_iter().map(|queue| (queue, limit)).collect());
    }
    let shares = sqlx::query_as(SHARES)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(queues)
        .bind(limit)
        .fetch_all(&mut *work.conn)
        .await?;
    Ok(shares)
}

/// Enters claimed rows into the ledger.
pub(super) fn enter(work: &mut Work<'_>, rows: Vec<ClaimedRow>, worker: WorkerId) -> Outcome<Vec<ClaimedJob>> {
    let mut counts: HashMap<(&str, &str), i64> = HashMap::new();
    for row in &rows {
        *counts.entry((&row.tenant, &row.queue)).or_default() += 1;
    }
    for ((tenant, queue), jobs) in counts {
        work.entered(tenant, queue, JobState::Queued, -jobs);
        work.entered(tenant, queue, JobState::Running, jobs);
    }
    let jobs: Result<Vec<ClaimedJob>, StoreError> = rows.into_iter().map(|row| row.job(worker)).collect();
    Ok(jobs?)
}
