//! Batches: pause, resume, cancel, restart, delete, wait; chunks: split.

use std::time::{Duration, Instant};

use gristmill_core::batch::FailureBudget;
use gristmill_core::id::{BatchId, JobId};
use gristmill_service::documents::{BatchWithResult, DeletedBatchesDocument, ReportDocument};
use gristmill_store::{Restart, why_batch};

use super::{find, shown};
use crate::api::patience::Patience;
use crate::gate::{Allowed, Answer, Change, Fields, JsonBody, Object, Outcome, Params, Path, perm};

pub(super) async fn pause(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().pause_batch(&caller.order(&change), batch).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

pub(super) async fn resume(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().resume_batch(&caller.order(&change), batch).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

pub(super) async fn cancel(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().cancel_batch(&caller.order(&change), batch).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// How a batch goes on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RestartBody {
    failure_budget: Option<FailureBudget>,
    dead: bool,
}

impl Fields for RestartBody {
    const NAME: &'static str = "RestartRequest";
    const EXAMPLE: &'static str = r#"{"failure_budget": "5%", "dead": true}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let about = "How many items may be quarantined from now on: a count, or a percentage such as `5%`";
        let budget: Option<String> = object.optional("failure_budget", about);
        let failure_budget = budget.and_then(|text| match text.parse() {
            Ok(budget) => Some(budget),
            Err(error) => {
                object.fault("failure_budget", format!("{error}"));
                None
            }
        });
        let dead = object.optional("dead", "Give its dead chunks another chance too").unwrap_or(false);
        Some(Self { failure_budget, dead })
    }
}

pub(super) async fn restart(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<RestartBody>,
) -> Outcome<ReportDocument> {
    let restart = Restart { batch, failure_budget: body.failure_budget, dead: body.dead };
    let report = caller.service().restart_batch(&caller.order(&change), &restart).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

pub(super) async fn delete(
    caller: Allowed<perm::BatchesDelete>,
    Path(batch): Path<BatchId>,
    Params(change): Params<Change>,
) -> Outcome<DeletedBatchesDocument> {
    let (order, options) = (caller.order(&change), caller.api().program().pruner_options());
    let (report, deleted) = caller.service().delete_batches(&order, &[batch], options, |_| {}).await?;
    let (dry_run, chunks) = (change.dry_run, report.affected);
    Ok(Answer::new(DeletedBatchesDocument { dry_run, chunks, deleted: deleted.rows }))
}

pub(super) async fn split(
    caller: Allowed<perm::BatchesControl>,
    Path(job): Path<JobId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().split_chunk(&caller.order(&change), job).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// Answers when the batch has ended, or when the time is over: its state says which.
pub(super) async fn wait(
    caller: Allowed<perm::BatchesRead>,
    Path(id): Path<BatchId>,
    Params(patience): Params<Patience>,
) -> Outcome<BatchWithResult> {
    let until = Instant::now() + patience.0;
    let mut pause = Duration::from_millis(50);
    loop {
        let batch = find(&caller, id).await?;
        let left = until.saturating_duration_since(Instant::now());
        if batch.state.is_final() {
            return Ok(Answer::new(shown(&caller, &batch)));
        }
        if left.is_zero() {
            let waits = why_batch(caller.whole_store(), &batch).await?;
            return Ok(Answer::new(shown(&caller, &batch).waiting_for(waits)));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
