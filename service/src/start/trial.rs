//! What a batch would make of the first items of its input. Nothing is created, and no store is needed.

use std::sync::Arc;

use gristmill_core::id::BatchId;
use gristmill_jobs::pipeline::{DefinitionError, Pipeline, RunFailure, Trial};
use gristmill_jobs::process::{BatchContext, ProcessContext};
use gristmill_jobs::source::{self, Record};
use gristmill_jobs::stage::mail::ItemMessage;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::StartError;
use super::plan::{Checked, StartBatch, checked};

/// The most items of a trial.
pub const TRIAL_ITEMS_MAX: u64 = 1_000;

/// Takes the first items of a batch through its stages. No more of the input is read than is shown, and neither the folder
/// of the output nor any other is touched. The step `process`, which may change something, is only run when it is `asked`
/// for.
///
/// # Errors
///
/// What is wrong with the definition or with the beginning of its input; and when a lookup or the processor fails.
pub async fn try_out(start: StartBatch, limit: u64, asked: bool) -> Result<Trial, StartError> {
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

/// The messages of the first items of a mailing, and why items became none. The step `process` is left out.
pub(super) async fn first_messages(
    start: StartBatch,
    limit: u64,
) -> Result<(Vec<ItemMessage>, Vec<String>), StartError> {
    let (name, pool) = (start.name.clone(), start.kinds.pool.clone());
    let (pipeline, records) = opened(start, limit).await?;
    let messages = Arc::new(pipeline).first_messages(records, &pool).await;
    messages.map_err(|failure| failed(&name, &failure))
}

fn failed(name: &str, failure: &RunFailure) -> StartError {
    DefinitionError { key: format!("batch.{name}"), problem: format!("cannot be tried: {failure}") }.into()
}

/// The compiled stages, and the first records.
async fn opened(start: StartBatch, limit: u64) -> Result<(Pipeline, Vec<Record>), StartError> {
    let Checked { definition, pipeline, base_dir, .. } = checked(&start)?;
    let StartBatch { stdin, .. } = start;
    let records = source::peek(&definition.source, base_dir, stdin, limit).await?;
    Ok((pipeline, records))
}
