//! What a batch would make of the first items of its input. Nothing is created, and no store is needed.

use std::path::PathBuf;
use std::sync::Arc;

use gristmill_core::id::BatchId;
use gristmill_jobs::RegistryOptions;
use gristmill_jobs::pipeline::{DefinitionError, Pipeline, RunFailure, Trial};
use gristmill_jobs::process::{BatchContext, ProcessContext};
use gristmill_jobs::source::{self, Record};
use gristmill_jobs::stage::mail::ItemMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::StartError;
use super::plan::{Prepared, StartBatch, prepare};

/// The most items of a trial.
pub const TRIAL_ITEMS_MAX: u64 = 1_000;

/// Takes the first items of a batch through its stages. The step `process`, which may change something, is only run when
/// it is `asked` for.
///
/// # Errors
///
/// Those that the batch would meet before it is created; and when a lookup or the processor fails.
pub async fn try_out(start: StartBatch, limit: u64, asked: bool) -> Result<Trial, StartError> {
    let spool_dir: PathBuf = std::env::temp_dir().join(format!("gristmill-trial-{}", Uuid::now_v7()));
    let tried = tried(StartBatch { spool_dir: spool_dir.clone(), chunk: Some(limit), ..start }, limit, asked).await;
    // The folder was ours alone and may never have been created.
    let _ = std::fs::remove_dir_all(&spool_dir);
    tried
}

/// The messages of the first items of a mailing, and why items became none. The step `process` is left out.
pub(super) async fn first_messages(
    start: StartBatch,
    limit: u64,
) -> Result<(Vec<ItemMessage>, Vec<String>), StartError> {
    let spool_dir: PathBuf = std::env::temp_dir().join(format!("gristmill-trial-{}", Uuid::now_v7()));
    let (name, pool) = (start.name.clone(), start.kinds.pool.clone());
    let opened = opened(StartBatch { spool_dir: spool_dir.clone(), chunk: Some(limit), ..start }, limit).await;
    // The folder was ours alone and may never have been created.
    let _ = std::fs::remove_dir_all(&spool_dir);
    let (pipeline, records) = opened?;
    let messages = Arc::new(pipeline).first_messages(records, &pool).await;
    messages.map_err(|failure| failed(&name, &failure))
}

async fn tried(start: StartBatch, limit: u64, asked: bool) -> Result<Trial, StartError> {
    let (name, params, pool) = (start.name.clone(), start.params.clone(), start.kinds.pool.clone());
    let (pipeline, records) = opened(start, limit).await?;
    let context = ProcessContext {
        idempotency_key: Uuid::now_v7().to_string(),
        trace: None,
        cancel: CancellationToken::new(),
        batch: Arc::new(BatchContext { id: BatchId(Uuid::nil()), name: name.clone(), params }),
        last_attempt: true,
        answers: Default::default(),
        room: Default::default(),
    };
    let tried = Arc::new(pipeline).trial(records, asked.then_some(&context), &pool).await;
    tried.map_err(|failure| failed(&name, &failure))
}

fn failed(name: &str, failure: &RunFailure) -> StartError {
    DefinitionError { key: format!("batch.{name}"), problem: format!("cannot be tried: {failure}") }.into()
}

/// The compiled stages, and the first records.
async fn opened(start: StartBatch, limit: u64) -> Result<(Pipeline, Vec<Record>), StartError> {
    let (name, base_dir) = (start.name.clone(), start.base_dir.clone());
    let RegistryOptions { pool, processors } = start.kinds.clone();
    // The tenant does not matter to what is read.
    let Prepared { batch, mut planner } = prepare("", start).await?;
    let pipeline = Pipeline::compile(&name, &batch.definition, &base_dir, &processors, &pool)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut records: Vec<Record> = Vec::new();
    while records.len() < limit {
        let Some(chunk) = planner.next_chunk().await? else { break };
        records.extend(source::read(&chunk, planner.fingerprint(), &batch.definition.source).await?);
    }
    records.truncate(limit);
    Ok((pipeline, records))
}
