//! Starts a batch: from a definition and an input to a sealed batch, or to nothing at all.

use std::path::PathBuf;

use gristmill_core::audit::Action;
use gristmill_core::batch::FailureBudget;
use gristmill_core::definition::OneOrMany;
use gristmill_core::id::BatchId;
use gristmill_jobs::pipeline::DefinitionError;
use gristmill_jobs::source::{SourceError, Stream};
use gristmill_store::{NewBatch, StoreError};
use serde_json::Value;
use uuid::Uuid;

use super::plan::{Prepared, StartBatch, patiently, prepare};
use super::{ConfigSnapshot, RunContext};
use crate::Service;
use crate::order::Order;

/// A request for a batch definition of the configuration; what it leaves open is as the definition says.
#[derive(Default)]
pub struct BatchRequest {
    /// The name of the definition.
    pub name: String,
    /// Files in place of those that the definition names; empty keeps those.
    pub input: Vec<String>,
    /// Items in a chunk.
    pub chunk: Option<u64>,
    /// How many items may be quarantined before the batch halts.
    pub failure_budget: Option<FailureBudget>,
    /// Parameters of this run; null for none.
    pub params: Value,
    /// A second start with the same key returns the first one's id and plans nothing.
    pub idempotency_key: Option<String>,
    /// The W3C trace context of the cause.
    pub trace: Option<String>,
    /// What the input `-` reads.
    pub stdin: Option<Stream>,
}

impl std::fmt::Debug for BatchRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchRequest").field("name", &self.name).field("input", &self.input).finish_non_exhaustive()
    }
}

impl BatchRequest {
    /// A run of a definition as it stands.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Why a batch did not start. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The definition makes no sense, or there is none of that name.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The input cannot be read, or is not as it should be.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store did not accept it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outcome of starting a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBatch {
    /// It is planned completely, or was started before under the same idempotency key.
    Planned(BatchId),
    /// A dry run: its input was read as a plan reads it.
    Rehearsed(Rehearsal),
}

/// What a batch would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// How many chunks it would have.
    pub chunks: u64,
    /// How many items they would have together.
    pub items: u64,
}

impl RunContext {
    /// A batch of a definition of the configuration, with the request laid over it.
    ///
    /// # Errors
    ///
    /// [`StartError::Definition`] when there is no such definition.
    pub fn batch(&self, request: BatchRequest) -> Result<StartBatch, StartError> {
        let BatchRequest { name, input, chunk, failure_budget, params, idempotency_key, trace, stdin } = request;
        let mut definition = definition(&self.snapshot.borrow(), &name)?;
        definition.failure_budget = failure_budget.unwrap_or(definition.failure_budget);
        Ok(StartBatch {
            name,
            definition,
            input: (!input.is_empty()).then_some(OneOrMany::Many(input)),
            chunk,
            params,
            idempotency_key,
            trace,
            base_dir: self.base_dir.clone(),
            spool_dir: self.spool_dir.clone(),
            spool_bytes_max: self.spool_bytes_max,
            stdin,
            kinds: self.kinds.clone(),
        })
    }
}

fn definition(
    snapshot: &ConfigSnapshot,
    name: &str,
) -> Result<gristmill_core::definition::BatchDefinition, DefinitionError> {
    snapshot.batches.get(name).cloned().ok_or_else(|| DefinitionError {
        key: format!("batch.{name}"),
        problem: format!("there is no [batch.{name}] in the configuration"),
    })
}

impl Service {
    /// Checks, opens, creates, plans and seals a batch. When it returns, every chunk is in the store; workers have
    /// begun long before that. A dry run reads the whole input and creates nothing.
    ///
    /// # Errors
    ///
    /// See [`StartError`]. A batch that fails while it is planned is taken back, or cancelled when a worker has already
    /// begun with it.
    pub async fn start_batch(&self, order: &Order, start: StartBatch) -> Result<StartedBatch, StartError> {
        if order.dry_run {
            return rehearse(start).await.map(StartedBatch::Rehearsed);
        }
        let Prepared { batch, planner } = prepare(&order.tenant, start).await?;
        self.try_table(&batch).await?;
        // An existing batch under the id that only this call has was made by a first try whose answer was lost: it
        // would stay empty for ever if we took it for another process's batch.
        let store = order.adding(&self.store, Action::BatchStart, &batch.name);
        let created = patiently(|| store.create_batch(&batch)).await?;
        if created.id != batch.id {
            return Ok(StartedBatch::Planned(created.id));
        }
        if let Err(error) = self.fill(created.id, planner).await {
            self.take_back(&order.clone().because(error.to_string()), created.id).await;
            return Err(error);
        }
        Ok(StartedBatch::Planned(created.id))
    }
}

impl Service {
    /// Asks the database whether the rows of a batch could be written to its table.
    pub(super) async fn try_table(&self, batch: &NewBatch) -> Result<(), StartError> {
        let Some(table) = batch.definition.output.as_ref().and_then(|output| output.sql.as_ref()) else {
            return Ok(());
        };
        match self.store.try_sink(&table.table, &table.columns).await {
            Err(StoreError::Sink(problem)) => {
                Err(DefinitionError { key: format!("batch.{}.output.sql", batch.name), problem }.into())
            }
            other => Ok(other?),
        }
    }
}

/// Reads the whole input as a plan does, and creates nothing. Needs no store.
///
/// # Errors
///
/// Those that the batch would meet before it is created.
pub async fn rehearse(start: StartBatch) -> Result<Rehearsal, StartError> {
    let spool_dir: PathBuf = std::env::temp_dir().join(format!("gristmill-dry-run-{}", Uuid::now_v7()));
    let counted = count(StartBatch { spool_dir: spool_dir.clone(), ..start }).await;
    // Spools go with the plan; the folder was ours alone and may never have been created.
    let _ = std::fs::remove_dir_all(&spool_dir);
    counted
}

async fn count(start: StartBatch) -> Result<Rehearsal, StartError> {
    // The tenant does not matter to what is read.
    let Prepared { mut planner, .. } = prepare("", start).await?;
    let mut found = Rehearsal::default();
    while let Some(chunk) = planner.next_chunk().await? {
        found.chunks += 1;
        found.items += chunk.items;
    }
    Ok(found)
}
