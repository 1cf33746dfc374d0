//! Operations: the steps of [`crate::sql`] in SQLite's transactions.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, OperationId};
use gristmill_core::job::JobState;

use super::row::Moved;
use super::sql::{Reading, transact};
use super::transition::Transition;
use super::{SqliteStore, control, error, patch, redrives, restart, stop};
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

impl Operating for Transition<'_> {
    async fn cancel_jobs(&mut self, tenant: &str, jobs: &[JobId], reason: &str) -> Result<ControlReport> {
        control::cancel_these(self, tenant, jobs, reason).await
    }

    async fn redrive_jobs(&mut self, tenant: &str, jobs: &[JobId]) -> Result<ControlReport> {
        redrives::redrive(self, tenant, jobs).await
    }

    async fn redrive_items(&mut self, tenant: &str, patching: &PatchRedrive) -> Result<PatchReport> {
        patch::redrive(self, tenant, patching).await
    }

    async fn cancel_batch(&mut self, tenant: &str, batch: BatchId, reason: &str) -> Result<ControlReport> {
        stop::cancel_first(self, tenant, batch, reason).await
    }

    async fn pause_batch(&mut self, tenant: &str, batch: BatchId, pause: Option<&Pause>) -> Result<ControlReport> {
        control::pause(self, tenant, batch, pause).await
    }

    async fn restart_batch(&mut self, tenant: &str, asked: &Restart) -> Result<ControlReport> {
        restart::restart_in(self, tenant, asked).await
    }

    async fn run_unless_held(&mut self, statement: &'static str, values: Vec<Value>) -> Result<u64> {
        let query = super::sql::query(statement, values, self.now);
        self.run_or(query, error::held_key).await
    }

    async fn came_back(&mut self, jobs: &[Back]) -> Result<()> {
        for back in jobs {
            let job = Moved {
                id: back.id,
                tenant: back.tenant.clone(),
                queue: back.queue.clone(),
                priority: back.priority,
                batch: back.chunk_of,
                seq: None,
                items: back.items,
                generation: 0,
            };
            self.moved(&job, JobState::Cancelled, back.state);
            if let Some(batch) = back.chunk_of {
                let delta = self.delta(batch);
                delta.remaining += 1;
                delta.cancelled -= back.items;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Operations for SqliteStore {
    async fn preview_operation(&self, selection: &Selection) -> Result<OperationPreview> {
        preview(&mut Reading(&self.readers), selection).await
    }

    async fn start_operation(&self, operation: &NewOperation) -> Result<OperationView> {
        transact!(self, table::start, &operation)
    }

    async fn operation(&self, tenant: &str, operation: OperationId) -> Result<Option<OperationView>> {
        table::one(&mut Reading(&self.readers), tenant, operation).await
    }

    async fn operations(&self, tenant: &str, page: &Page) -> Result<Vec<OperationView>> {
        table::list(&mut Reading(&self.readers), tenant, page).await
    }

    async fn cancel_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView> {
        transact!(self, table::cancel, &(tenant, operation))
    }

    async fn undo_operation(&self, tenant: &str, operation: OperationId) -> Result<OperationView> {
        transact!(self, table::undo, &(tenant, operation))
    }

    async fn due_operations(&self, limit: u32) -> Result<Vec<DueOperation>> {
        table::due(&mut Reading(&self.readers), limit).await
    }

    async fn step_operation(&self, operation: OperationId, keys: Duration) -> Result<Option<OperationStep>> {
        let mut ask = StepAsk::new(operation, keys);
        loop {
            let mut t = Transition::begin(self).await?;
            match step(&mut t, &ask).await {
                Ok(None) => return Ok(None),
                Ok(Some(mut step)) => {
                    step.leaves(t.commit().await?.dispatched);
                    return Ok(Some(step));
                }
                Err(error) => ask = ask.after_refusal(error)?,
            }
        }
    }

    async fn discarded_by(&self, operation: OperationId, limit: u32) -> Result<Vec<JobId>> {
        discarded(&mut Reading(&self.readers), operation, limit).await
    }

    async fn prune_operations(&self, before: Instant, limit: u32) -> Result<u64> {
        transact!(self, table::prune, &(before, limit))
    }
}
