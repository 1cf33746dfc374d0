//! Control by hand: pause, cancel, halt, retry.
//!
//! Everything that touches both jobs and a batch locks the jobs first, by id, then the batch, and then looks once more
//! for jobs that came in between: no process can add any while the batch is locked.

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::job_edit::JobEdit;
use gristmill_core::settle::Ending;
use uuid::Uuid;

use super::connect::control;
use super::create::no_batch;
use super::edit::edit_job;
use super::fan_in::{self, Deltas};
use super::fault::{Fault, Outcome};
use super::promote::ReadyRow;
use super::values::{count, plain, state_of};
use super::work::Work;
use super::{PostgresStore, stop};
use crate::audit;
use crate::check;
use crate::control::{editable, no_job};
use crate::error::{Result, StoreError};
use crate::row;
use crate::sql::events;
use crate::stop::{being_stopped, stopping};
use crate::{Control, ControlReport, Dispatched, GROUP_JOBS_MAX, Pause};

/// How many samples a report shows.
const SAMPLES_MAX: usize = 5;

/// How many waiting ids one resume dispatches at most; the probe brings the rest.
const RESUMED_MAX: i64 = 20_000;

const BATCH: &str =
    concat!("SELECT state, paused, ", stopping!(), " AS stopping FROM batch WHERE id = $1 AND tenant = $2");

const PAUSE_BATCH: &str = concat!(
    "UPDATE batch SET paused = $3, paused_at = CASE WHEN $3 THEN now() END, paused_by = $4, paused_reason = $5
WHERE id = $1 AND tenant = $2 AND paused <> $3
  AND (state IN ('open', 'sealed', 'aggregating') OR NOT $3) AND NOT (",
    stopping!(),
    ")"
);

const WAITING_OF_BATCH: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.state AS was FROM job j WHERE j.batch_id = $1 AND j.state = 'queued'
  AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.tenant = j.tenant AND q.name = j.queue AND q.paused)
ORDER BY j.kind, j.id LIMIT $2";

const COUNT_OF_BATCH: &str = "SELECT count(*) FROM job WHERE batch_id = $1 AND state = 'queued'";

/// An upsert, so that a queue can be paused before its first job comes; a queue that is not paused is not resumed.
const PAUSE_QUEUE: &str = "
INSERT INTO queue AS q (tenant, name, paused, paused_at, paused_by, paused_reason)
SELECT $1, $2, $3, CASE WHEN $3 THEN now() END, $4, $5
WHERE $3 OR EXISTS (SELECT 1 FROM queue k WHERE k.tenant = $1 AND k.name = $2)
ON CONFLICT (tenant, name) DO UPDATE SET paused = excluded.paused, paused_at = excluded.paused_at,
    paused_by = excluded.paused_by, paused_reason = excluded.paused_reason
WHERE q.paused <> excluded.paused";

const WAITING_OF_QUEUE: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.state AS was FROM job j
WHERE j.queue = $2 AND j.state = 'queued' AND j.state <> 'running' AND j.tenant = $1
  AND (j.batch_id IS NULL OR j.batch_id NOT IN (SELECT id FROM batch WHERE paused))
ORDER BY j.kind, j.id LIMIT $3";

const COUNT_OF_QUEUE: &str = "
SELECT COALESCE(sum(jobs), 0)::bigint FROM queue_count WHERE tenant = $1 AND queue = $2 AND state = 'queued'";

/// Those of a tenant's named jobs that are not final. Without its aggregate a batch would never end.
const CANCEL_THESE: &str = "
WITH unfinished AS (
    SELECT id, state AS was, attempt, worker_id FROM job
    WHERE id = ANY($1) AND tenant = $2 AND state IN ('scheduled', 'queued', 'running', 'retry')
      AND NOT (kind = 'aggregate' AND batch_id IS NOT NULL)
    ORDER BY id FOR UPDATE)
UPDATE job j SET state = 'cancelled', worker_id = NULL, deadline = NULL, run_at = NULL, finished_at = now(),
       limited = FALSE, error = $3
FROM unfinished u WHERE j.id = u.id
RETURNING j.id, j.tenant, j.queue, j.kind, u.was, j.batch_id, j.seq, j.items, u.attempt, u.worker_id";

/// The attempts that were running: closed with their jobs, whichever worker runs them.
const CANCELLED_ATTEMPTS: &str = "
INSERT INTO attempt (job_id, attempt, worker_id, started_at, ended_at, ending, error)
SELECT i.id, i.attempt, i.worker_id, j.started_at, now(), $4, j.error
FROM unnest($1::uuid[], $2::int[], $3::uuid[]) AS i (id, attempt, worker_id) JOIN job j ON j.id = i.id";

const JOB: &str = "
SELECT id, tenant, queue, kind, state AS was, batch_id, seq, items, attempt, worker_id FROM job WHERE id = $1 AND tenant = $2 FOR UPDATE";

const CANCEL_JOB: &str = "
UPDATE job SET state = 'cancelled', worker_id = NULL, deadline = NULL, run_at = NULL, finished_at = now(),
       limited = FALSE, error = $2
WHERE id = $1";

const RETRY_JOB: &str = "
UPDATE job SET state = 'queued', run_at = NULL, queued_at = now() WHERE id = $1 RETURNING lane";

row! {
    struct BatchRow {
        state: String,
        paused: bool,
        /// Whether it is paused because it is being stopped.
        stopping: bool,
    }
}

impl BatchRow {
    fn state(&self) -> Result<BatchState, StoreError> {
        self.state.parse().map_err(|error| StoreError::Database(format!("a batch's state: {error}")))
    }
}

row! {
    /// A job that was cancelled, or is about to be.
    pub(super) struct CancelledRow {
        pub(super) id: Uuid,
        tenant: String,
        queue: String,
        kind: String,
        was: String,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        items: i64,
        attempt: i32,
        /// The worker that ran it.
        worker_id: Option<Uuid>,
    }
}

#[async_trait]
impl Control for PostgresStore {
    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, pause_batch, (tenant, batch, pause))
    }

    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        stop::cancel(self, (tenant, batch, reason), dry_run).await
    }

    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, cancel_job, (tenant, job, reason))
    }

    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, cancel_jobs, (tenant, jobs, reason))
    }

    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        control!(self, dry_run, retry_job, (tenant, job))
    }

    async fn edit_job(&self, tenant: &str, job: JobId, edit: &JobEdit, dry_run: bool) -> Result<ControlReport> {
        editable(edit)?;
        control!(self, dry_run, edit_job, (tenant, job, edit))
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        control!(self, dry_run, pause_queue, (tenant, queue, pause))
    }
}

/// Pauses or resumes a batch.
pub(super) async fn pause_batch(
    work: &mut Work<'_>,
    (tenant, batch, pause): &(&str, BatchId, Option<&Pause>),
) -> Outcome<ControlReport> {
    let row = find(work, tenant, *batch).await?;
    // A batch that was paused while its aggregate ran still has follow-up jobs to send.
    let lets_go = row.paused && pause.is_none();
    if row.state()?.is_final() && !lets_go {
        return Err(ended(*batch, &row.state).into());
    }
    if row.paused == pause.is_some() {
        return Ok(ControlReport::default());
    }
    if row.stopping {
        return Err(being_stopped(*batch).into());
    }
    let [by, reason] = said(*pause);
    let query = sqlx::query(PAUSE_BATCH).bind(batch.0).bind(plain(tenant)).bind(pause.is_some()).bind(by).bind(reason);
    let done = query.execute(&mut *work.conn).await?;
    if done.rows_affected() == 0 {
        return Err(Fault::Changed);
    }
    events::own::batch(work, *batch, OwnType::of_batch_pause(pause.is_some())).await?;
    let mut waiting: Vec<ReadyRow> =
        sqlx::query_as(WAITING_OF_BATCH).bind(batch.0).bind(RESUMED_MAX).fetch_all(&mut *work.conn).await?;
    waiting.sort_by_key(|row| row.id);
    let count = sqlx::query_scalar(COUNT_OF_BATCH).bind(batch.0).fetch_one(&mut *work.conn).await?;
    held_or_let_go(work, &waiting, count, *pause).await
}

/// Pauses or resumes a queue.
pub(super) async fn pause_queue(
    work: &mut Work<'_>,
    (tenant, queue, pause): &(&str, &str, Option<&Pause>),
) -> Outcome<ControlReport> {
    check::name("queue", queue)?;
    let [by, reason] = said(*pause);
    let query = sqlx::query(PAUSE_QUEUE).bind(plain(tenant)).bind(plain(queue)).bind(pause.is_some());
    let done = query.bind(by).bind(reason).execute(&mut *work.conn).await?;
    if done.rows_affected() == 0 {
        return Ok(ControlReport::default());
    }
    events::own::queue(work, tenant, queue, *pause).await?;
    let mut waiting: Vec<ReadyRow> = sqlx::query_as(WAITING_OF_QUEUE)
        .bind(plain(tenant))
        .bind(plain(queue))
        .bind(RESUMED_MAX)
        .fetch_all(&mut *work.conn)
        .await?;
    waiting.sort_by_key(|row| (row.lane, row.id));
    let count =
        sqlx::query_scalar(COUNT_OF_QUEUE).bind(plain(tenant)).bind(plain(queue)).fetch_one(&mut *work.conn).await?;
    held_or_let_go(work, &waiting, count, *pause).await
}

/// Who pauses it and why, as it is stored.
fn said(pause: Option<&Pause>) -> [Option<String>; 2] {
    let cut = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
    pause.map_or([None, None], |pause| [cut(&pause.by), cut(&pause.reason)])
}

/// The messages of paused jobs have been dropped: resuming dispatches them anew.
async fn held_or_let_go(
    work: &mut Work<'_>,
    waiting: &[ReadyRow],
    jobs: i64,
    pause: Option<&Pause>,
) -> Outcome<ControlReport> {
    if pause.is_none() {
        for row in waiting {
            work.claimable(&row.queue, row.lane, row.id);
        }
    }
    if let Some(facts) = work.facts_mut() {
        facts.change();
        audit::paused(facts, pause);
    }
    let dispatched = Dispatched { moved: 0, ..work.close().await? };
    Ok(ControlReport { affected: count(jobs), dispatched, ..control_report(0, waiting.iter().map(|row| row.id)) })
}

/// Enters cancelled jobs into the ledger and their batches, and closes the attempts that were running.
pub(super) async fn enter_cancelled(work: &mut Work<'_>, rows: &[CancelledRow]) -> Outcome<()> {
    let mut deltas = Deltas::new();
    for row in rows {
        work.moved(&row.tenant, &row.queue, state_of(&row.was)?, JobState::Cancelled);
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            let delta = deltas.entry(batch).or_default();
            delta.finished += 1;
            delta.cancelled += row.items;
        }
    }
    close_attempts(work, rows).await?;
    fan_in::count_down(work, &deltas).await?;
    Ok(())
}

/// Jobs that ran are running no longer: their attempts are closed here, and their workers are notified.
async fn close_attempts(work: &mut Work<'_>, rows: &[CancelledRow]) -> Outcome<()> {
    let ran: Vec<(&CancelledRow, Uuid)> = rows.iter().filter_map(|row| Some((row, row.worker_id?))).collect();
    if ran.is_empty() {
        return Ok(());
    }
    work.taken_away();
    sqlx::query(CANCELLED_ATTEMPTS)
        .bind(ran.iter().map(|(row, _)| row.id).collect::<Vec<_>>())
        .bind(ran.iter().map(|(row, _)| row.attempt).collect::<Vec<_>>())
        .bind(ran.iter().map(|(_, worker)| *worker).collect::<Vec<_>>())
        .bind(Ending::Cancelled.as_str())
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}

/// Cancels those of the named jobs that are not final.
pub(super) async fn cancel_jobs(
    work: &mut Work<'_>,
    (tenant, jobs, reason): &(&str, &[JobId], &str),
) -> Outcome<ControlReport> {
    check::at_most(jobs.len(), GROUP_JOBS_MAX, "jobs")?;
    let mut rows: Vec<CancelledRow> = sqlx::query_as(CANCEL_THESE)
        .bind(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
        .bind(plain(tenant))
        .bind(check::plain(reason, check::REASON_CHARS_MAX))
        .fetch_all(&mut *work.conn)
        .await?;
    rows.sort_by_key(|row| row.id);
    enter_cancelled(work, &rows).await?;
    Ok(ControlReport { dispatched: work.close().await?, ..control_report(rows.len(), rows.iter().map(|row| row.id)) })
}

/// Cancels one job.
pub(super) async fn cancel_job(
    work: &mut Work<'_>,
    (tenant, job, reason): &(&str, JobId, &str),
) -> Outcome<ControlReport> {
    let row = find_job(work, tenant, *job).await?;
    match state_of(&row.was)? {
        JobState::Cancelled => return Ok(ControlReport::default()),
        JobState::Done | JobState::Dead => {
            let text = format!("job {job} is {} already; it cannot be cancelled any more", row.was);
            return Err(StoreError::Conflict(text).into());
        }
        JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {}
    }
    if let (true, Some(batch)) = (row.kind == "aggregate", row.batch_id) {
        // Without its aggregate a batch would never end.
        let text = format!("job {job} aggregates batch {batch}; cancel the batch instead");
        return Err(StoreError::Conflict(text).into());
    }
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    sqlx::query(CANCEL_JOB).bind(job.0).bind(&reason).execute(&mut *work.conn).await?;
    enter_cancelled(work, std::slice::from_ref(&row)).await?;
    Ok(ControlReport { dispatched: work.close().await?, ..control_report(1, [row.id]) })
}

/// Lets a waiting job run now.
pub(super) async fn retry_job(work: &mut Work<'_>, (tenant, job): &(&str, JobId)) -> Outcome<ControlReport> {
    let row = find_job(work, tenant, *job).await?;
    let was = state_of(&row.was)?;
    match was {
        JobState::Queued => return Ok(ControlReport::default()),
        JobState::Retry | JobState::Scheduled => {}
        JobState::Dead => {
            let text = format!("job {job} is a dead letter; redrive it instead: `gristmill dead redrive {job}`");
            return Err(StoreError::Conflict(text).into());
        }
        JobState::Running | JobState::Done | JobState::Cancelled => {
            let text = format!("job {job} is {was}; only one that waits for a time can be told to run now");
            return Err(StoreError::Conflict(text).into());
        }
    }
    let lane: i16 = sqlx::query_scalar(RETRY_JOB).bind(job.0).fetch_one(&mut *work.conn).await?;
    work.moved(&row.tenant, &row.queue, was, JobState::Queued);
    work.claimable(&row.queue, lane, row.id);
    Ok(ControlReport { dispatched: work.close().await?, ..control_report(1, [row.id]) })
}

async fn find(work: &mut Work<'_>, tenant: &str, batch: BatchId) -> Outcome<BatchRow> {
    let row = sqlx::query_as(BATCH).bind(batch.0).bind(plain(tenant)).fetch_optional(&mut *work.conn).await?;
    Ok(row.ok_or_else(|| no_batch(batch))?)
}

async fn find_job(work: &mut Work<'_>, tenant: &str, job: JobId) -> Outcome<CancelledRow> {
    let row = sqlx::query_as(JOB).bind(job.0).bind(plain(tenant)).fetch_optional(&mut *work.conn).await?;
    Ok(row.ok_or_else(|| no_job(job))?)
}

/// A report without dispatches.
pub(super) fn control_report<T: ToString>(affected: usize, samples: impl IntoIterator<Item = T>) -> ControlReport {
    ControlReport {
        affected: affected as u64,
        samples: samples.into_iter().take(SAMPLES_MAX).map(|sample| sample.to_string()).collect(),
        ..ControlReport::default()
    }
}

pub(super) fn ended(batch: BatchId, state: &str) -> StoreError {
    StoreError::Conflict(format!("batch {batch} is {state} already"))
}
