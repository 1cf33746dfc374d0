//! Operations: the steps of [`crate::sql`] in PostgreSQL's transactions.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, OperationId};
use gristmill_core::job::JobState;

use super::connect::{look, transact};
use super::fan_in::{self, Deltas};
use super::fault::{Fault, Outcome};
use super::work::Work;
use super::{PostgresStore, control, patch, redrive, restart, stop};
use crate::error::Result;
use crate::sql::Value;
use crate::sql::operations::ask::StepAsk;
use crate::sql::operations::step::step;
use crate::sql::operations::target::preview;
use crate::sql::operations::{Back, Operating, discarded, table};
use crate::{
    ControlReport, DueOperation, NewOperation, OperationPreview, OperationStep, OperationView, Operations, Page,
    PatchRedrive, PatchReport, Pause, Restart, Selection,
};

impl Operating for Work<'_> {
    async fn cancel_jobs(&mut self, tenant: &str, jobs: &[JobId], reason: &str) -> Outcome<ControlReport> {
        control::cancel_jobs(self, &(tenant, jobs, reason)).await
    }

    async fn redrive_jobs(&mut self, tenant: &str, jobs: &[JobId]) -> Outcome<ControlReport> {
        redrive::redrive_dead(self, &(tenant, jobs)).await
    }

    async fn redrive_items(&mut self, tenant: &str, patching: &PatchRedrive) -> Outcome<PatchReport> {
        patch::redrive_patched(self, &(tenant, patching)).await
    }

    async fn cancel_batch(&mut self, tenant: &str, batch: BatchId, reason: &str) -> Outcome<ControlReport> {
        stop::cancel_first(self, tenant, batch, reason).await
    }

    async fn pause_batch(&mut self, tenant: &str, batch: BatchId, pause: Option<&Pause>) -> Outcome<ControlReport> {
        control::pause_batch(self, &(tenant, batch, pause)).await
    }

    async fn restart_batch(&mut self, tenant: &str, asked: &Restart) -> Outcome<ControlReport> {
        restart::restart(self, &(tenant, asked)).await
    }

    async fn run_unless_held(&mut self, statement: &'static str, values: Vec<Value>) -> Outcome<u64> {
        let done = super::sql::query(statement, values).execute(&mut *self.conn).await.map_err(redrive::held_key)?;
        self.changed();
        Ok(done.rows_affected())
    }

    async fn came_back(&mut self, jobs: &[Back]) -> Outcome<()> {
        let mut deltas = Deltas::new();
        for back in jobs {
            self.moved(&back.tenant, &back.queue, JobState::Cancelled, back.state);
            match back.state {
                JobState::Queued => self.claimable(&back.queue, back.priority.rank(), back.id.0),
                JobState::Dead => self.dead_letter(&back.queue, back.priority.rank(), back.id.0),
                JobState::Scheduled | JobState::Retry | JobState::Running | JobState::Done | JobState::Cancelled => {}
            }
            if let Some(batch) = back.chunk_of {
                let delta = deltas.entry(batch.0).or_default();
                delta.finished -= 1;
                delta.cancelled -= back.items;
            }
        }
        fan_in::count_down(self, &deltas).await?;
        Ok(())
    }
}

#[async_trait]
impl Operations for PostgresStore {
    async fn preview_operation(&self, selection: &Selection) -> Result<OperationPreview> {
        look!(self, preview, selection)
    }

    async fn start_operation(&self, operation: &NewOperation) -> Result<OperationView> {
        transact!(self, table::start, operation).await
    }

    async fn operation(&self, tenant: &str, operation: OperationId) -> Result<Option<OperationView>> {
        look!(self, table::one, tenant, operation)
    }

    async fn operations(&self, tenant: &str, page: &Page) -> Result<Vec<OperationView>> {
        look!(self, table::list, tenant, page)
    }

    async fn cancel_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView> {
        transact!(self, table::cancel, (tenant, operation)).await
    }

    async fn undo_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView> {
        transact!(self, table::undo, (tenant, operation)).await
    }

    async fn due_operations(&self, limit: u32) -> Result<Vec<DueOperation>> {
        look!(self, table::due, limit)
    }

    async fn step_operation(&self, operation: OperationId, keys: Duration) -> Result<Option<OperationStep>> {
        let mut ask = StepAsk::new(operation, keys);
        loop {
            match transact!(self, operation_step, ask).await {
                Ok(step) => return Ok(step),
                Err(error) => ask = ask.after_refusal(error)?,
            }
        }
    }

    async fn discarded_by(&self, operation: OperationId, limit: u32) -> Result<Vec<JobId>> {
        look!(self, discarded, operation, limit)
    }

    async fn prune_operations(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, table::prune, (before, limit)).await
    }
}

async fn operation_step(work: &mut Work<'_>, ask: &StepAsk) -> Result<Option<OperationStep>, Fault> {
    let Some(mut step) = step(work, ask).await? else { return Ok(None) };
    step.leaves(work.close().await?);
    Ok(Some(step))
}
