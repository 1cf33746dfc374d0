//! How batches that an operation has cancelled go on again; or, when the time for that is over, how they are forgotten.
//!
//! A batch that is still as the operation left it is restarted: what was cancelled of it runs in its next generation. One
//! that was paused before is paused again. One whose chunks are still being cancelled is waited for.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, OperationId};
use gristmill_core::operation::{OperationState, STEP_JOBS_MAX, next_due};
use uuid::Uuid;

use super::Operating;
use super::ask::StepAsk;
use super::table::Stored;
use super::undo::{ALL_FORGOTTEN, END, GO_ON, KEEP_ON};
use crate::check;
use crate::error::Result;
use crate::operations::batch_changed_since;
use crate::sql::{Columns, Sql, values};
use crate::stop::stopping;
use crate::{Dispatched, OperationStep, Pause, Restart};

/// How long a batch is waited for whose chunks are still being cancelled.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(1);

const NEXT: &str = "
SELECT c.batch_id FROM operation_batch c WHERE c.operation_id = $1 ORDER BY c.batch_id LIMIT $2";

/// A batch as it was and as it is.
const BETWEEN: &str = concat!(
    "SELECT c.paused, c.paused_by, c.paused_reason, CASE WHEN b.state = 'cancelled' AND b.finished_at = c.at
        AND b.deleting_at IS NULL THEN 0 ELSE 1 END AS changed, COALESCE(b.stopping, 0) AS stopping
FROM operation_batch c LEFT JOIN (SELECT id, state, finished_at, deleting_at, CASE WHEN ",
    stopping!(),
    " THEN 1 ELSE 0 END AS stopping FROM batch WHERE id = $2) AS b ON b.id = c.batch_id
WHERE c.operation_id = $1 AND c.batch_id = $2"
);

const FORGET: &str = "
DELETE FROM operation_batch WHERE operation_id = $1
  AND batch_id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($2::json))";

const WAIT: &str = "UPDATE operation SET due_at = $2 WHERE id = $1 AND state = 'undoing'";

/// What became of one batch.
#[derive(Default)]
struct Ended {
    undone: u64,
    failed: u64,
    error: Option<String>,
    dispatched: Dispatched,
}

impl Ended {
    fn refused(why: String) -> Self {
        Self { failed: 1, error: Some(why), ..Self::default() }
    }
}

/// Lets the next batch of an operation go on that is undone.
pub(super) async fn bring_back<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    ask: &StepAsk,
) -> Result<OperationStep, S::Fault> {
    ask.is_of_one();
    let (view, now) = (&operation.view, sql.now().await?);
    let Some(batch) = next(sql, view.id, 1).await?.first().copied() else {
        return end(sql, operation, &Ended::default(), now, true).await;
    };
    let ended = match &ask.refused {
        Some(why) => Ended::refused(why.clone()),
        None => match go_on(sql, operation, batch).await? {
            Some(ended) => ended,
            None => {
                sql.run(WAIT, values![view.id.0, now + LOOK_AGAIN]).await?;
                return Ok(OperationStep::none(OperationState::Undoing));
            }
        },
    };
    sql.run(FORGET, values![view.id.0, check::json(&[batch])?]).await?;
    let step = end(sql, operation, &ended, now, false).await?;
    if let Some(facts) = sql.facts() {
        facts.set("samples", vec![batch.to_string()]);
    }
    Ok(OperationStep { dispatched: ended.dispatched, ..step })
}

/// `None` while its chunks are still being cancelled.
async fn go_on<S: Operating>(sql: &mut S, operation: &Stored, batch: Uuid) -> Result<Option<Ended>, S::Fault> {
    let tenant = &operation.view.tenant;
    let row = sql.row(BETWEEN, values![operation.view.id.0, batch]).await?;
    let Some(row) = row else { return Ok(Some(Ended::default())) };
    let is = |column: &str| Ok::<_, crate::StoreError>(row.number::<i64>(column)? == 1);
    if is("changed")? {
        return Ok(Some(Ended::refused(batch_changed_since(BatchId(batch)))));
    }
    if is("stopping")? {
        return Ok(None);
    }
    let pause = row
        .flag("paused")?
        .then_some(Pause { by: row.maybe_text("paused_by")?, reason: row.maybe_text("paused_reason")? });
    drop(row);
    let restart = Restart { batch: BatchId(batch), failure_budget: None, dead: false };
    let mut dispatched = sql.restart_batch(tenant, &restart).await?.dispatched;
    if let Some(pause) = pause {
        sql.pause_batch(tenant, BatchId(batch), Some(&pause)).await?;
        dispatched.dispatches.clear();
    }
    Ok(Some(Ended { undone: 1, dispatched, ..Ended::default() }))
}

async fn end<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    ended: &Ended,
    now: Instant,
    over: bool,
) -> Result<OperationStep, S::Fault> {
    let view = &operation.view;
    let due = next_due(view.rate, operation.due_at, now, 1);
    let values = values![view.id.0, ended.undone, ended.failed, ended.error.clone(), due];
    sql.run(if over { END } else { GO_ON }, values).await?;
    let state = if over { OperationState::Undone } else { OperationState::Undoing };
    if let Some(facts) = sql.facts() {
        facts.set("affected", ended.undone);
        facts.set("failed", ended.failed);
        facts.set("state", state.as_str());
    }
    Ok(OperationStep { done: ended.undone, failed: ended.failed, ..OperationStep::none(state) })
}

async fn next<S: Sql>(sql: &mut S, operation: OperationId, limit: u32) -> Result<Vec<Uuid>, S::Fault> {
    let rows = sql.rows(NEXT, values![operation.0, limit]).await?;
    Ok(rows.iter().map(|row| row.id("batch_id")).collect::<Result<_>>()?)
}

/// Forgets what can be undone no more.
pub(super) async fn forget<S: Operating>(sql: &mut S, operation: &Stored) -> Result<OperationStep, S::Fault> {
    let view = &operation.view;
    let batches = next(sql, view.id, STEP_JOBS_MAX).await?;
    sql.run(FORGET, values![view.id.0, check::json(&batches)?]).await?;
    let over = (batches.len() as u64) < u64::from(STEP_JOBS_MAX);
    sql.run(if over { ALL_FORGOTTEN } else { KEEP_ON }, values![view.id.0]).await?;
    Ok(OperationStep::none(view.state))
}
