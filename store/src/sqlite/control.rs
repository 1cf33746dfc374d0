//! What an operator pauses, resumes and cancels.

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::JobState;
use gristmill_core::job_edit::JobEdit;
use gristmill_core::settle::Ending;
use sqlx::sqlite::SqliteRow;

use super::create::no_batch;
use super::edit::edit_job;
use super::row::{self, moved_columns};
use super::transition::Transition;
use super::{SqliteStore, promote, stop};
use crate::audit;
use crate::check;
use crate::control::{editable, no_job};
use crate::error::{Result, StoreError};
use crate::sql::events;
use crate::stop::{being_stopped, stopping};
use crate::{Control, ControlReport, GROUP_JOBS_MAX, Pause, Purpose};

/// How many samples a report has.
const SAMPLES: usize = 5;

/// How many waiting ids one resume dispatches at most; the probe brings the rest.
const RESUMED_MAX: i64 = 20_000;

/// Ends a control transaction: committed, or for a dry run rolled back.
pub(super) async fn finish(
    mut t: Transition<'_>,
    mut control_report: ControlReport,
    dry_run: bool,
) -> Result<ControlReport> {
    t.tell(&control_report);
    if !dry_run {
        control_report.dispatched = t.commit().await?.dispatched;
    }
    Ok(control_report)
}

#[async_trait]
impl Control for SqliteStore {
    async fn pause_batch(
        &self,
        tenant: &str,
        batch: BatchId,
        asked: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let control_report = pause(&mut t, tenant, batch, asked).await?;
        finish(t, control_report, dry_run).await
    }

    async fn cancel_batch(&self, tenant: &str, batch: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        stop::cancel(self, (tenant, batch, reason), dry_run).await
    }

    async fn cancel_job(&self, tenant: &str, job: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let found = job_of(&mut t, tenant, job).await?;
        match row::word(&found, "state")? {
            JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {}
            JobState::Cancelled => return Ok(ControlReport::default()),
            state @ (JobState::Done | JobState::Dead) => {
                return Err(StoreError::Conflict(format!(
                    "job {job} is {state} already; it cannot be cancelled any more"
                )));
            }
        }
        let kind: String = row::get(&found, "kind")?;
        if let (true, Some(batch)) = (kind == "aggregate", row::moved(&found)?.batch) {
            // Without its aggregate a batch would never end.
            let what = format!("job {job} aggregates batch {batch}; cancel the batch instead");
            return Err(StoreError::Conflict(what));
        }
        let reason = check::plain(reason, check::REASON_CHARS_MAX);
        let control_report = cancel(&mut t, &[found], &reason).await?;
        finish(t, control_report, dry_run).await
    }

    async fn cancel_jobs(&self, tenant: &str, jobs: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        check::at_most(jobs.len(), GROUP_JOBS_MAX, "jobs")?;
        let mut t = Transition::begin(self).await?;
        let control_report = cancel_these(&mut t, tenant, jobs, reason).await?;
        finish(t, control_report, dry_run).await
    }

    async fn retry_job(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self).await?;
        let found = job_of(&mut t, tenant, job).await?;
        match row::word(&found, "state")? {
            JobState::Scheduled | JobState::Retry => {}
            JobState::Queued => return Ok(ControlReport::default()),
            JobState::Dead => {
                let what = format!("job {job} is a dead letter; redrive it instead: `gristmill dead redrive {job}`");
                return Err(StoreError::Conflict(what));
            }
            state @ (JobState::Running | JobState::Done | JobState::Cancelled) => {
                let what = format!("job {job} is {state}; only one that waits for a time can be told to run now");
                return Err(StoreError::Conflict(what));
            }
        }
        promote::queue_again(&mut t, &[found]).await?;
        let control_report = ControlReport { affected: 1, samples: vec![job.to_string()], ..ControlReport::default() };
        finish(t, control_report, dry_run).await
    }

    async fn edit_job(&self, tenant: &str, job: JobId, edit: &JobEdit, dry_run: bool) -> Result<ControlReport> {
        editable(edit)?;
        let mut t = Transition::begin(self).await?;
        let control_report = edit_job(&mut t, (tenant, job, edit)).await?;
        finish(t, control_report, dry_run).await
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        check::name("queue", queue)?;
        let mut t = Transition::begin(self).await?;
        let statement = "
            INSERT INTO queue (tenant, name, paused, paused_at, paused_by, paused_reason)
            VALUES (?1, ?2, ?3, CASE WHEN ?3 THEN ?4 END, ?5, ?6)
            ON CONFLICT (tenant, name) DO UPDATE SET paused = excluded.paused, paused_at = excluded.paused_at,
                paused_by = excluded.paused_by, paused_reason = excluded.paused_reason
            WHERE queue.paused <> excluded.paused";
        let bound = |query: super::transition::Query| query.bind(tenant.to_owned()).bind(queue.to_owned());
        let known = "SELECT coalesce((SELECT paused FROM queue WHERE tenant = ?1 AND name = ?2), 0) AS paused";
        let known = t.rows(bound(sqlx::query(known))).await?;
        if known.first().map(|row| row::flag(row, "paused")).transpose()? == Some(pause.is_some()) {
            return Ok(ControlReport::default());
        }
        let now = t.now;
        let [by, reason] = said(pause);
        t.run(bound(sqlx::query(statement)).bind(pause.is_some()).bind(now).bind(by).bind(reason)).await?;
        events::own::queue(&mut t, tenant, queue, pause).await?;
        let waiting = concat!(
            "SELECT ",
            moved_columns!(),
            " FROM job INDEXED BY job_listed WHERE tenant = ?1 AND queue = ?2 AND state = 'queued' AND state <> 'running'
                AND (batch_id IS NULL OR NOT EXISTS (SELECT 1 FROM batch b WHERE b.id = job.batch_id AND b.paused))
              ORDER BY kind, id LIMIT ?3"
        );
        let waiting = t.rows(bound(sqlx::query(waiting)).bind(RESUMED_MAX)).await?;
        let count = "
            SELECT coalesce(sum(jobs), 0) AS jobs FROM queue_count WHERE tenant = ?1 AND queue = ?2 AND state = 'queued'";
        let count = t.rows(bound(sqlx::query(count))).await?;
        let control_report = held(&mut t, &waiting, &count, pause)?;
        finish(t, control_report, dry_run).await
    }
}

/// Pauses a batch, or resumes it.
pub(super) async fn pause(
    t: &mut Transition<'_>,
    tenant: &str,
    batch: BatchId,
    pause: Option<&Pause>,
) -> Result<ControlReport> {
    let found = batch_of(t, tenant, batch).await?;
    // A batch that was paused while its aggregate ran still has follow-up jobs to send.
    let lets_go = found.paused && pause.is_none();
    if found.state.is_final() && !lets_go {
        let what = format!("batch {batch} is {} already; there is nothing to pause or resume", found.state);
        return Err(StoreError::Conflict(what));
    }
    if found.paused == pause.is_some() {
        return Ok(ControlReport::default());
    }
    if found.stopping {
        return Err(being_stopped(batch));
    }
    let statement =
        "UPDATE batch SET paused = ?2, paused_at = CASE WHEN ?2 THEN ?3 END, paused_by = ?4, paused_reason = ?5
                         WHERE id = ?1";
    let [by, reason] = said(pause);
    let now = t.now;
    t.run(sqlx::query(statement).bind(batch.0).bind(pause.is_some()).bind(now).bind(by).bind(reason)).await?;
    events::own::batch(t, batch, OwnType::of_batch_pause(pause.is_some())).await?;
    let waiting = concat!(
            "SELECT ",
            moved_columns!(),
            " FROM job WHERE batch_id = ?1 AND state = 'queued'
                    AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.tenant = job.tenant AND q.name = job.queue AND q.paused)
                  ORDER BY kind, id LIMIT ?2"
        );
    let waiting = t.rows(sqlx::query(waiting).bind(batch.0).bind(RESUMED_MAX)).await?;
    let count = "SELECT count(*) AS jobs FROM job WHERE batch_id = ?1 AND state = 'queued'";
    let count = t.rows(sqlx::query(count).bind(batch.0)).await?;
    held(t, &waiting, &count, pause)
}

/// Who pauses it and why, as it is stored.
fn said(pause: Option<&Pause>) -> [Option<String>; 2] {
    let plain = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
    pause.map_or([None, None], |pause| [plain(&pause.by), plain(&pause.reason)])
}

/// How many jobs a pause holds back, or a resume releases: those that nothing else holds back are dispatched anew.
fn held(
    t: &mut Transition<'_>,
    waiting: &[SqliteRow],
    count: &[SqliteRow],
    pause: Option<&Pause>,
) -> Result<ControlReport> {
    if let Some(facts) = t.facts_mut() {
        audit::paused(facts, pause);
    }
    let mut samples = Vec::new();
    let mut waiting = waiting.iter().map(row::moved).collect::<Result<Vec<_>>>()?;
    waiting.sort_by_key(|job| (job.priority, job.id));
    for job in waiting {
        if samples.len() < SAMPLES {
            samples.push(job.id.to_string());
        }
        if pause.is_none() {
            t.ready(Purpose::Dispatch, &job.queue, job.priority, job.id);
        }
    }
    let affected = count.first().map(|row| row::number(row, "jobs")).transpose()?.unwrap_or(0);
    Ok(ControlReport { affected, samples, ..ControlReport::default() })
}

/// Cancels those of the named jobs that are not final.
pub(super) async fn cancel_these(
    t: &mut Transition<'_>,
    tenant: &str,
    jobs: &[JobId],
    reason: &str,
) -> Result<ControlReport> {
    // Without its aggregate a batch would never end.
    let statement = concat!(
        "SELECT state, attempt, worker_id, ",
        moved_columns!(),
        " FROM job WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1)) AND tenant = ?2
            AND state IN ('scheduled', 'queued', 'running', 'retry') AND NOT (kind = 'aggregate' AND batch_id IS NOT NULL)
          ORDER BY id"
    );
    let unfinished = t.rows(sqlx::query(statement).bind(check::json(&jobs)?).bind(tenant.to_owned())).await?;
    cancel(t, &unfinished, &check::plain(reason, check::REASON_CHARS_MAX)).await
}

/// Cancels jobs that are not final. The rows have the columns of [`moved_columns`], `state`, `attempt` and
/// `worker_id`.
pub(super) async fn cancel(t: &mut Transition<'_>, rows: &[SqliteRow], reason: &str) -> Result<ControlReport> {
    let mut ids = Vec::with_capacity(rows.len());
    let mut ran: Vec<(JobId, u32, WorkerId)> = Vec::new();
    for row in rows {
        let job = row::moved(row)?;
        t.moved(&job, row::word(row, "state")?, JobState::Cancelled);
        if let Some(worker) = row::maybe_id(row, "worker_id")? {
            ran.push((job.id, row::number(row, "attempt")?, worker));
        }
        if let Some(batch) = job.chunk_of() {
            let delta = t.delta(batch);
            delta.remaining -= 1;
            delta.cancelled += job.items;
        }
        ids.push(job.id);
    }
    let statement = "
        UPDATE job SET state = 'cancelled', finished_at = ?2, error = ?3, worker_id = NULL, deadline = NULL,
                       run_at = NULL, limited = 0
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(&ids)?).bind(t.now).bind(reason.to_owned())).await?;
    close_attempts(t, &ran, reason).await?;
    let samples = ids.iter().take(SAMPLES).map(JobId::to_string).collect();
    Ok(ControlReport { affected: ids.len() as u64, samples, ..ControlReport::default() })
}

/// Jobs that ran are running no longer: their attempts are closed with them, and their workers are notified.
async fn close_attempts(t: &mut Transition<'_>, ran: &[(JobId, u32, WorkerId)], reason: &str) -> Result<()> {
    if ran.is_empty() {
        return Ok(());
    }
    t.taken_away();
    let statement = "
        INSERT INTO attempt (job_id, attempt, worker_id, ending, error, started_at, ended_at)
        SELECT unhex(value ->> 0, '-'), value ->> 1, unhex(value ->> 2, '-'), ?3, ?4,
               (SELECT started_at FROM job WHERE id = unhex(value ->> 0, '-')), ?2
        FROM json_each(?1) ORDER BY key";
    let query = sqlx::query(statement).bind(check::json(&ran)?).bind(t.now).bind(Ending::Cancelled.as_str());
    t.run(query.bind(reason.to_owned())).await?;
    Ok(())
}

/// What a control command must know of a tenant's batch.
struct Found {
    state: BatchState,
    paused: bool,
    /// Whether it is paused because it is being stopped.
    stopping: bool,
}

async fn batch_of(t: &mut Transition<'_>, tenant: &str, batch: BatchId) -> Result<Found> {
    let statement =
        concat!("SELECT state, paused, ", stopping!(), " AS stopping FROM batch WHERE id = ?1 AND tenant = ?2");
    let row = t.row(sqlx::query(statement).bind(batch.0).bind(tenant.to_owned())).await?;
    let row = row.ok_or_else(|| no_batch(batch))?;
    Ok(Found {
        state: row::word(&row, "state")?,
        paused: row::flag(&row, "paused")?,
        stopping: row::flag(&row, "stopping")?,
    })
}

async fn job_of(t: &mut Transition<'_>, tenant: &str, job: JobId) -> Result<SqliteRow> {
    let statement = concat!(
        "SELECT state, kind, attempt, worker_id, ",
        moved_columns!(),
        " FROM job WHERE id = ?1 AND tenant = ?2"
    );
    let row = t.row(sqlx::query(statement).bind(job.0).bind(tenant.to_owned())).await?;
    row.ok_or_else(|| no_job(job))
}
