//! Promote: jobs whose time has come become `queued`.

use gristmill_core::job::JobState;
use sqlx::sqlite::SqliteRow;

use super::row;
use super::transition::Transition;
use crate::check;
use crate::error::Result;

/// Makes jobs `queued` that wait for a time. The rows have the columns of `moved_columns` and `state`.
pub(super) async fn queue_again(t: &mut Transition<'_>, found: &[SqliteRow]) -> Result<()> {
    let mut ids = Vec::with_capacity(found.len());
    for row in found {
        let job = row::moved(row)?;
        t.moved(&job, row::word(row, "state")?, JobState::Queued);
        ids.push(job.id);
    }
    let statement = "
        UPDATE job SET state = 'queued', queued_at = ?2, run_at = NULL
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(&ids)?).bind(t.now)).await?;
    Ok(())
}
