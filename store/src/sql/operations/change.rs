//! What a step does to the jobs that it has selected. What can be undone is remembered first, in the same transaction.

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::operation::{OperationVerb, Subjects};

use super::changed::Changed;
use super::sought::Target;
use super::table::Stored;
use super::{Operating, change_batches, change_items};
use crate::ControlReport;
use crate::check;
use crate::error::{Result, StoreError};
use crate::redrives::may_aggregate_again;
use crate::retention::being_deleted;
use crate::sql::{Columns, values};

/// As they are now, and locked until the end of the transaction: another transaction that changes them comes later.
const LOCK: &str = "
SELECT j.id FROM job j WHERE j.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
  AND j.tenant = $2 AND j.state IN ('scheduled', 'queued', 'retry', 'dead') ORDER BY j.id FOR UPDATE";

const REMEMBER_WAITING: &str = "
INSERT INTO operation_job (operation_id, job_id, was, run_at, finished_at, error, at)
SELECT $1, j.id, j.state, j.run_at, j.finished_at, j.error, now() FROM job j
WHERE j.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json))
  AND j.state IN ('scheduled', 'queued', 'retry')";

/// Its error stays with the job.
const REMEMBER_DEAD: &str = "
INSERT INTO operation_job (operation_id, job_id, was, run_at, finished_at, error, at)
SELECT $1, j.id, j.state, j.run_at, j.finished_at, NULL, now() FROM job j
WHERE j.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json)) AND j.state = 'dead'";

const REMEMBERED: &str = "
SELECT c.job_id FROM operation_job c WHERE c.operation_id = $1
  AND c.job_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json)) ORDER BY c.job_id";

const SET_ASIDE: &str = "
UPDATE job SET state = 'cancelled', finished_at = now()
WHERE id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json)) AND state = 'dead'
RETURNING tenant, queue";

/// Dead letters, with what may refuse each.
const DEAD: &str = "
SELECT j.id, j.kind, j.seq, j.batch_id, j.generation, b.state AS batch_state, b.generation AS batch_generation,
       CASE WHEN b.deleting_at IS NOT NULL THEN 1 ELSE 0 END AS deleting,
       (SELECT h.id FROM job h WHERE h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
            AND h.unique_held IS NOT NULL AND COALESCE(j.unique_rule, '') NOT IN ('waiting', 'period') LIMIT 1) AS holder
FROM job j LEFT JOIN batch b ON b.id = j.batch_id
WHERE j.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
  AND j.tenant = $2 AND j.state = 'dead' ORDER BY j.id";

/// Does what an operation is for to what was selected.
pub(super) async fn change<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    selected: &[Target],
) -> Result<Changed, S::Fault> {
    if selected.is_empty() {
        return Ok(Changed::default());
    }
    match operation.verb().subjects() {
        Subjects::Jobs => change_jobs(sql, operation, selected).await,
        Subjects::Items => change_items::change(sql, operation, selected).await,
        Subjects::Batches => change_batches::change(sql, operation, selected).await,
    }
}

async fn change_jobs<S: Operating>(sql: &mut S, operation: &Stored, selected: &[Target]) -> Result<Changed, S::Fault> {
    let job = |target: &Target| match target {
        Target::Job(job) => Some(*job),
        Target::Item(..) | Target::Batch(_) => None,
    };
    let jobs: Vec<JobId> = selected.iter().filter_map(job).collect();
    match operation.verb() {
        OperationVerb::Cancel => cancel(sql, operation, &jobs).await,
        OperationVerb::Discard => discard(sql, operation, &jobs).await,
        _ => redrive(sql, operation, &jobs).await,
    }
}

/// Locks the jobs, and remembers those that are still in one of the verb's states.
async fn remembered<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    statement: &'static str,
    selected: &[JobId],
) -> Result<Vec<JobId>, S::Fault> {
    let (ids, id) = (check::json(&selected)?, operation.view.id.0);
    sql.rows(LOCK, values![&ids, &operation.view.tenant]).await?;
    sql.run(statement, values![id, &ids]).await?;
    let rows = sql.rows(REMEMBERED, values![id, &ids]).await?;
    Ok(rows.iter().map(|row| row.id("job_id")).collect::<Result<_>>()?)
}

async fn cancel<S: Operating>(sql: &mut S, operation: &Stored, selected: &[JobId]) -> Result<Changed, S::Fault> {
    let jobs = remembered(sql, operation, REMEMBER_WAITING, selected).await?;
    let report = sql.cancel_jobs(&operation.view.tenant, &jobs, &operation.view.reason).await?;
    Ok(Changed::of(selected.len(), report))
}

/// Until it can be undone no more a dead letter that was discarded is a cancelled job.
async fn discard<S: Operating>(sql: &mut S, operation: &Stored, selected: &[JobId]) -> Result<Changed, S::Fault> {
    let jobs = remembered(sql, operation, REMEMBER_DEAD, selected).await?;
    let rows = sql.rows(SET_ASIDE, values![check::json(&jobs)?]).await?;
    let moved: Vec<(String, String)> =
        rows.iter().map(|row| Ok((row.text("tenant")?, row.text("queue")?))).collect::<Result<_>>()?;
    drop(rows);
    for (tenant, queue) in &moved {
        sql.count_moved(tenant, queue, JobState::Dead, JobState::Cancelled);
    }
    let samples = jobs.iter().take(5).map(JobId::to_string).collect();
    let report = ControlReport { affected: moved.len() as u64, samples, ..ControlReport::default() };
    Ok(Changed::of(selected.len(), report))
}

async fn redrive<S: Operating>(sql: &mut S, operation: &Stored, selected: &[JobId]) -> Result<Changed, S::Fault> {
    let tenant = &operation.view.tenant;
    let rows = sql.rows(DEAD, values![check::json(&selected)?, tenant]).await?;
    let (mut jobs, mut refused, mut error) = (Vec::new(), 0, None);
    for row in &rows {
        match refusal(row)? {
            Ok(job) => jobs.push(job),
            Err(why) => {
                refused += 1;
                error = Some(why.to_string());
            }
        }
    }
    drop(rows);
    let report = if jobs.is_empty() { ControlReport::default() } else { sql.redrive_jobs(tenant, &jobs).await? };
    let changed = Changed::of(selected.len() - refused, report);
    Ok(Changed { failed: refused as u64, error, ..changed })
}

/// Whether a dead letter can be redriven, as far as it can be seen without a lock.
fn refusal(row: &impl Columns) -> Result<Result<JobId, StoreError>> {
    let job: JobId = row.id("id")?;
    let refused = |why: String| Ok(Err(StoreError::Conflict(format!("job {job} {why}"))));
    if let Some(holder) = row.maybe_id("holder")? {
        return refused(format!("cannot be redriven while job {holder} holds its unique key; wait for that one"));
    }
    let Some(batch) = row.maybe_id("batch_id")?.map(BatchId) else { return Ok(Ok(job)) };
    let state: BatchState = row.word("batch_state")?;
    if row.text("kind")? == "aggregate" {
        let same = row.maybe_number("generation")? == row.maybe_number("batch_generation")?;
        if let Err(error) = may_aggregate_again(job, batch, state, same) {
            return Ok(Err(error));
        }
    } else if row.maybe_number("seq")?.is_none() {
        return Ok(Ok(job));
    }
    let deleting = row.number::<i64>("deleting")? == 1;
    match state {
        _ if deleting => Ok(Err(being_deleted(batch))),
        BatchState::Aggregating => refused(format!("is of batch {batch}, which is aggregating")),
        BatchState::Cancelled => refused(format!("is of batch {batch}, which is cancelled")),
        BatchState::Open | BatchState::Sealed | BatchState::Complete | BatchState::Halted => Ok(Ok(job)),
    }
}
