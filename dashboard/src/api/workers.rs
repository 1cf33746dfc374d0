//! Workers: list, retire. They serve all tenants.

use gristmill_core::id::WorkerId;
use gristmill_service::documents::{ReportDocument, WorkerDocument};
use gristmill_store::ControlReport;

use crate::gate::{Allowed, Answer, ApiError, Change, Outcome, Overseer, Params, Path, Routes, perm};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/workers", "Every process that is alive or was seen within the last day", list).post(
        "/api/v1/workers/{worker}/retire",
        "End the lease of a worker: what it ran is queued again, unspent",
        retire,
    )
}

async fn list(caller: Allowed<perm::WorkersRead>) -> Outcome<Vec<WorkerDocument>> {
    Ok(Answer::new(caller.whole_store().workers().await?))
}

async fn retire(
    caller: Overseer<perm::WorkersControl>,
    Path(worker): Path<WorkerId>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let workers = caller.whole_store().workers().await?;
    let Some(found) = workers.iter().find(|one| one.id == worker) else {
        return Err(ApiError::not_found(format!("there is no worker {worker}")));
    };
    if found.state != "alive" {
        return Err(ApiError::conflict(format!("the worker {worker} is {}", found.state)));
    }
    if !change.dry_run {
        caller.service().retire_worker(worker).await?;
    }
    let (affected, samples) = (u64::from(found.running), vec![worker.to_string()]);
    let report = ControlReport { affected, samples, ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
