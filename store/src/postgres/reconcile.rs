//! Reconcile: every counter is compared with what it counts.
//!
//! Jobs and counters change in the same transactions, so that one statement, which sees one snapshot, can compare them
//! while all processes work. Only what differs is locked, read again and repaired.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use uuid::Uuid;

use super::fan_in;
use super::fault::Outcome;
use super::values::{small, state_of};
use super::work::Work;
use crate::ReconcileReport;
use crate::duties::{COUNTED_EACH_TIME, over};
use crate::row;
use crate::sql::batch_ends;

/// Two that ran at once would see the same difference, and each would add it.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(hashtextextended('gristmill.reconcile', 0))";

const UNFINISHED: &str = "SELECT count(*) FROM batch WHERE state IN ('open', 'sealed', 'aggregating')";

/// What a batch that is not final records, beside what its jobs show.
const COMPARE: &str = "
SELECT b.id, b.state, b.remaining, b.chunks_dead AS dead, b.generation,
       (SELECT count(*) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL
          AND j.state IN ('scheduled', 'queued', 'running', 'retry')) AS unfinished,
       (SELECT count(*) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL AND j.state = 'dead') AS dead_chunks,
       a.state AS aggregate, a.error AS aggregate_error
FROM batch b LEFT JOIN job a ON a.tenant = b.tenant AND a.idempotency_key = 'agg:' || b.id || ':' || b.generation
WHERE b.state IN ('open', 'sealed', 'aggregating')";

const LOCK: &str = "SELECT id FROM batch WHERE id = $1 FOR NO KEY UPDATE";

const SET_REMAINING: &str = "UPDATE batch SET remaining = $2, chunks = greatest(chunks, $2) WHERE id = $1";

const SET_DEAD: &str = "UPDATE batch SET chunks_dead = $2 WHERE id = $1";

const TO_AGGREGATING: &str =
    "UPDATE batch SET state = 'aggregating' WHERE id = $1 AND state = 'sealed' AND remaining = 0";

/// Differences commute with everything that other transactions add meanwhile, so that no counter needs to be locked.
macro_rules! counters {
    ($counted:expr, $kept:expr) => {
        concat!(
            "WITH RECURSIVE ",
            $counted,
            ", kept AS (
    SELECT tenant, queue, state, sum(jobs)::bigint AS jobs FROM queue_count WHERE ",
            $kept,
            " GROUP BY 1, 2, 3
)
SELECT tenant, queue, state, COALESCE(c.jobs, 0) AS counted, COALESCE(k.jobs, 0) AS kept
FROM counted c FULL JOIN kept k USING (tenant, queue, state)
WHERE COALESCE(c.jobs, 0) <> COALESCE(k.jobs, 0)
ORDER BY 1, 2, 3"
        )
    };
}

const ALL_COUNTERS: &str =
    counters!("counted AS (SELECT tenant, queue, state, count(*) AS jobs FROM job GROUP BY 1, 2, 3)", "TRUE");

/// Those of jobs that have not ended, through the indexes: the tenants are found by walking from one to the next.
pub(super) const COUNTERS: &str = counters!(
    "every (tenant) AS (
    (SELECT j.tenant FROM job j WHERE j.state <> 'running' ORDER BY j.tenant LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant FROM job j WHERE j.state <> 'running' AND j.tenant > e.tenant ORDER BY j.tenant LIMIT 1)
    FROM every e WHERE e.tenant IS NOT NULL
), counted AS (
    SELECT e.tenant, n.queue, s.state, n.jobs
    FROM every e CROSS JOIN (VALUES ('scheduled'), ('queued'), ('retry')) AS s (state)
    CROSS JOIN LATERAL (
        SELECT j.queue, count(*) AS jobs FROM job j
        WHERE j.tenant = e.tenant AND j.state = s.state AND j.state <> 'running' GROUP BY j.queue) AS n
    UNION ALL
    SELECT tenant, queue, 'running', count(*) FROM job WHERE state = 'running' GROUP BY 1, 2
)",
    "state IN ('scheduled', 'queued', 'running', 'retry')"
);

row! {
    struct Compared {
        id: Uuid,
        state: String,
        remaining: i64,
        dead: i64,
        generation: i32,
        unfinished: i64,
        dead_chunks: i64,
        /// The state of the job that aggregates this generation, and its error.
        aggregate: Option<String>,
        aggregate_error: Option<String>,
    }
}

impl Compared {
    fn differs(&self) -> bool {
        let ready = self.remaining == 0 && self.state == BatchState::Sealed.as_str();
        self.remaining != self.unfinished || self.dead != self.dead_chunks || ready || self.lacks_its_aggregate()
    }

    /// It aggregates, and the job that does it is not there, or has ended.
    fn lacks_its_aggregate(&self) -> bool {
        let ends = self.aggregate.as_deref().is_some_and(|state| state_of(state).is_ok_and(|state| !state.is_final()));
        self.state == BatchState::Aggregating.as_str() && !ends
    }
}

/// Compares, and repairs unless the caller rolls back; with `ended` the counters of jobs that have ended, too.
pub(super) async fn reconcile(work: &mut Work<'_>, ended: &bool) -> Outcome<ReconcileReport> {
    sqlx::query(ONE_AT_A_TIME).execute(&mut *work.conn).await?;
    let batches: i64 = sqlx::query_scalar(UNFINISHED).fetch_one(&mut *work.conn).await?;
    let compared: Vec<Compared> = sqlx::query_as(COMPARE).fetch_all(&mut *work.conn).await?;
    let mut report = ReconcileReport { batches: u64::try_from(batches).unwrap_or(0), ..ReconcileReport::default() };
    let mut suspects: Vec<Uuid> = compared.iter().filter(|batch| batch.differs()).map(|batch| batch.id).collect();
    suspects.sort_unstable();
    for batch in suspects {
        repair(work, batch, &mut report.findings).await?;
    }
    // Before the ledger closes: what the repairs above moved is not in either side yet, or is in both.
    let ledger = work.close().await?;
    repair_counters(work, *ended, &mut report.findings).await?;
    work.close().await?;
    report.dispatched = ledger;
    Ok(report)
}

/// Checks again with the batch's row locked: transactions in flight have committed, and no new ones can.
async fn repair(work: &mut Work<'_>, batch: Uuid, findings: &mut Vec<String>) -> Outcome<()> {
    sqlx::query(LOCK).bind(batch).execute(&mut *work.conn).await?;
    let mut query = sqlx::QueryBuilder::<sqlx::Postgres>::new(COMPARE);
    query.push(" AND b.id = ").push_bind(batch);
    let now: Option<Compared> = query.build_query_as().fetch_optional(&mut *work.conn).await?;
    let Some(mut now) = now.filter(Compared::differs) else { return Ok(()) };
    let name = BatchId(batch);
    if now.remaining != now.unfinished {
        findings.push(format!(
            "batch {name} said that {} of its chunks remain, but {} do; corrected",
            now.remaining, now.unfinished
        ));
        if now.state == BatchState::Aggregating.as_str() && now.unfinished > 0 {
            sqlx::query("UPDATE batch SET state = 'sealed' WHERE id = $1").bind(batch).execute(&mut *work.conn).await?;
            now.state = BatchState::Sealed.as_str().to_owned();
        }
        sqlx::query(SET_REMAINING).bind(batch).bind(now.unfinished).execute(&mut *work.conn).await?;
    }
    if now.dead != now.dead_chunks {
        findings.push(format!(
            "batch {name} said that {} of its chunks are dead, but {} are; corrected",
            now.dead, now.dead_chunks
        ));
        sqlx::query(SET_DEAD).bind(batch).bind(now.dead_chunks).execute(&mut *work.conn).await?;
    }
    let ended = now.unfinished == 0 && now.state != BatchState::Open.as_str();
    if let Some(state) = now.aggregate.as_deref().filter(|_| ended && now.lacks_its_aggregate()) {
        let state = state_of(state)?;
        let error = now.aggregate_error.clone().unwrap_or_else(|| format!("the job is {state}"));
        batch_ends::halt(work, name, small(now.generation), &error).await?;
        findings.push(over(name, state));
    } else if ended && (now.state == BatchState::Sealed.as_str() || now.aggregate.is_none()) {
        sqlx::query(TO_AGGREGATING).bind(batch).execute(&mut *work.conn).await?;
        fan_in::fire(work, &[batch]).await?;
        findings.push(format!(
            "batch {name} had nothing left and no aggregate for generation {}; it was fired",
            now.generation
        ));
    }
    Ok(())
}

async fn repair_counters(work: &mut Work<'_>, ended: bool, findings: &mut Vec<String>) -> Outcome<()> {
    let total: i64 =
        sqlx::query_scalar("SELECT COALESCE(sum(jobs), 0)::bigint FROM queue_count").fetch_one(&mut *work.conn).await?;
    let statement = if ended || total < COUNTED_EACH_TIME { ALL_COUNTERS } else { COUNTERS };
    let differences: Vec<(String, String, String, i64, i64)> =
        sqlx::query_as(statement).fetch_all(&mut *work.conn).await?;
    for (tenant, queue, state, counted, kept) in differences {
        findings.push(format!(
            "the counter of {state} jobs on queue `{queue}` of tenant `{tenant}` said {kept}, but there are {counted}; corrected"
        ));
        work.entered(&tenant, &queue, state_of(&state)?, counted - kept);
    }
    Ok(())
}
