//! How what an operation has changed is brought back; or, when the time for that is over, forgotten.
//!
//! Whatever has happened to a job in between stays: it is brought back only from the very end that the operation gave it,
//! only while no other job holds its unique key, and a chunk only into its batch's present generation.

use std::collections::BTreeSet;
use std::time::Duration;

use gristmill_core::id::{BatchId, JobId, OperationId};
use gristmill_core::operation::{OperationState, OperationVerb, STEP_JOBS_MAX, next_due, step_jobs};
use uuid::Uuid;

use super::ask::StepAsk;
use super::table::Stored;
use super::{Back, Operating, priority};
use crate::OperationStep;
use crate::PruneNoun;
use crate::check;
use crate::error::Result;
use crate::operations::Between;
use crate::sql::prune::{Keep, Tally, deleted_job};
use crate::sql::{Columns, Sql, values};

const NEXT: &str = "
SELECT c.job_id FROM operation_job c WHERE c.operation_id = $1 ORDER BY c.job_id LIMIT $2";

const LOCK_JOBS: &str = "
SELECT j.id, j.batch_id FROM job j WHERE j.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
ORDER BY j.id FOR UPDATE";

const LOCK_BATCHES: &str = "
SELECT b.id FROM batch b WHERE b.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
ORDER BY b.id FOR UPDATE";

/// Each with what has happened in between. A job holds its unique key again by the state that it comes back to.
const BETWEEN: &str = "
SELECT c.job_id, c.was, j.tenant, j.queue, j.lane, j.seq, j.items, j.batch_id,
       CASE WHEN j.state = 'cancelled' AND j.finished_at = c.at THEN 0 ELSE 1 END AS changed,
       CASE WHEN j.unique_key IS NULL OR j.unique_rule = 'period' THEN 0
            WHEN j.unique_rule = 'waiting' AND (j.started_at IS NOT NULL OR c.was NOT IN ('scheduled', 'queued')) THEN 0
            WHEN COALESCE(j.unique_rule, '') <> 'waiting'
                 AND strpos(COALESCE(j.unique_rule, 'scheduled,queued,running,retry'), c.was) = 0 THEN 0
            WHEN (SELECT 1 FROM job h WHERE h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
                      AND h.unique_held IS NOT NULL LIMIT 1) IS NULL THEN 0
            ELSE 1 END AS held,
       CASE WHEN b.id IS NULL THEN 0
            WHEN b.deleting_at IS NOT NULL THEN 1
            WHEN j.seq IS NULL THEN 0
            WHEN b.state IN ('open', 'sealed') AND NOT b.halting AND b.generation = j.generation THEN 0
            ELSE 1 END AS over
FROM operation_job c LEFT JOIN job j ON j.id = c.job_id LEFT JOIN batch b ON b.id = j.batch_id
WHERE c.operation_id = $1 AND c.job_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json))
ORDER BY c.job_id";

const RESTORE: &str = "
UPDATE job SET state = c.was, run_at = c.run_at, finished_at = c.finished_at,
       error = CASE WHEN c.was = 'dead' THEN job.error ELSE c.error END
FROM operation_job c
WHERE c.operation_id = $1 AND c.job_id = job.id AND job.state = 'cancelled'
  AND job.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json))";

const FORGET: &str = "
DELETE FROM operation_job WHERE operation_id = $1
  AND job_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json))";

pub(super) const GO_ON: &str = "
UPDATE operation SET undone = undone + $2, undo_failed = undo_failed + $3, error = COALESCE($4, error), due_at = $5
WHERE id = $1 AND state = 'undoing'";

pub(super) const END: &str = "
UPDATE operation SET undone = undone + $2, undo_failed = undo_failed + $3, error = COALESCE($4, error), due_at = $5,
       state = 'undone', ended_at = now(), kept = FALSE
WHERE id = $1 AND state = 'undoing'";

/// The dead letters that are still as the operation left them.
const DELETE: &str = "
DELETE FROM job WHERE state = 'cancelled' AND id IN (
    SELECT j.id FROM operation_job c CROSS JOIN job j
    WHERE c.operation_id = $1 AND j.id = c.job_id AND j.state = 'cancelled' AND j.finished_at = c.at
      AND c.job_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json)) FOR UPDATE)
RETURNING id, tenant, queue, state, idempotency_key, created_at, batch_id";

pub(super) const KEEP_ON: &str = "UPDATE operation SET due_at = now() WHERE id = $1 AND kept";

pub(super) const ALL_FORGOTTEN: &str = "UPDATE operation SET kept = FALSE WHERE id = $1 AND kept";

const DISCARDED: &str = "
SELECT j.id FROM (SELECT c.job_id, c.at FROM operation_job c WHERE c.operation_id = $1
    AND (SELECT 1 FROM operation o WHERE o.id = $1 AND o.verb = 'discard' AND o.kept AND o.due_at <= now()
            AND o.state IN ('finished', 'cancelled')) IS NOT NULL
    ORDER BY c.job_id LIMIT $2) AS d CROSS JOIN job j
WHERE j.id = d.job_id AND j.state = 'cancelled' AND j.finished_at = d.at ORDER BY j.id";

/// Every statement that reads more than its own rows, for the tests of their plans.
#[cfg(feature = "testing")]
pub(crate) const STATEMENTS: [(&str, &str); 4] = [
    ("next of what is undone", NEXT),
    ("what happened in between", BETWEEN),
    ("restore", RESTORE),
    ("delete what was discarded", DELETE),
];

/// What was decided about a group of jobs.
#[derive(Default)]
struct Decided {
    back: Vec<Back>,
    refused: u64,
    error: Option<String>,
}

/// Brings back the next jobs of an operation that is undone.
pub(super) async fn bring_back<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    ask: &StepAsk,
) -> Result<OperationStep, S::Fault> {
    let (view, now) = (&operation.view, sql.now().await?);
    let limit = ask.most.min(step_jobs(view.rate));
    let jobs = next(sql, view.id, limit).await?;
    let decided = match &ask.refused {
        Some(why) => Decided { refused: jobs.len() as u64, error: Some(why.clone()), ..Decided::default() },
        None => decide(sql, view.id, &jobs).await?,
    };
    let ids: Vec<JobId> = decided.back.iter().map(|back| back.id).collect();
    if !ids.is_empty() {
        sql.run_unless_held(RESTORE, values![view.id.0, check::json(&ids)?]).await?;
        sql.came_back(&decided.back).await?;
    }
    sql.run(FORGET, values![view.id.0, check::json(&jobs)?]).await?;
    let over = (jobs.len() as u64) < u64::from(limit);
    let (undone, due) = (ids.len() as u64, next_due(view.rate, operation.due_at, now, jobs.len() as u64));
    let values = values![view.id.0, undone, decided.refused, decided.error, due];
    sql.run(if over { END } else { GO_ON }, values).await?;
    let state = if over { OperationState::Undone } else { OperationState::Undoing };
    if let Some(facts) = sql.facts() {
        facts.set("affected", undone);
        facts.set("failed", decided.refused);
        facts.set("state", state.as_str());
        facts.set("samples", ids.iter().take(5).map(JobId::to_string).collect::<Vec<_>>());
    }
    Ok(OperationStep { done: undone, failed: decided.refused, ..OperationStep::none(state) })
}

async fn next<S: Sql>(sql: &mut S, operation: OperationId, limit: u32) -> Result<Vec<JobId>, S::Fault> {
    let rows = sql.rows(NEXT, values![operation.0, limit]).await?;
    Ok(rows.iter().map(|row| row.id("job_id")).collect::<Result<_>>()?)
}

/// Locks jobs and batches, in this order, and looks at what has happened in between.
async fn decide<S: Operating>(sql: &mut S, operation: OperationId, jobs: &[JobId]) -> Result<Decided, S::Fault> {
    let ids = check::json(&jobs)?;
    let rows = sql.rows(LOCK_JOBS, values![&ids]).await?;
    let batches: BTreeSet<Uuid> =
        rows.iter().filter_map(|row| row.maybe_id("batch_id").transpose()).collect::<Result<_>>()?;
    drop(rows);
    if !batches.is_empty() {
        sql.rows(LOCK_BATCHES, values![check::json(&batches)?]).await?;
    }
    let mut decided = Decided::default();
    for row in &sql.rows(BETWEEN, values![operation.0, &ids]).await? {
        let job: JobId = row.id("job_id")?;
        match between(row)?.refusal(job) {
            None => decided.back.push(back(row, job)?),
            Some(why) => {
                decided.refused += 1;
                decided.error = Some(why);
            }
        }
    }
    Ok(decided)
}

fn between(row: &impl Columns) -> Result<Between> {
    let flag = |column: &str| Ok::<_, crate::StoreError>(row.number::<i64>(column)? == 1);
    Ok(Between { changed: flag("changed")?, key_is_held: flag("held")?, batch_is_over: flag("over")? })
}

fn back(row: &impl Columns, id: JobId) -> Result<Back> {
    let chunk = row.maybe_number("seq")?.is_some();
    Ok(Back {
        id,
        tenant: row.text("tenant")?,
        queue: row.text("queue")?,
        priority: priority(row)?,
        chunk_of: row.maybe_id("batch_id")?.filter(|_| chunk).map(BatchId),
        items: row.number("items")?,
        state: row.word("was")?,
    })
}

/// Forgets what can be undone no more, and deletes what was discarded.
pub(super) async fn forget<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    keys: Duration,
) -> Result<OperationStep, S::Fault> {
    let view = &operation.view;
    let jobs = next(sql, view.id, STEP_JOBS_MAX).await?;
    let mut step = OperationStep::none(view.state);
    if view.verb == OperationVerb::Discard && !jobs.is_empty() {
        step.done = delete(sql, view.id, &jobs, keys).await?;
    }
    sql.run(FORGET, values![view.id.0, check::json(&jobs)?]).await?;
    let over = (jobs.len() as u64) < u64::from(STEP_JOBS_MAX);
    sql.run(if over { ALL_FORGOTTEN } else { KEEP_ON }, values![view.id.0]).await?;
    if let Some(facts) = sql.facts() {
        facts.set("deleted", step.done);
    }
    Ok(step)
}

async fn delete<S: Operating>(
    sql: &mut S,
    operation: OperationId,
    jobs: &[JobId],
    keys: Duration,
) -> Result<u64, S::Fault> {
    let (mut tally, now) = (Tally::default(), sql.now().await?);
    let rows = sql.rows(DELETE, values![operation.0, check::json(&jobs)?]).await?;
    for row in &rows {
        deleted_job(sql, row)?;
        tally.add(PruneNoun::DeadLetters, Some(row.id("id")?));
        let in_batch = row.maybe_id("batch_id")?.is_some();
        tally.keep_key("job", row, Keep { keys, now, in_batch })?;
    }
    let deleted = rows.len() as u64;
    drop(rows);
    tally.write(sql).await?;
    Ok(deleted)
}

/// The dead letters that the next step deletes.
pub(crate) async fn discarded<S: Sql>(sql: &mut S, operation: OperationId, limit: u32) -> Result<Vec<JobId>, S::Fault> {
    let rows = sql.rows(DISCARDED, values![operation.0, limit.min(STEP_JOBS_MAX)]).await?;
    Ok(rows.iter().map(|row| row.id("id")).collect::<Result<_>>()?)
}
