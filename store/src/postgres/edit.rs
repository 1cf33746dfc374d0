//! Edits of a job that waits.

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::job_edit::{Edited, JobEdit, Waiting};
use uuid::Uuid;

use super::fault::Outcome;
use super::values::{from_any_json, plain, small, state_of};
use super::work::{Work, priority_of};
use crate::ControlReport;
use crate::check;
use crate::control::{edited, no_job, not_edited};
use crate::row;

const JOB: &str = "
SELECT id, tenant, queue, lane, kind, state, attempt, run_at, payload, batch_id, seq, now() AS now FROM job
WHERE id = $1 AND tenant = $2 FOR UPDATE";

/// A job that enters a priority or a queue begins to wait there: ageing counts from then. In another queue or later it is
/// limited or not when it is claimed.
const EDIT: &str = "
UPDATE job SET queue = $2, lane = $3, state = $4, run_at = $5, payload = COALESCE($6, payload),
    queued_at = CASE WHEN $4 <> 'queued' THEN NULL WHEN state = 'queued' THEN queued_at ELSE now() END,
    aged_at = CASE WHEN lane = $3 AND queue = $2 THEN aged_at ELSE now() END,
    limited = limited AND $4 = 'queued' AND queue = $2
WHERE id = $1";

row! {
    struct WaitingRow {
        id: Uuid,
        tenant: String,
        queue: String,
        lane: i16,
        kind: String,
        state: String,
        attempt: i32,
        run_at: Option<Instant>,
        payload: String,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        now: Instant,
    }
}

/// Changes a job that waits.
pub(super) async fn edit_job(
    work: &mut Work<'_>,
    (tenant, job, edit): &(&str, JobId, &JobEdit),
) -> Outcome<ControlReport> {
    let row: Option<WaitingRow> =
        sqlx::query_as(JOB).bind(job.0).bind(plain(tenant)).fetch_optional(&mut *work.conn).await?;
    let row = row.ok_or_else(|| no_job(*job))?;
    let payload = from_any_json(&row.payload, &format!("job {job}"))?;
    let was = Waiting {
        state: state_of(&row.state)?,
        attempt: small(row.attempt),
        queue: &row.queue,
        priority: priority_of(row.lane)?,
        run_at: row.run_at,
        payload: &payload,
        fixed_payload: row.seq.is_some() || (row.kind == "aggregate" && row.batch_id.is_some()),
    };
    let Some(is) = was.edited(edit, row.now).map_err(|why| not_edited(*job, &why))? else {
        return Ok(ControlReport::default());
    };
    write(work, &row, &is).await?;
    if is.state != was.state || is.queue != was.queue {
        work.entered(&row.tenant, &row.queue, was.state, -1);
        work.entered(&row.tenant, &is.queue, is.state, 1);
    }
    let elsewhere = is.state != was.state || is.queue != was.queue || is.priority != was.priority;
    if is.state == JobState::Queued && elsewhere {
        work.claimable(&is.queue, is.priority.rank(), row.id);
    }
    if let Some(facts) = work.facts_mut() {
        let [before, after] = edited(&was, &is);
        facts.change();
        facts.between(Some(before), Some(after));
    }
    let dispatched = work.close().await?;
    Ok(ControlReport { affected: 1, samples: vec![row.id.to_string()], dispatched, ..ControlReport::default() })
}

async fn write(work: &mut Work<'_>, row: &WaitingRow, is: &Edited) -> Outcome<()> {
    sqlx::query(EDIT)
        .bind(row.id)
        .bind(&is.queue)
        .bind(is.priority.rank())
        .bind(is.state.as_str())
        .bind(is.run_at)
        .bind(is.payload.as_ref().map(check::payload).transpose()?)
        .execute(&mut *work.conn)
        .await?;
    Ok(())
}
