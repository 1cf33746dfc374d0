//! Dead letters get another chance; a batch that has ended gets its next generation.

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use sqlx::sqlite::SqliteRow;

use super::row;
use super::transition::Transition;
use crate::check;
use crate::error::{Result, StoreError};
use crate::redrives::may_aggregate_again;
use crate::retention::being_deleted;
use crate::sql::batch_ends;

/// How many samples a report has.
pub(super) const SAMPLES: usize = 5;

/// Refuses a dead letter that cannot run again now; returns its batch if that has ended and must be opened.
pub(super) fn refuse(row: &SqliteRow, job: JobId, chunk: bool) -> Result<Option<BatchId>> {
    if let Some(holder) = row::maybe_id::<JobId>(row, "holder")? {
        let what = format!("job {job} cannot be redriven while job {holder} holds its unique key; wait for that one");
        return Err(StoreError::Conflict(what));
    }
    let Some(batch) = row::maybe_id::<BatchId>(row, "batch_id")? else { return Ok(None) };
    let state = row::word(row, "batch_state")?;
    if row::get::<String>(row, "kind")? == "aggregate" {
        let same = row::get::<i64>(row, "generation")? == row::get::<i64>(row, "batch_generation")?;
        may_aggregate_again(job, batch, state, same)?;
        return Ok(Some(batch));
    }
    match state {
        BatchState::Open | BatchState::Sealed => Ok(None),
        BatchState::Aggregating if chunk => {
            let what = format!("batch {batch} is aggregating; redrive its dead chunks when it has ended");
            Err(StoreError::Conflict(what))
        }
        BatchState::Cancelled if chunk => {
            Err(StoreError::Conflict(format!("batch {batch} is cancelled; its work cannot be redriven")))
        }
        BatchState::Complete | BatchState::Halted if chunk => Ok(Some(batch)),
        BatchState::Aggregating | BatchState::Complete | BatchState::Halted | BatchState::Cancelled => Ok(None),
    }
}

/// Opens the next generation of batches that have ended, and returns the highest one opened. What a halt has cancelled
/// does not come back, so its reason stays: such a batch can never be complete. Refuses one that is being deleted.
pub(super) async fn open_next(t: &mut Transition<'_>, batches: &[BatchId]) -> Result<Option<u32>> {
    if batches.is_empty() {
        return Ok(None);
    }
    let deleting = "
        SELECT id FROM batch WHERE deleting_at IS NOT NULL AND id IN (SELECT unhex(value, '-') FROM json_each(?1)) LIMIT 1";
    if let Some(row) = t.row(sqlx::query(deleting).bind(check::json(batches)?)).await? {
        return Err(being_deleted(row::id::<BatchId>(&row, "id")?));
    }
    for batch in batches {
        batch_ends::supersede(t, *batch).await?;
    }
    let statement = "
        UPDATE batch SET state = 'sealed', generation = generation + 1, finished_at = NULL, result = NULL, aggregate_error = NULL,
                         reason = CASE WHEN cancelled > 0 THEN reason END, halting = 0
        WHERE state IN ('complete', 'halted') AND id IN (SELECT unhex(value, '-') FROM json_each(?1))
        RETURNING generation";
    let opened = t.rows(sqlx::query(statement).bind(check::json(batches)?)).await?;
    let generations: Vec<u32> = opened.iter().map(|row| row::number(row, "generation")).collect::<Result<_>>()?;
    Ok(generations.into_iter().max())
}
