//! The fan-in: a batch's counters change with the jobs that moved, and the change that leaves nothing
//! remaining fires the aggregate, in the same transaction.

use gristmill_core::batch::BatchState;
use gristmill_core::definition::AggregateJob;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob, Priority};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::insert;
use super::job_row::{self, JobRow};
use super::transition::{Delta, Transition, progress};
use super::{notify, row};
use crate::BatchProgress;
use crate::check;
use crate::check::AGGREGATE_KEY;
use crate::error::Result;

/// Changes the batches, fires what is ready, and returns where each batch stands then.
pub(super) async fn apply(t: &mut Transition<'_>, mut deltas: Vec<(BatchId, Delta)>) -> Result<Vec<BatchProgress>> {
    if deltas.is_empty() {
        return Ok(Vec::new());
    }
    deltas.sort_by_key(|(id, _)| *id);
    let failed: Vec<BatchId> = deltas.iter().filter(|(_, d)| d.quarantined > 0).map(|(id, _)| *id).collect();
    let rows: Vec<_> = deltas
        .iter()
        .map(|(id, d)| {
            (id, d.chunks, d.remaining, d.dead, d.retries, d.input, d.ok, d.skipped, d.quarantined, d.cancelled)
        })
        .collect();
    let statement = "
        WITH d AS MATERIALIZED (
            SELECT unhex(value ->> 0, '-') AS id, value ->> 1 AS chunks, value ->> 2 AS remaining, value ->> 3 AS dead,
                   value ->> 4 AS retries, value ->> 5 AS input, value ->> 6 AS ok, value ->> 7 AS skipped,
                   value ->> 8 AS quarantined, value ->> 9 AS cancelled
            FROM json_each(?1))
        UPDATE batch SET
            chunks = batch.chunks + d.chunks, remaining = batch.remaining + d.remaining,
            chunks_dead = batch.chunks_dead + d.dead, retries = batch.retries + d.retries,
            input = batch.input + d.input, ok = batch.ok + d.ok, skipped = batch.skipped + d.skipped,
            quarantined = batch.quarantined + d.quarantined, cancelled = batch.cancelled + d.cancelled
        FROM d WHERE batch.id = d.id
        RETURNING id, tenant, state, generation, input, ok, skipped, quarantined, cancelled, remaining, halting, tolerate, trace,
                  definition ->> '$.queue' AS queue, definition -> '$.aggregate_job' AS aggregate_job";
    let changed = t.rows(sqlx::query(statement).bind(check::json(&rows)?)).await?;
    let mut all = Vec::with_capacity(changed.len());
    let mut aggregates = Vec::new();
    for row in &changed {
        let mut now = progress(row)?;
        if now.state == BatchState::Sealed && now.remaining == 0 {
            now.state = BatchState::Aggregating;
            aggregates.push(aggregate(&now, row)?);
        }
        all.push(now);
    }
    fire(t, &aggregates).await?;
    notify::first_failures(t, &failed).await?;
    all.sort_by_key(|progress| progress.batch);
    Ok(all)
}

/// Moves batches on to `aggregating` and inserts the jobs that aggregate them.
async fn fire(t: &mut Transition<'_>, aggregates: &[JobRow]) -> Result<()> {
    if aggregates.is_empty() {
        return Ok(());
    }
    let batches: Vec<_> = aggregates.iter().map(|job| job.batch).collect();
    let statement = "
        UPDATE batch SET state = 'aggregating'
        WHERE state = 'sealed' AND remaining = 0 AND id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(&batches)?)).await?;
    insert::jobs(t, aggregates).await?;
    Ok(())
}

/// The job that aggregates one generation of a batch. Its key is the second guard against two of them.
///
/// The row has the batch's `tenant`, `trace`, and of its definition `queue` and `aggregate_job`.
pub(super) fn aggregate(batch: &BatchProgress, row: &SqliteRow) -> Result<JobRow> {
    let (id, generation) = (batch.batch, batch.generation);
    let payload = json!({ "batch": id, "generation": generation });
    let settings: Option<AggregateJob> = row::maybe_json(row, "aggregate_job")?;
    let mut job = NewJob::new(JobId(Uuid::now_v7()), "aggregate", payload);
    settings.unwrap_or_default().apply(&mut job);
    Ok(JobRow {
        id: job.id,
        tenant: row::get(row, "tenant")?,
        queue: row::get::<Option<String>>(row, "queue")?
            .unwrap_or_else(|| gristmill_core::job::DEFAULT_QUEUE.to_owned()),
        priority: Priority::High,
        key: None,
        kind: job.kind,
        state: JobState::Queued,
        max_attempts: job.max_attempts,
        max_snoozes: job.max_snoozes,
        version: 1,
        timeout_ms: job_row::millis(job.timeout),
        retry: check::json(&job.retry)?,
        payload: check::json(&job.payload)?,
        batch: Some(id),
        seq: None,
        items: 0,
        generation: Some(generation),
        idempotency_key: Some(format!("{AGGREGATE_KEY}{id}:{generation}")),
        unique: None,
        trace: row::get(row, "trace")?,
        run_at: None,
    })
}
