//! What is reported about a batch while it is under way, and what is left of its input when it has ended.

use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;
use sqlx::sqlite::SqliteRow;

use super::error::database;
use super::transition::Transition;
use super::{SqliteStore, insert, row, view};
use crate::Dispatched;
use crate::check;
use crate::error::Result;
use crate::notify::{self, Failure};
use crate::sql::batch_ends::Reported;
use crate::sql::events;

/// A batch as it is now, with what its reports are made of.
pub(super) async fn reported(t: &mut Transition<'_>, batch: BatchId) -> Result<Option<Reported>> {
    let Some(row) = t.row(sqlx::query("SELECT * FROM batch WHERE id = ?1").bind(batch.0)).await? else {
        return Ok(None);
    };
    Ok(Some(Reported {
        view: view::batch_view(&row)?,
        definition: row::json(&row, "definition")?,
        trace: row::get(&row, "trace")?,
    }))
}

/// Reports the first failure of batches whose counts have just changed, once in each generation.
pub(super) async fn first_failures(t: &mut Transition<'_>, batches: &[BatchId]) -> Result<()> {
    if batches.is_empty() {
        return Ok(());
    }
    let statement = "
        UPDATE batch SET told_failure = generation
        WHERE told_failure < generation AND id IN (SELECT unhex(value, '-') FROM json_each(?1)) RETURNING *";
    for row in &t.rows(sqlx::query(statement).bind(check::json(batches)?)).await? {
        events::own::batch(t, row::id(row, "id")?, OwnType::BatchFirstFailure).await?;
        let definition: BatchDefinition = row::json(row, "definition")?;
        if definition.on.first_failure.is_empty() {
            continue;
        }
        let (view, trace) = (view::batch_view(row)?, row::get::<Option<String>>(row, "trace")?);
        let failure = failure(t, view.id, view.generation).await?;
        insert::new_jobs(t, &notify::first_failure(&view, &definition, trace.as_deref(), &failure)).await?;
    }
    Ok(())
}

/// What failed first: an item that was set aside, or a chunk that died.
async fn failure(t: &mut Transition<'_>, batch: BatchId, generation: u32) -> Result<Failure> {
    let statement = "
        SELECT seq, position, line, stage, reason FROM quarantine
        WHERE batch_id = ?1 AND generation = ?2 ORDER BY id LIMIT 1";
    if let Some(row) = t.row(sqlx::query(statement).bind(batch.0).bind(generation)).await? {
        return Ok(Failure {
            seq: row::get(&row, "seq")?,
            position: row::get(&row, "position")?,
            line: row::get(&row, "line")?,
            stage: row::get(&row, "stage")?,
            reason: row::get(&row, "reason")?,
        });
    }
    let statement = "
        SELECT seq, coalesce(error, 'the chunk is dead') AS error FROM job
        WHERE batch_id = ?1 AND state = 'dead' AND seq IS NOT NULL AND generation = ?2 ORDER BY id LIMIT 1";
    let row = t.row(sqlx::query(statement).bind(batch.0).bind(generation)).await?;
    let read = |row: SqliteRow| {
        Ok(Failure { seq: row::get(&row, "seq")?, reason: row::get(&row, "error")?, ..Failure::default() })
    };
    row.map_or_else(|| Ok(Failure::default()), read)
}

pub(super) async fn late(store: &SqliteStore, limit: u32) -> Result<Dispatched> {
    let now = store.now_micros().await?;
    let due = "SELECT EXISTS (SELECT 1 FROM batch WHERE late_at <= ?1)";
    if !sqlx::query_scalar::<_, bool>(due).bind(now).fetch_one(&store.readers).await.map_err(database)? {
        return Ok(Dispatched::default());
    }
    let mut t = Transition::begin(store).await?;
    let statement = "
        UPDATE batch SET late_at = NULL
        WHERE id IN (SELECT id FROM batch WHERE late_at <= ?1 ORDER BY late_at LIMIT ?2) RETURNING *";
    for row in &t.rows(sqlx::query(statement).bind(t.now).bind(limit)).await? {
        let view = view::batch_view(row)?;
        // A batch of a later generation has already ended once, in time or not.
        if view.state.is_final() || view.generation > 0 {
            continue;
        }
        events::own::batch(&mut t, view.id, OwnType::BatchLate).await?;
        let (definition, trace) = (row::json(row, "definition")?, row::get::<Option<String>>(row, "trace")?);
        insert::new_jobs(&mut t, &notify::late(&view, &definition, trace.as_deref())).await?;
    }
    Ok(t.commit().await?.dispatched)
}
