//! Existing jobs in the place of new ones: the same call, the same idempotency key, the same unique key.

use std::collections::HashSet;

use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::unique::OnConflict;
use sqlx::sqlite::SqliteRow;

use super::job_row;
use super::row::{self, moved_columns};
use super::transition::{Transition, later};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{EnqueueOutcome, Enqueued, Purpose};

/// Releases keys whose period is over: the next job that wants them does so.
pub(super) async fn lapse(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<()> {
    let keys: Vec<(&str, &str)> =
        asked.iter().filter_map(|job| Some((job.tenant.as_str(), job.unique.as_ref()?.key.as_str()))).collect();
    let statement = "
        UPDATE job SET unique_until = NULL WHERE id IN (
            SELECT j.id FROM json_each(?1) e CROSS JOIN job j
            WHERE j.tenant = e.value ->> 0 AND j.unique_held = e.value ->> 1 AND j.unique_held IS NOT NULL
              AND j.unique_rule = 'period' AND j.unique_until <= ?2)";
    t.run(sqlx::query(statement).bind(check::json(&keys)?).bind(t.now)).await?;
    Ok(())
}

/// What takes the place of a job that could not be created. With one writer no other process comes in between; but
/// those `ahead` came after it in the same call, and did not block it.
pub(super) async fn stand_in(t: &mut Transition<'_>, job: &NewJob, ahead: &HashSet<JobId>) -> Result<Enqueued> {
    // The same id first: the same call has been made before. Then the key that lasts for ever.
    let statement = "
        SELECT coalesce((SELECT id FROM job WHERE id = ?1),
                        (SELECT id FROM job WHERE tenant = ?2 AND idempotency_key = ?3),
                        (SELECT id FROM idempotency WHERE tenant = ?2 AND scope = 'job' AND key = ?3 AND until > ?4)) AS id";
    let query = sqlx::query(statement).bind(job.id.0).bind(job.tenant.clone());
    let query = query.bind(job.idempotency_key.clone()).bind(t.now);
    let first: Option<JobId> = t.row(query).await?.map(|row| row::maybe_id(&row, "id")).transpose()?.flatten();
    if let Some(id) = first.filter(|id| !ahead.contains(id)) {
        return Ok(Enqueued::by(id, EnqueueOutcome::Existing));
    }
    let statement = concat!(
        "SELECT ",
        moved_columns!(),
        ", kind, state, started_at IS NULL AS fresh, created_at, queued_at FROM job
          WHERE tenant = ?1 AND unique_held = ?2 AND unique_held IS NOT NULL"
    );
    let key = job.unique.as_ref().map(|unique| unique.key.clone());
    let holder = t.row(sqlx::query(statement).bind(job.tenant.clone()).bind(key)).await?;
    let holder = holder.ok_or_else(|| StoreError::Database("a job was refused by no other".to_owned()))?;
    take_over(t, job, &holder).await
}

/// Gives another job's request to a holder that has not begun.
async fn take_over(t: &mut Transition<'_>, job: &NewJob, found: &SqliteRow) -> Result<Enqueued> {
    let holder = row::moved(found)?;
    let was: JobState = row::word(found, "state")?;
    let waits = row::flag(found, "fresh")? && matches!(was, JobState::Scheduled | JobState::Queued);
    let conflict = job.unique.as_ref().map_or(OnConflict::Keep, |unique| unique.conflict);
    let due = match conflict {
        OnConflict::Replace if waits => job_row::due(job, t.now),
        OnConflict::Debounce { wait, cap } if waits => {
            Some(later(t.now, wait).min(later(row::get(found, "created_at")?, cap)))
        }
        OnConflict::Keep | OnConflict::Refuse | OnConflict::Replace | OnConflict::Debounce { .. } => {
            return Ok(Enqueued::by(holder.id, EnqueueOutcome::Existing));
        }
    };
    check::same_work(job, holder.id, &row::get::<String>(found, "kind")?, &holder.queue)?;
    let run_at = due.filter(|due| *due > t.now);
    let is = if run_at.is_some() { JobState::Scheduled } else { JobState::Queued };
    let queued_at: Option<i64> = match (was, is) {
        (JobState::Queued, JobState::Queued) => row::get(found, "queued_at")?,
        (_, JobState::Queued) => Some(t.now),
        _ => None,
    };
    let all = matches!(conflict, OnConflict::Replace);
    let statement = "
        UPDATE job SET payload = ?2, version = ?11, trace = ?3, lane = coalesce(?4, lane), max_attempts = coalesce(?5, max_attempts),
            granted = coalesce(?5, granted), timeout_ms = coalesce(?6, timeout_ms), retry = coalesce(?7, retry),
            state = ?8, run_at = ?9, queued_at = ?10, limited = limited AND ?8 = 'queued'
        WHERE id = ?1";
    let query = sqlx::query(statement)
        .bind(holder.id.0)
        .bind(check::payload(&job.payload)?)
        .bind(job.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)))
        .bind(all.then(|| job.priority.rank()))
        .bind(all.then_some(job.max_attempts))
        .bind(all.then(|| job_row::millis(job.timeout)))
        .bind(all.then(|| check::json(&job.retry)).transpose()?)
        .bind(is.as_str())
        .bind(run_at)
        .bind(queued_at)
        .bind(job.version.max(1));
    t.run(query).await?;
    let priority = if all { job.priority } else { holder.priority };
    if was != is {
        t.count(&holder.tenant, &holder.queue, was, -1);
        t.arrived(holder.id, &holder.tenant, &holder.queue, priority, is);
    } else if is == JobState::Queued && priority != holder.priority {
        t.ready(Purpose::Dispatch, &holder.queue, priority, holder.id);
    }
    let outcome = if all { EnqueueOutcome::Replaced } else { EnqueueOutcome::Debounced };
    Ok(Enqueued::by(holder.id, outcome))
}
