//! Claim: workers take jobs; those under limits and turns are taken in [`super::limited`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::{ClaimedJob, Fence};
use gristmill_core::settle::Verdict;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::complete::{self, Closing};
use super::fan_in::{self, Deltas};
use super::fault::Outcome;
use super::poison;
use super::values::{count, from_any_json, from_json, small};
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
        "(j.queue, j.tenant) NOT IN (SELECT name, tenant FROM queue WHERE paused)
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

/// Which rows `j` this worker may claim: of a kind that it has, not paused and not limited, and none if its incarnation
/// is over. The subqueries do not depend on the row, so that each runs once.
macro_rules! may_run {
    ($kinds:literal, $worker:literal) => {
        concat!(
            "j.state = 'queued' AND ",
            served!(),
            " = ANY(",
            $kinds,
            ") AND ",
            let_go!(),
            " AND ",
            unmanaged!(),
            "
      AND NOT EXISTS (SELECT 1 FROM worker WHERE id = ",
            $worker,
            " AND state <> 'alive')"
        )
    };
}

/// The age of row `j` among those that wait: a job of a batch is as old as its batch, so that all jobs of a batch lie
/// together in the index, and those of a paused one are passed over in one step.
macro_rules! age {
    () => {
        "COALESCE(j.batch_id, j.id)"
    };
}

/// CTEs that find in the index which streams wait: the queues among `$queues` (an array; empty is all), and the
/// priorities, kinds and versions in each. As many steps as there are streams, whatever waits in them.
macro_rules! streams {
    ($queues:literal) => {
        concat!(
            "RECURSIVE every (queue) AS (
    (SELECT j.queue FROM job j WHERE j.state = 'queued' AND NOT j.limited AND cardinality(",
            $queues,
            ") = 0
     ORDER BY j.queue LIMIT 1)
    UNION ALL
    SELECT (SELECT j.queue FROM job j WHERE j.state = 'queued' AND NOT j.limited AND j.queue > e.queue
            ORDER BY j.queue LIMIT 1)
    FROM every e WHERE e.queue IS NOT NULL
), stream (queue, lane, kind, version) AS (
    SELECT h.queue, h.lane, h.kind, h.version FROM (SELECT unnest(",
            $queues,
            ") UNION SELECT queue FROM every) AS q (queue)
    CROSS JOIN LATERAL (
        SELECT j.queue, j.lane, j.kind, j.version FROM job j
        WHERE j.state = 'queued' AND NOT j.limited AND j.queue = q.queue
        ORDER BY j.lane, j.kind, j.version LIMIT 1) AS h
    UNION ALL
    SELECT n.queue, n.lane, n.kind, n.version FROM stream s
    CROSS JOIN LATERAL (
        SELECT j.queue, j.lane, j.kind, j.version FROM job j
        WHERE j.state = 'queued' AND NOT j.limited AND j.queue = s.queue
          AND (j.lane, j.kind, j.version) > (s.lane, s.kind, s.version)
        ORDER BY j.lane, j.kind, j.version LIMIT 1) AS n
)"
        )
    };
}

/// Whether stream `j` has anything that is neither limited nor paused for every tenant that has jobs in its queue.
macro_rules! open {
    () => {
        concat!(
            unmanaged!(),
            " AND (NOT EXISTS (SELECT 1 FROM queue p WHERE p.name = j.queue AND p.paused)
        OR EXISTS (SELECT 1 FROM queue_count c WHERE c.queue = j.queue AND c.state = 'queued'
            AND (c.queue, c.tenant) NOT IN (SELECT p.name, p.tenant FROM queue p WHERE p.paused)
            GROUP BY c.tenant HAVING sum(c.jobs) > 0))"
        )
    };
}

/// A CTE of the ages between those of paused batches: without any, from the first to the last.
macro_rules! gaps {
    () => {
        "gap (above, below) AS MATERIALIZED (
    SELECT e.id, lead(e.id, 1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) OVER (ORDER BY e.id)
    FROM (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id UNION ALL SELECT id FROM batch WHERE paused) AS e
    ORDER BY 1
)"
    };
}

/// The oldest rows `j` of stream `$stream` that fulfil `$condition`, at most `$limit`, outside paused batches and queues:
/// a lateral subquery that ends with `$lock`.
macro_rules! oldest {
    ($stream:literal, $condition:expr, $limit:literal, $lock:literal) => {
        concat!(
            "CROSS JOIN LATERAL (
        SELECT r.id, r.age FROM gap g CROSS JOIN LATERAL (
            SELECT j.id, ",
            age!(),
            " AS age FROM job j
            WHERE j.queue = ",
            $stream,
            ".queue AND j.lane = ",
            $stream,
            ".lane AND j.kind = ",
            $stream,
            ".kind AND j.version = ",
            $stream,
            ".version
              AND j.state = 'queued' AND NOT j.limited AND ",
            age!(),
            " > g.above AND ",
            age!(),
            " < g.below
              AND (j.queue, j.tenant) NOT IN (SELECT p.name, p.tenant FROM queue p WHERE p.paused)",
            $condition,
            "
            ORDER BY ",
            age!(),
            ", j.id LIMIT ",
            $limit,
            $lock,
            ") AS r
        LIMIT ",
            $limit,
            ") AS r"
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
/// limit: within it the worker beats, and says what it still has to write down ([`super::worker::hold`]). Its result
/// may get lost with its connection while the COMMIT is under way: the lock is held by then, and shows a process that
/// looks for the claimed jobs that the commit may still land. Taken here, it costs no round trip. Nor do the counters,
/// so that the statement may be a transaction by itself; they come last, since their rows are the most contended.
macro_rules! claiming {
    ($taken:expr) => {
        claiming!("", $taken)
    };
    ($before:expr, $taken:expr) => {
        concat!(
            "WITH ",
            $before,
            "under_way AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(",
            claims_lock!("$1"),
            ")::text AS lock), taken AS (",
            $taken,
            "), moved AS (
UPDATE job j SET state = 'running', attempt = j.attempt + 1, worker_id = $1, started_at = now(), run_at = NULL, astray = FALSE, limited = FALSE,
       deadline = now() + LEAST(j.timeout_ms, 3162240000000) * interval '1 millisecond'
           + COALESCE((SELECT GREATEST(w.lease_until - w.seen_at, interval '0') FROM worker w WHERE w.id = $1), interval '0')
FROM taken WHERE j.id = taken.id AND (SELECT lock FROM under_way) IS NOT NULL
RETURNING j.id, j.attempt, j.tenant, j.queue, j.lane, j.key, j.kind, j.version, j.payload, j.batch_id, j.seq, j.generation,
          j.max_attempts, j.snoozes, j.max_snoozes, j.timeout_ms, j.retry, j.trace, j.created_at, j.queued_at, j.started_at), counted AS (
INSERT INTO queue_count (tenant, queue, state, shard, jobs)
SELECT m.tenant, m.queue, s.state, (pg_backend_pid() % 32)::smallint, s.sign * count(*)
FROM moved m CROSS JOIN (VALUES ('queued', -1), ('running', 1)) AS s (state, sign)
GROUP BY m.tenant, m.queue, s.state, s.sign ORDER BY 1, 2, 3
ON CONFLICT (tenant, queue, state, shard) DO UPDATE SET jobs = queue_count.jobs + excluded.jobs)
SELECT * FROM moved"
        )
    };
}

pub(super) use {age, claiming, gaps, let_go, oldest, open, served, streams, unmanaged};

/// Whether row `j` is on one of these queues, an array; empty is all. A message may be of a queue on which its job waited
/// before it was edited.
macro_rules! of_queues {
    ($queues:literal) => {
        concat!(" AND (cardinality(", $queues, "::text[]) = 0 OR j.queue = ANY(", $queues, "))")
    };
}

const CLAIM: &str = claiming!(concat!(
    "SELECT j.id FROM job j WHERE j.id = ANY($3) AND ",
    may_run!("$2", "$1"),
    of_queues!("$5"),
    " ORDER BY j.lane, j.id LIMIT $4 FOR UPDATE SKIP LOCKED"
));

/// Whether the worker's incarnation is over does not matter here: then its messages go to other workers.
const STILL_QUEUED: &str = concat!(
    "SELECT j.id, ",
    served!(),
    " = ANY($1) AS ours, NOT (",
    unmanaged!(),
    ") AS managed FROM job j WHERE j.id = ANY($2) AND j.state = 'queued' AND ",
    let_go!(),
    of_queues!("$3")
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

/// The first by priority and age of all streams that are open to this worker: how many jobs each contributes is found
/// without locking, since locking the heads of all and taking the first of them would hide from other workers what is
/// then not taken. Each stream's share skips rows that other workers are claiming. A single stream contributes all.
pub(super) const CLAIM_NEXT: &str = claiming!(
    concat!(
        streams!("$3::text[]"),
        ", ",
        gaps!(),
        ", fit AS MATERIALIZED (
    SELECT j.queue, j.lane, j.kind, j.version FROM stream j
    WHERE ",
        served!(),
        " = ANY($2) AND ",
        open!(),
        " AND NOT EXISTS (SELECT 1 FROM worker WHERE id = $1 AND state <> 'alive')
), share (queue, lane, kind, version, jobs) AS MATERIALIZED (
    SELECT queue, lane, kind, version, $4::bigint FROM fit WHERE (SELECT count(*) FROM fit) = 1
    UNION ALL
    SELECT queue, lane, kind, version, count(*) FROM (
        SELECT f.queue, f.lane, f.kind, f.version FROM fit f ",
        oldest!("f", "", "$4::bigint", ""),
        "
        ORDER BY f.lane, r.age, r.id LIMIT $4::bigint) AS first
    WHERE (SELECT count(*) FROM fit) > 1 GROUP BY 1, 2, 3, 4
), "
    ),
    concat!("SELECT r.id FROM share s ", oldest!("s", "", "s.jobs", " FOR UPDATE SKIP LOCKED"))
);

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
            payload: from_any_json(&self.payload, &what)?,
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

/// What a claim took.
#[derive(Default)]
pub(super) struct Taken {
    /// By priority and age.
    pub(super) jobs: Vec<ClaimedJob>,
    /// Attempts that no worker can begin, because their rows cannot be read, and why.
    pub(super) unreadable: Vec<(Fence, StoreError)>,
}

/// Claims by message.
pub(super) async fn claim(work: &mut Work<'_>, (claim, ids): &(&Claim, &[Uuid])) -> Outcome<Taken> {
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(ids)
        .bind(i64::from(claim.limit))
        .bind(&claim.queues)
        .fetch_all(&mut *work.conn)
        .await?;
    Ok(taken(work, rows, claim.worker))
}

/// Says what is the matter with jobs that messages named and that were not claimed.
pub(super) async fn left(work: &mut Work<'_>, (claim, ids): &(&Claim, &[Uuid])) -> Outcome<ClaimReport> {
    let mut report = ClaimReport::default();
    let queued = still_queued(work, claim, ids).await?;
    let mut late = Vec::new();
    for id in *ids {
        match queued.get(id) {
            Some((_, true)) => report.limited.push(JobId(*id)),
            Some((true, false)) => report.busy.push(JobId(*id)),
            Some((false, false)) => report.foreign.push(JobId(*id)),
            None => late.push(*id),
        }
    }
    mark_misrouted(work, &report.foreign).await?;
    let unknown = if late.is_empty() { HashSet::new() } else { poison::unknown(work.conn, &late).await? };
    (report.unknown, report.stale) = late.into_iter().map(JobId).partition(|id| unknown.contains(id));
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
    let ids: Vec<(Uuid, bool, bool)> = sqlx::query_as(STILL_QUEUED)
        .bind(&claim.kinds)
        .bind(ids)
        .bind(&claim.queues)
        .fetch_all(&mut *work.conn)
        .await?;
    Ok(ids.into_iter().map(|(id, ours, limited)| (id, (ours, limited))).collect())
}

/// Claims from the store itself.
pub(super) async fn claim_next(work: &mut Work<'_>, claim: &&Claim) -> Outcome<Taken> {
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM_NEXT)
        .bind(claim.worker.0)
        .bind(&claim.kinds)
        .bind(&claim.queues)
        .bind(i64::from(claim.limit))
        .fetch_all(&mut *work.conn)
        .await?;
    Ok(taken(work, rows, claim.worker))
}

/// Reads claimed rows, which the statement has counted. One that cannot be read costs no other.
pub(super) fn taken(work: &mut Work<'_>, rows: Vec<ClaimedRow>, worker: WorkerId) -> Taken {
    work.moved_and_counted(rows.len() as u64);
    let mut taken = Taken { jobs: Vec::with_capacity(rows.len()), unreadable: Vec::new() };
    for row in rows {
        let fence = complete::fence(row.id, small(row.attempt), worker.0);
        match row.job(worker) {
            Ok(job) => taken.jobs.push(job),
            Err(error) => taken.unreadable.push((fence, error)),
        }
    }
    taken.jobs.sort_by_key(|job| (job.priority, job.fence.job));
    taken
}

/// Closes attempts that no worker can begin, because their rows cannot be read: they become dead letters.
pub(super) async fn close_unreadable(work: &mut Work<'_>, unreadable: &[(Fence, StoreError)]) -> Outcome<()> {
    let mut closings: Vec<Closing> =
        unreadable.iter().map(|(fence, error)| Closing::unreadable(*fence, error)).collect();
    closings.sort_by_key(|closing| closing.fence.job);
    let mut deltas = Deltas::new();
    for row in &complete::settle(work, &closings).await? {
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            complete::add(deltas.entry(batch).or_default(), Verdict::Dead, row, None)?;
        }
    }
    fan_in::count_down(work, &deltas).await?;
    Ok(())
}

/// The same in a transaction of its own.
pub(super) async fn unreadable(work: &mut Work<'_>, unreadable: &&[(Fence, StoreError)]) -> Outcome<()> {
    close_unreadable(work, unreadable).await?;
    work.close().await?;
    Ok(())
}
