//! What the copies of dead jobs say.

use gristmill_core::id::JobId;

use super::{Columns, Sql, values};
use crate::DeadLetter;
use crate::check;
use crate::error::Result;

const DEAD: &str = "
SELECT id, kind, attempt, error, trace FROM job
WHERE state = 'dead' AND id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
ORDER BY id";

/// Returns what is known of those jobs that are dead.
pub(crate) async fn dead_letters<S: Sql>(sql: &mut S, jobs: &[JobId]) -> Result<Vec<DeadLetter>, S::Fault> {
    let rows = sql.rows(DEAD, values![check::json(jobs)?]).await?;
    let read = |row: &S::Row| {
        Ok(DeadLetter {
            job: row.id("id")?,
            kind: row.text("kind")?,
            attempt: row.number("attempt")?,
            error: row.maybe_text("error")?,
            trace: row.maybe_text("trace")?,
        })
    };
    Ok(rows.iter().map(read).collect::<Result<_>>()?)
}
