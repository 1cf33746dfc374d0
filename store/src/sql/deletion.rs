//! What an operator deletes, and what is known of all that was deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::limit::LimitSpec;
use serde_json::json;
use uuid::Uuid;

use super::prune::{Counting, Keep, Tally, deleted_job, drop_counters};
use super::{Columns, Sql, values};
use crate::check;
use crate::error::{Result, StoreError};
use crate::retention::{goes_with_batch, no_queue, not_ended, refuse_jobs, refuse_limit, unfinished_jobs};
use crate::{ControlReport, PRUNE_ROWS_MAX, PruneNoun, PrunedView};

/// How many samples a report has.
const SAMPLES: usize = 5;

/// The lock keeps a redrive or a restart out: each locks the batch before it opens the next generation.
const BATCH: &str = "
SELECT b.state, b.finished_at AS at, b.chunks, CASE WHEN b.deleting_at IS NULL THEN 0 ELSE 1 END AS deleting
FROM batch b WHERE b.id = $1 AND b.tenant = $2 FOR UPDATE";

const UNFINISHED: &str = "
SELECT count(*) AS jobs FROM job WHERE batch_id = $1 AND state IN ('scheduled', 'queued', 'running', 'retry')";

const MARK: &str = "UPDATE batch SET deleting_at = now() WHERE id = $1 AND deleting_at IS NULL";

const DEAD: &str = "
SELECT j.id, j.batch_id, CASE WHEN j.seq IS NOT NULL OR j.kind = 'aggregate' THEN 1 ELSE 0 END AS counted
FROM json_array_elements($1::json) AS e CROSS JOIN job j
WHERE j.id = CAST(e.value ->> 0 AS uuid) AND j.tenant = $2 AND j.state = 'dead'
  AND j.finished_at = ('epoch'::timestamptz + (e.value ->> 1)::bigint * interval '1 microsecond') FOR UPDATE";

const DISCARD: &str = "
DELETE FROM job WHERE state = 'dead' AND id IN (
    SELECT CAST(e.value ->> 0 AS uuid) FROM json_array_elements($1::json) AS e)
RETURNING id, tenant, queue, state, idempotency_key, created_at, batch_id";

const QUEUE: &str = "
SELECT tenant, state, sum(jobs)::bigint AS jobs FROM queue_count WHERE queue = $1
GROUP BY tenant, state ORDER BY tenant, state";

const LIMITS: &str = "SELECT name, spec FROM job_limit ORDER BY name";

/// A queue's rows beside its counters.
const DROP_QUEUE: [&str; 4] = [
    "DELETE FROM queue WHERE name = $1",
    "DELETE FROM queue_spec WHERE name = $1",
    "DELETE FROM managed WHERE scope = 'queue' AND name = $1",
    "DELETE FROM queue_turn WHERE queue = $1",
];

const PRUNED: &str = "SELECT noun, deleted, since, last_at, horizon FROM pruned ORDER BY noun";

const GONE: &str = "
SELECT CAST(e.value ->> 0 AS uuid) AS id FROM json_array_elements($1::json) AS e
WHERE (SELECT 1 FROM job j WHERE j.id = CAST(e.value ->> 0 AS uuid)) IS NULL
  AND (SELECT 1 FROM pruned p WHERE p.noun <> 'batches' AND CAST(e.value ->> 0 AS uuid) <= p.horizon LIMIT 1) IS NOT NULL";

/// Marks a batch that has ended as being deleted.
pub(crate) async fn begin<S: Sql>(
    sql: &mut S,
    (tenant, batch, ended): &(&str, BatchId, Option<Instant>),
) -> Result<ControlReport, S::Fault> {
    let row = sql.row(BATCH, values![batch.0, *tenant]).await?;
    let none = StoreError::NotFound(format!("there is no batch {batch}"));
    let row = row.ok_or(none)?;
    let state: BatchState = row.word("state")?;
    let (at, chunks, marked) = (row.maybe_instant("at")?, row.number("chunks")?, row.number::<i64>("deleting")? == 1);
    drop(row);
    if !state.is_final() {
        return Err(not_ended(*batch, state).into());
    }
    if marked || ended.is_some() && at != *ended {
        return Ok(ControlReport::default());
    }
    let unfinished: u64 = sql.row(UNFINISHED, values![batch.0]).await?.map_or(Ok(0), |row| row.number("jobs"))?;
    if unfinished > 0 {
        return Err(unfinished_jobs(*batch, unfinished).into());
    }
    sql.run(MARK, values![batch.0]).await?;
    Ok(ControlReport { affected: chunks, samples: vec![batch.to_string()], ..ControlReport::default() })
}

/// Deletes dead letters for good.
pub(crate) async fn discard<S: Counting>(
    sql: &mut S,
    (tenant, jobs, keys): &(&str, &[(JobId, Instant)], Duration),
) -> Result<ControlReport, S::Fault> {
    if jobs.len() > PRUNE_ROWS_MAX {
        let what = format!("{} jobs are too many for one call; {PRUNE_ROWS_MAX} is the most", jobs.len());
        return Err(StoreError::Invalid(what).into());
    }
    let mut sorted = jobs.to_vec();
    sorted.sort_unstable();
    let asked: Vec<_> = sorted.iter().map(|(job, at)| json!([job, at.timestamp_micros()])).collect();
    let mut dead: Vec<(Uuid,)> = Vec::new();
    for row in sql.rows(DEAD, values![check::json(&asked)?, *tenant]).await? {
        let id: Uuid = row.id("id")?;
        match row.maybe_id("batch_id")? {
            Some(batch) if row.number::<i64>("counted")? == 1 => {
                return Err(goes_with_batch(JobId(id), BatchId(batch)).into());
            }
            _ => dead.push((id,)),
        }
    }
    dead.sort_unstable();
    let (mut tally, now) = (Tally::default(), sql.now().await?);
    let rows = sql.rows(DISCARD, values![check::json(&dead)?]).await?;
    for row in &rows {
        deleted_job(sql, row)?;
        tally.add(PruneNoun::DeadLetters, Some(row.id("id")?));
        let in_batch = row.maybe_id("batch_id")?.is_some();
        tally.keep_key("job", row, Keep { keys: *keys, now, in_batch })?;
    }
    let affected = rows.len() as u64;
    drop(rows);
    tally.write(sql).await?;
    let samples = dead.iter().take(SAMPLES).map(|(id,)| id.to_string()).collect();
    Ok(ControlReport { affected, samples, ..ControlReport::default() })
}

/// Deletes a queue of every tenant.
pub(crate) async fn delete_queue<S: Sql>(sql: &mut S, queue: &&str) -> Result<ControlReport, S::Fault> {
    check::name("queue", queue)?;
    let mut tenants: Vec<String> = Vec::new();
    let mut jobs: BTreeMap<JobState, u64> = BTreeMap::new();
    for row in sql.rows(QUEUE, values![*queue]).await? {
        let tenant = row.text("tenant")?;
        *jobs.entry(row.word("state")?).or_default() += row.number::<u64>("jobs")?;
        if tenants.last() != Some(&tenant) {
            tenants.push(tenant);
        }
    }
    refuse_jobs(queue, &jobs)?;
    for row in sql.rows(LIMITS, values![]).await? {
        let spec: LimitSpec = row.json("spec")?;
        refuse_limit(queue, &row.text("name")?, &spec)?;
    }
    let mut affected = 0;
    for tenant in &tenants {
        let dropped = drop_counters(sql, tenant, queue).await?;
        if !dropped {
            return Err(StoreError::Unavailable(format!("queue {queue} has just been given a job; try again")).into());
        }
        affected += 1;
    }
    for statement in DROP_QUEUE {
        affected += sql.run(statement, values![*queue]).await?;
    }
    if affected == 0 {
        return Err(no_queue(queue).into());
    }
    let mut tally = Tally::default();
    tally.add(PruneNoun::Queues, None);
    tally.write(sql).await?;
    Ok(ControlReport { affected: 1, samples: vec![(*queue).to_owned()], ..ControlReport::default() })
}

/// What was deleted so far.
pub(crate) async fn pruned<S: Sql>(sql: &mut S) -> Result<Vec<PrunedView>, S::Fault> {
    let rows = sql.rows(PRUNED, values![]).await?;
    let view = |row: &S::Row| {
        Ok(PrunedView {
            noun: row.word("noun")?,
            deleted: row.number("deleted")?,
            since: row.instant("since")?,
            last_at: row.instant("last_at")?,
            horizon: row.maybe_id("horizon")?,
        })
    };
    Ok(rows.iter().map(view).collect::<Result<_>>()?)
}

/// Which of the ids are older than jobs that were deleted.
pub(crate) async fn gone<S: Sql>(sql: &mut S, ids: &[JobId]) -> Result<Vec<JobId>, S::Fault> {
    let ids: Vec<[JobId; 1]> = ids.iter().map(|id| [*id]).collect();
    let rows = sql.rows(GONE, values![check::json(&ids)?]).await?;
    Ok(rows.iter().map(|row| row.id("id")).collect::<Result<_>>()?)
}
