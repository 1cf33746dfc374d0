//! Completions, and what halts a batch.

use async_trait::async_trait;
use gristmill_core::id::BatchId;

use super::complete::{complete, try_sink};
use super::connect::{look, transact};
use super::{PostgresStore, control};
use crate::error::Result;
use crate::{CompleteReport, Completion, Completions, ControlReport};

#[async_trait]
impl Completions for PostgresStore {
    async fn complete(&self, completions: &[Completion]) -> Result<CompleteReport> {
        transact!(self, complete, completions).await
    }

    async fn try_sink(&self, table: &str, columns: &[String]) -> Result<()> {
        look!(self, try_sink, table, columns)
    }

    async fn halt_batch(&self, batch: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
        transact!(self, control::halt_batch, (batch, generation, reason)).await
    }
}
