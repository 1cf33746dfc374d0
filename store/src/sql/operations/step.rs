//! One step of an operation: one transaction.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationState, STEP_READ_MAX, next_due, step_jobs};

use super::change::{Changed, change};
use super::table::{self, Stored};
use super::walk::{Walk, stored};
use super::{Operating, undo};
use crate::OperationStep;
use crate::error::{Result, StoreError};
use crate::sql::values;

/// The selected jobs are changed, and the walk is behind them, in the same transaction.
const GO_ON: &str = "
UPDATE operation SET place = $2, done = done + $3, failed = failed + $4, skipped = skipped + $5,
       error = COALESCE($6, error), due_at = $7
WHERE id = $1 AND state = 'running'";

const END: &str = "
UPDATE operation SET place = $2, done = done + $3, failed = failed + $4, skipped = skipped + $5,
       error = COALESCE($6, error), due_at = $7, state = 'finished', ended_at = now(), undo_until = $8
WHERE id = $1 AND state = 'running'";

/// Which step is asked for.
#[derive(Debug, Clone)]
pub(crate) struct StepAsk {
    pub(crate) id: OperationId,
    /// How many jobs it changes at most.
    pub(crate) jobs: u32,
    /// How long idempotency keys are kept.
    pub(crate) keys: Duration,
    /// Its jobs are refused, for this reason: nothing else happens to them.
    pub(crate) refused: Option<String>,
}

impl StepAsk {
    /// A step of the usual size.
    pub(crate) fn new(id: OperationId, keys: Duration) -> Self {
        Self { id, jobs: gristmill_core::operation::STEP_JOBS_MAX, keys, refused: None }
    }

    /// What is asked for next when one job has made a whole group fail: half of it, until the job stands alone, and
    /// then that it is refused.
    pub(crate) fn after_refusal(&self, error: StoreError) -> Result<Self> {
        match error {
            StoreError::Conflict(_) if self.jobs > 1 => Ok(Self { jobs: self.jobs / 2, ..self.clone() }),
            StoreError::Conflict(why) if self.refused.is_none() => Ok(Self { refused: Some(why), ..self.clone() }),
            error => Err(error),
        }
    }
}

/// Makes the next step of an operation, if one is due.
pub(crate) async fn step<S: Operating>(sql: &mut S, ask: &StepAsk) -> Result<Option<OperationStep>, S::Fault> {
    let Some(operation) = table::to_step(sql, ask.id).await? else { return Ok(None) };
    let step = match operation.view.state {
        OperationState::Running => run(sql, &operation, ask).await?,
        OperationState::Undoing => undo::bring_back(sql, &operation, ask).await?,
        OperationState::Finished | OperationState::Cancelled | OperationState::Undone => {
            undo::forget(sql, &operation, ask.keys).await?
        }
    };
    Ok(Some(step))
}

async fn run<S: Operating>(sql: &mut S, operation: &Stored, ask: &StepAsk) -> Result<OperationStep, S::Fault> {
    let (view, now) = (&operation.view, sql.now().await?);
    let place = stored(operation.place.clone())?;
    let mut walk = Walk::new(&view.tenant, view.verb, &operation.query()?, view.snapshot, place);
    let selected = walk.next(sql, ask.jobs.min(step_jobs(view.rate)), STEP_READ_MAX).await?;
    let changed = match &ask.refused {
        Some(why) => Changed::refused(selected.len(), why),
        None => change(sql, operation, &selected).await?,
    };
    go_on(sql, operation, &walk, &changed, now).await?;
    let state = if walk.over { OperationState::Finished } else { OperationState::Running };
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
    walk: &Walk<'_>,
    changed: &Changed,
    now: Instant,
) -> Result<(), S::Fault> {
    let view = &operation.view;
    let due = next_due(view.rate, operation.due_at, now, changed.done + changed.failed);
    let until = operation.undo_until(now);
    let due = if walk.over { until.unwrap_or(due) } else { due };
    let (place, error) = (table::place(&walk.place)?, changed.error.clone());
    let mut values = values![view.id.0, place, changed.done, changed.failed, changed.skipped, error, due];
    if !walk.over {
        sql.run(GO_ON, values).await?;
        return Ok(());
    }
    values.extend(values![until]);
    sql.run(END, values).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_refusal_halves_the_group_until_one_job_stands_alone_and_is_refused() {
        let conflict = || StoreError::Conflict("its key is held".to_owned());
        let mut ask = StepAsk::new(OperationId(Uuid::nil()), Duration::ZERO);
        let mut sizes = Vec::new();
        while ask.refused.is_none() {
            sizes.push(ask.jobs);
            ask = ask.after_refusal(conflict()).expect("goes on");
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1]);
        assert_eq!(ask.refused.as_deref(), Some("its key is held"));
        assert!(ask.after_refusal(conflict()).is_err(), "not for ever");
        assert!(StepAsk { jobs: 4, ..ask }.after_refusal(StoreError::Full("no room".to_owned())).is_err());
    }
}
