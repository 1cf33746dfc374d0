//! Edits of a job that waits.

use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::job_edit::{JobEdit, Waiting};
use serde_json::Value;
use sqlx::sqlite::SqliteRow;

use super::row::{self, moved_columns};
use super::transition::Transition;
use crate::check;
use crate::control::{edited, no_job, not_edited};
use crate::error::Result;
use crate::{ControlReport, Purpose};

/// Changes a job that waits.
pub(super) async fn edit_job(
    t: &mut Transition<'_>,
    (tenant, job, edit): (&str, JobId, &JobEdit),
) -> Result<ControlReport> {
    let statement = concat!(
        "SELECT state, kind, attempt, run_at, payload, ",
        moved_columns!(),
        " FROM job WHERE id = ?1 AND tenant = ?2"
    );
    let found = t.row(sqlx::query(statement).bind(job.0).bind(tenant.to_owned())).await?;
    let found = found.ok_or_else(|| no_job(job))?;
    let (moved, payload) = (row::moved(&found)?, row::any_json(&found, "payload")?);
    let was = waiting(&found, &moved, &payload)?;
    let Some(is) = was.edited(edit, row::at(t.now, "now")?).map_err(|why| not_edited(job, &why))? else {
        return Ok(ControlReport::default());
    };
    // A job that enters a priority or a queue begins to wait there: ageing counts from then. In another queue or later it is
    // limited or not when it is claimed.
    let statement = "
        UPDATE job SET queue = ?2, lane = ?3, state = ?4, run_at = ?5, payload = coalesce(?6, payload),
            queued_at = CASE WHEN ?4 <> 'queued' THEN NULL WHEN state = 'queued' THEN queued_at ELSE ?7 END,
            aged_at = CASE WHEN lane = ?3 AND queue = ?2 THEN aged_at ELSE ?7 END,
            limited = limited AND ?4 = 'queued' AND queue = ?2
        WHERE id = ?1";
    let query = sqlx::query(statement).bind(job.0).bind(is.queue.clone()).bind(is.priority.rank());
    let query = query.bind(is.state.as_str()).bind(is.run_at.map(row::micros));
    t.run(query.bind(is.payload.as_ref().map(check::payload).transpose()?).bind(t.now)).await?;
    if is.state != was.state || is.queue != was.queue {
        t.count(&moved.tenant, &moved.queue, was.state, -1);
        t.arrived(job, &moved.tenant, &is.queue, is.priority, is.state);
    } else if is.state == JobState::Queued && is.priority != was.priority {
        t.ready(Purpose::Dispatch, &is.queue, is.priority, job);
    }
    if let Some(facts) = t.facts_mut() {
        let [before, after] = edited(&was, &is);
        facts.between(Some(before), Some(after));
    }
    Ok(ControlReport { affected: 1, samples: vec![job.to_string()], ..ControlReport::default() })
}

fn waiting<'a>(found: &SqliteRow, moved: &'a row::Moved, payload: &'a Value) -> Result<Waiting<'a>> {
    let kind: String = row::get(found, "kind")?;
    Ok(Waiting {
        state: row::word(found, "state")?,
        attempt: row::number(found, "attempt")?,
        queue: &moved.queue,
        priority: moved.priority,
        run_at: row::maybe_instant(found, "run_at")?,
        payload,
        fixed_payload: moved.seq.is_some() || (kind == "aggregate" && moved.batch.is_some()),
    })
}
