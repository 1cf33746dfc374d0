//! How items that an operation has taken out of the quarantine are put back; or, when the time for that is over, forgotten.
//!
//! An item comes back under its number, as it was, unless its batch is gone or is being deleted.

use std::collections::BTreeSet;

use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationState, STEP_JOBS_MAX, next_due, step_jobs};
use uuid::Uuid;

use super::Operating;
use super::table::Stored;
use super::undo::{ALL_FORGOTTEN, END, GO_ON, KEEP_ON};
use crate::OperationStep;
use crate::check;
use crate::error::Result;
use crate::operations::gone_with_its_batch;
use crate::sql::{Columns, Sql, values};

const NEXT: &str = "
SELECT c.item_id, c.batch_id FROM operation_item c WHERE c.operation_id = $1 ORDER BY c.item_id LIMIT $2";

/// The batches into which items may come back, kept from being deleted until the end of the transaction.
const BATCHES: &str = "
SELECT b.id FROM batch b WHERE b.id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
  AND b.deleting_at IS NULL ORDER BY b.id FOR UPDATE";

const PUT_BACK: &str = "
INSERT INTO quarantine (id, tenant, batch_id, seq, generation, position, line, stage, reason, item, created_at)
OVERRIDING SYSTEM VALUE
SELECT c.item_id, c.tenant, c.batch_id, c.seq, c.generation, c.position, c.line, c.stage, c.reason, c.item, c.created_at
FROM operation_item c WHERE c.operation_id = $1
  AND c.item_id IN (SELECT value::bigint FROM json_array_elements_text($2::json))";

const FORGET: &str = "
DELETE FROM operation_item WHERE operation_id = $1
  AND item_id IN (SELECT value::bigint FROM json_array_elements_text($2::json))";

/// Puts the next items of an operation back that is undone.
pub(super) async fn bring_back<S: Operating>(sql: &mut S, operation: &Stored) -> Result<OperationStep, S::Fault> {
    let (view, now) = (&operation.view, sql.now().await?);
    let limit = step_jobs(view.rate);
    let items = next(sql, view.id, limit).await?;
    let asked: BTreeSet<Uuid> = items.iter().map(|(_, batch)| *batch).collect();
    let rows = sql.rows(BATCHES, values![check::json(&asked)?]).await?;
    let there = rows.iter().map(|row| row.id("id")).collect::<Result<BTreeSet<Uuid>>>()?;
    drop(rows);
    let (back, gone): (Vec<_>, Vec<_>) = items.iter().partition(|(_, batch)| there.contains(batch));
    let numbers = |of: &[(i64, Uuid)]| of.iter().map(|(item, _)| *item).collect::<Vec<i64>>();
    let ids = check::json(&numbers(&back))?;
    let undone = sql.run(PUT_BACK, values![view.id.0, ids]).await?;
    sql.run(FORGET, values![view.id.0, check::json(&numbers(&items))?]).await?;
    let (failed, over) = (gone.len() as u64, (items.len() as u64) < u64::from(limit));
    let error = gone.last().map(|(item, batch)| gone_with_its_batch(*item, *batch));
    let due = next_due(view.rate, operation.due_at, now, items.len() as u64);
    sql.run(if over { END } else { GO_ON }, values![view.id.0, undone, failed, error, due]).await?;
    let state = if over { OperationState::Undone } else { OperationState::Undoing };
    if let Some(facts) = sql.facts() {
        facts.set("affected", undone);
        facts.set("failed", failed);
        facts.set("state", state.as_str());
        facts.set("samples", back.iter().take(5).map(|(item, _)| item.to_string()).collect::<Vec<_>>());
    }
    Ok(OperationStep { done: undone, failed, ..OperationStep::none(state) })
}

async fn next<S: Sql>(sql: &mut S, operation: OperationId, limit: u32) -> Result<Vec<(i64, Uuid)>, S::Fault> {
    let rows = sql.rows(NEXT, values![operation.0, limit]).await?;
    Ok(rows.iter().map(|row| Ok((row.number("item_id")?, row.id("batch_id")?))).collect::<Result<_>>()?)
}

/// Forgets what can be put back no more: the items are gone for good.
pub(super) async fn forget<S: Operating>(sql: &mut S, operation: &Stored) -> Result<OperationStep, S::Fault> {
    let view = &operation.view;
    let items = next(sql, view.id, STEP_JOBS_MAX).await?;
    let ids: Vec<i64> = items.iter().map(|(item, _)| *item).collect();
    let mut step = OperationStep::none(view.state);
    step.done = sql.run(FORGET, values![view.id.0, check::json(&ids)?]).await?;
    let over = (items.len() as u64) < u64::from(STEP_JOBS_MAX);
    sql.run(if over { ALL_FORGOTTEN } else { KEEP_ON }, values![view.id.0]).await?;
    if let Some(facts) = sql.facts() {
        facts.set("deleted", step.done);
    }
    Ok(step)
}
