//! Reconcile: every counter is compared with what it counts.
//!
//! The comparison reads one snapshot and blocks no writer. Only when something is wrong does the writer compare
//! again and repair it in the same transaction.

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use sqlx::sqlite::SqliteRow;

use super::transition::{Transition, progress};
use super::{SqliteStore, error, fan_in, insert, row};
use crate::ReconcileReport;
use crate::duties::{COUNTED_EACH_TIME, over};
use crate::error::Result;
use crate::sql::batch_ends;

/// Each batch that is not final, beside what its jobs show.
const BATCHES: &str = "
    SELECT b.*, b.definition ->> '$.queue' AS queue, b.definition -> '$.aggregate_job' AS aggregate_job,
           (SELECT count(*) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL
                AND j.state IN ('scheduled', 'queued', 'running', 'retry')) AS open_chunks,
           (SELECT count(*) FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL
                AND j.state = 'dead') AS dead_chunks,
           (SELECT j.state FROM job j WHERE b.state = 'aggregating' AND j.batch_id = b.id AND j.kind = 'aggregate'
                AND j.generation = b.generation) AS aggregate_state,
           (SELECT j.error FROM job j WHERE b.state = 'aggregating' AND j.batch_id = b.id AND j.kind = 'aggregate'
                AND j.generation = b.generation) AS job_error
    FROM batch b WHERE b.state IN ('open', 'sealed', 'aggregating') ORDER BY b.id";

/// The queue counters that are wrong, each with by how much it is too low.
macro_rules! counters {
    ($counted:expr, $kept:expr) => {
        concat!(
            "WITH RECURSIVE ",
            $counted,
            " SELECT tenant, queue, state, sum(jobs) AS missing FROM (
                SELECT * FROM counted
                UNION ALL
                SELECT tenant, queue, state, -jobs FROM queue_count WHERE ",
            $kept,
            ")
            GROUP BY tenant, queue, state HAVING sum(jobs) <> 0 ORDER BY tenant, queue, state"
        )
    };
}

const ALL_COUNTERS: &str = counters!(
    "counted (tenant, queue, state, jobs) AS (
        SELECT tenant, queue, state, count(*) FROM job GROUP BY tenant, queue, state)",
    "true"
);

/// Those of jobs that have not ended, through the indexes: the tenants are found by walking from one to the next.
pub(super) const COUNTERS: &str = counters!(
    "every (tenant) AS (
        SELECT min(tenant) FROM job INDEXED BY job_listed WHERE state <> 'running'
        UNION ALL
        SELECT (SELECT min(j.tenant) FROM job j INDEXED BY job_listed WHERE j.state <> 'running' AND j.tenant > e.tenant)
        FROM every e WHERE e.tenant IS NOT NULL),
    counted (tenant, queue, state, jobs) AS (
        SELECT e.tenant, j.queue, s.column1, count(*)
        FROM every e CROSS JOIN (VALUES ('scheduled'), ('queued'), ('retry')) s
        CROSS JOIN job j INDEXED BY job_listed
        WHERE j.tenant = e.tenant AND j.state = s.column1 AND j.state <> 'running'
        GROUP BY 1, 2, 3
        UNION ALL
        SELECT tenant, queue, 'running', count(*) FROM job INDEXED BY job_running WHERE state = 'running'
        GROUP BY tenant, queue)",
    "state IN ('scheduled', 'queued', 'running', 'retry')"
);

pub(super) async fn reconcile(store: &SqliteStore, dry_run: bool) -> Result<ReconcileReport> {
    let batches = sqlx::query(BATCHES).fetch_all(&store.readers).await.map_err(error::database)?;
    let total = "SELECT coalesce(sum(jobs), 0) FROM queue_count";
    let total: i64 = sqlx::query_scalar(total).fetch_one(&store.readers).await.map_err(error::database)?;
    let ended = store.ended_count.due();
    let statement = if ended || total < COUNTED_EACH_TIME { ALL_COUNTERS } else { COUNTERS };
    let counters = sqlx::query(statement).fetch_all(&store.readers).await.map_err(error::database)?;
    let mut report = ReconcileReport { batches: batches.len() as u64, ..ReconcileReport::default() };
    let mut wrong = !counters.is_empty();
    for batch in &batches {
        wrong |= !Compared::of(batch)?.fine();
    }
    if !wrong {
        if ended {
            store.ended_count.done();
        }
        return Ok(report);
    }
    let mut t = Transition::begin(store).await?;
    // The counters first: the repair of the batches counts what it adds by itself.
    for counter in &t.rows(sqlx::query(statement)).await? {
        mend_counter(&mut t, counter, &mut report.findings)?;
    }
    for batch in &t.rows(sqlx::query(BATCHES)).await? {
        mend_batch(&mut t, batch, &mut report.findings).await?;
    }
    t.tell(&report);
    if !dry_run {
        report.dispatched = t.commit().await?.dispatched;
    }
    Ok(report)
}

/// A batch beside its jobs.
struct Compared {
    batch: BatchId,
    state: BatchState,
    remaining: i64,
    open_chunks: i64,
    dead: i64,
    dead_chunks: i64,
    /// The state of the job that aggregates it, while it is aggregating.
    aggregate: Option<JobState>,
}

impl Compared {
    fn of(row: &SqliteRow) -> Result<Self> {
        Ok(Self {
            batch: row::id(row, "id")?,
            state: row::word(row, "state")?,
            remaining: row::get(row, "remaining")?,
            open_chunks: row::get(row, "open_chunks")?,
            dead: row::get(row, "chunks_dead")?,
            dead_chunks: row::get(row, "dead_chunks")?,
            aggregate: row::get::<Option<String>>(row, "aggregate_state")?
                .map(|_| row::word(row, "aggregate_state"))
                .transpose()?,
        })
    }

    fn stuck(&self) -> bool {
        self.state == BatchState::Sealed && self.open_chunks == 0
    }

    fn orphaned(&self) -> bool {
        self.state == BatchState::Aggregating && self.aggregate.is_none()
    }

    /// The job that it waits for has ended, and it has not.
    fn over(&self) -> Option<JobState> {
        self.aggregate.filter(|state| state.is_final())
    }

    fn fine(&self) -> bool {
        self.remaining == self.open_chunks
            && self.dead == self.dead_chunks
            && !self.stuck()
            && !self.orphaned()
            && self.over().is_none()
    }
}

async fn mend_batch(t: &mut Transition<'_>, row: &SqliteRow, findings: &mut Vec<String>) -> Result<()> {
    let found = Compared::of(row)?;
    let batch = found.batch;
    if found.remaining != found.open_chunks {
        findings.push(format!(
            "batch {batch} said that {} of its chunks remain, but {} do; corrected",
            found.remaining, found.open_chunks
        ));
        t.delta(batch).remaining += found.open_chunks - found.remaining;
    }
    if found.dead != found.dead_chunks {
        findings.push(format!(
            "batch {batch} said that {} of its chunks are dead, but {} are; corrected",
            found.dead, found.dead_chunks
        ));
        t.delta(batch).dead += found.dead_chunks - found.dead;
    }
    if found.stuck() {
        findings.push(format!("batch {batch} had nothing left to do, but its aggregate had not begun; begun now"));
        t.delta(batch);
    }
    if found.orphaned() {
        findings.push(format!("batch {batch} was aggregating without a job that does it; enqueued now"));
        let job = fan_in::aggregate(&progress(row)?, row)?;
        insert::jobs(t, &[job]).await?;
    }
    if let Some(state) = found.over() {
        findings.push(over(batch, state));
        let error = row::get::<Option<String>>(row, "job_error")?.unwrap_or_else(|| format!("the job is {state}"));
        batch_ends::halt(t, batch, row::number(row, "generation")?, &error).await?;
    }
    Ok(())
}

fn mend_counter(t: &mut Transition<'_>, row: &SqliteRow, findings: &mut Vec<String>) -> Result<()> {
    let (tenant, queue): (String, String) = (row::get(row, "tenant")?, row::get(row, "queue")?);
    let state: JobState = row::word(row, "state")?;
    let missing: i64 = row::get(row, "missing")?;
    let (by, how) = (missing.unsigned_abs(), if missing > 0 { "low" } else { "high" });
    findings.push(format!(
        "the counter of {state} jobs on queue `{queue}` of tenant `{tenant}` was too {how} by {by}; corrected"
    ));
    t.count(&tenant, &queue, state, missing);
    Ok(())
}
