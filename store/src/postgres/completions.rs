//! Completions, and what halts a batch.

use async_trait::async_trait;
use gristmill_core::id::BatchId;

use super::complete::{complete, refused_rows, try_sink};
use super::connect::{alone, look, transact};
use super::done::done;
use super::{PostgresStore, stop};
use crate::error::Result;
use crate::group;
use crate::{CompleteReport, Completion, Completions, ControlReport, RefusedRow, SqlRows};

#[async_trait]
impl Completions for PostgresStore {
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        if group::are_simply_done(completions)
            && let Some(report) = alone!(self, done, completions).await?
        {
            return Ok(report);
        }
        transact!(self, complete, completions).await
    }

    async fn try_sink(&self, table: &str, columns: &[String]) -> Result<()> {
        look!(self, try_sink, table, columns)
    }

    async fn refused_rows(&self, rows: &SqlRows) -> Result<Vec<RefusedRow>> {
        // A dry run: what the search has written is rolled back.
        self.attempt(stringify!(refused_rows), &rows, true, |work, rows| Box::pin(refused_rows(work, rows))).await
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        stop::halt(self, batch, generation, reason).await
    }
}
