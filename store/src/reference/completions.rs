//! Completions, and what halts a batch.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::BatchId;

use super::complete::{complete, fan_in_late};
use super::{ReferenceStore, control};
use crate::error::{Result, StoreError};
use crate::{CompleteReport, Completion, Completions, ControlReport, RefusedRow, SqlRows};

/// How much later than its completion a fan-in comes that is not in the same transition.
const BETWEEN: Duration = Duration::from_millis(1);

#[async_trait]
impl Completions for ReferenceStore {
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        let (mut report, late) = complete(self, completions)?;
        if !late.is_empty() {
            tokio::time::sleep(BETWEEN).await;
            fan_in_late(self, &late, &mut report)?;
        }
        Ok(report)
    }

    /// Any table is there, as [`Completion::sql`] writes it.
    async fn try_sink(&self, _: &str, columns: &[String]) -> Result<()> {
        if columns.is_empty() {
            return Err(StoreError::Invalid("the rows for a table have no columns; name at least one".to_owned()));
        }
        Ok(())
    }

    /// Any table takes any row.
    async fn refused_rows(&self, _: &SqlRows) -> Result<Vec<RefusedRow>> {
        Ok(Vec::new())
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        control::halt_batch(self, batch, generation, reason)
    }
}
