//! One step of an operation: one transaction.

use gristmill_core::Instant;
use gristmill_core::operation::{OperationState, Subjects, next_due};

use super::ask::StepAsk;
use super::change::change;
use super::changed::Changed;
use super::table::{self, Stored};
use super::target::Walking;
use super::{Operating, undo, undo_batches, undo_items};
use crate::OperationStep;
use crate::error::Result;
use crate::sql::values;

/// What is selected is changed, and the walk is behind them, in the same transaction.
const GO_ON: &str = "
UPDATE operation SET place = $2, done = done + $3, failed = failed + $4, skipped = skipped + $5,
       error = COALESCE($6, error), due_at = $7
WHERE id = $1 AND state = 'running'";

const END: &str = "
UPDATE operation SET place = $2, done = done + $3, failed = failed + $4, skipped = skipped + $5,
       error = COALESCE($6, error), due_at = $7, state = 'finished', ended_at = now(), undo_until = $8
WHERE id = $1 AND state = 'running'";

/// Makes the next step of an operation, if one is due.
pub(crate) async fn step<S: Operating>(sql: &mut S, ask: &StepAsk) -> Result<Option<OperationStep>, S::Fault> {
    let Some(operation) = table::to_step(sql, ask.id).await? else { return Ok(None) };
    let step = match operation.view.state {
        OperationState::Running => run(sql, &operation, ask).await?,
        OperationState::Undoing => match operation.verb().subjects() {
            Subjects::Jobs => undo::bring_back(sql, &operation, ask).await?,
            Subjects::Items => undo_items::bring_back(sql, &operation).await?,
            Subjects::Batches => undo_batches::bring_back(sql, &operation, ask).await?,
        },
        OperationState::Finished | OperationState::Cancelled | OperationState::Undone => {
            match operation.verb().subjects() {
                Subjects::Jobs => undo::forget(sql, &operation, ask.keys).await?,
                Subjects::Items => undo_items::forget(sql, &operation).await?,
                Subjects::Batches => undo_batches::forget(sql, &operation).await?,
            }
        }
    };
    Ok(Some(step))
}

async fn run<S: Operating>(sql: &mut S, operation: &Stored, ask: &StepAsk) -> Result<OperationStep, S::Fault> {
    let (view, now) = (&operation.view, sql.now().await?);
    let place = operation.place.as_deref();
    let mut walk = Walking::new(&view.tenant, view.verb, &operation.query()?, view.snapshot, place)?;
    let most = ask.most.min(view.verb.step_max(view.rate));
    let selected = walk.next(sql, most, view.verb.read_max()).await?;
    if view.verb.subjects() != Subjects::Jobs {
        ask.is_of_one();
    }
    let changed = match &ask.refused {
        Some(why) => Changed::refused(selected.len(), why),
        None => change(sql, operation, &selected).await?,
    };
    go_on(sql, operation, &walk, &changed, now).await?;
    let state = if walk.over() { OperationState::Finished } else { OperationState::Running };
    let Changed { done, failed, skipped, samples, dispatched, .. } = changed;
    if let Some(facts) = sql.facts() {
        facts.set("affected", done);
        facts.set("failed", failed);
        facts.set("skipped", skipped);
        facts.set("state", state.as_str());
        facts.set("samples", samples);
    }
    Ok(OperationStep { state, done, failed, skipped, dispatched })
}

/// Writes down where the walk is now, and ends the operation when nothing is left.
async fn go_on<S: Operating>(
    sql: &mut S,
    operation: &Stored,
    walk: &Walking<'_>,
    changed: &Changed,
    now: Instant,
) -> Result<(), S::Fault> {
    let view = &operation.view;
    let due = next_due(view.rate, operation.due_at, now, changed.done + changed.failed);
    let until = operation.undo_until(now);
    let due = if walk.over() { until.unwrap_or(due) } else { due };
    let (place, error) = (walk.place()?, changed.error.clone());
    let mut values = values![view.id.0, place, changed.done, changed.failed, changed.skipped, error, due];
    if !walk.over() {
        sql.run(GO_ON, values).await?;
        return Ok(());
    }
    values.extend(values![until]);
    sql.run(END, values).await?;
    Ok(())
}
