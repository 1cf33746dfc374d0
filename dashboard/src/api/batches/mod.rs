//! Batches: list, show and chunks; [`outputs`]: what came of it; [`start`]: start; [`upload`]: start with an input; [`steer`]: pause, resume, cancel, restart, delete, wait.

mod outputs;
pub(crate) mod start;
mod steer;
mod tables;
mod upload;

use chrono::Utc;
use gristmill_core::access::Permission;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use gristmill_core::query::{List, Query as Asked};
use gristmill_jobs::kind::chunk::CHUNK;
use gristmill_service::documents::{BatchDocument, BatchWithResult, ChunkDocument};
use gristmill_service::eta::eta;
use gristmill_service::eta_record::eta_record;
use gristmill_store::{BatchFilter, BatchView, JobFilter, Page, why_batch};

use super::jobs::as_of_now;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Outcome, Paging, Parameters, Params, Path, Query, Result, Routes, asked, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/batches", "Batches, newest first", list)
        .post_slowly("/api/v1/batches", "Start a batch of a definition of the configuration", start::start)
        .post_slowly(
            "/api/v1/definitions/{definition}/batches",
            "Start a batch whose input is the body of the request",
            upload::upload,
        )
        .get("/api/v1/batches/{batch}", "A batch with its result and what it waits for", show)
        .get("/api/v1/batches/{batch}/chunks", "The chunks of a batch, newest first", chunks)
        .get("/api/v1/batches/{batch}/results", "What was merged of a batch's chunks", outputs::results)
        .get("/api/v1/batches/{batch}/results/{table}", "A table of it: separated values, or Markdown", tables::table)
        .get("/api/v1/batches/{batch}/outputs", "The files that a batch has written, by their chunks", outputs::outputs)
        .get_slowly(
            "/api/v1/batches/{batch}/outputs/{output}",
            "One of the files, or a range of its bytes",
            outputs::output,
        )
        .get_slowly(
            "/api/v1/batches/{batch}/wait",
            "The batch once it has ended, or as it is when the time is over",
            steer::wait,
        )
        .post("/api/v1/batches/{batch}/pause", "Stop claiming its chunks; what runs is finished", steer::pause)
        .post("/api/v1/batches/{batch}/resume", "Claim its chunks again", steer::resume)
        .post("/api/v1/batches/{batch}/cancel", "Call it off for good", steer::cancel)
        .post("/api/v1/batches/{batch}/restart", "Go on with one that halted or was cancelled", steer::restart)
        .delete(
            "/api/v1/batches/{batch}",
            "Delete one that has ended, with its chunks, results and quarantined items",
            steer::delete,
        )
        .post(
            "/api/v1/chunks/{job}/split",
            "Put two halves in the place of a chunk that is dead or waits",
            steer::split,
        )
}

/// Which batches are wanted.
struct Wanted {
    name: Option<String>,
    state: Option<BatchState>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            name: query.one("name", "Only runs of this definition"),
            state: query.one("state", "Only in this state"),
            asked: asked(query, List::Batches),
        }
    }
}

async fn list(
    caller: Allowed<perm::BatchesRead>,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Outcome<Vec<BatchDocument>> {
    let query = as_of_now(&caller, wanted.asked).await?;
    let filter = BatchFilter { tenant: caller.tenant().to_owned(), name: wanted.name, state: wanted.state, query };
    let batches = caller.store().batches(&filter, &paging.0).await?;
    let next = paging.next(&batches, |batch| batch.id.to_string());
    Ok(Answer::page(batches.iter().map(BatchDocument::from).collect(), next))
}

async fn show(caller: Allowed<perm::BatchesRead>, Path(id): Path<BatchId>) -> Outcome<BatchWithResult> {
    let batch = find(&caller, id).await?;
    let waits = why_batch(caller.whole_store(), &batch).await?;
    let eta = eta(caller.store(), &batch, Utc::now()).await?;
    let record = eta_record(caller.store(), &batch).await?;
    Ok(Answer::new(shown(&caller, &batch).waiting_for(waits).ending(eta).recorded(record)))
}

/// A batch of the tenant.
pub(crate) async fn find(caller: &Caller, id: BatchId) -> Result<BatchView> {
    let found = caller.store().batch(caller.tenant(), id).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no batch {id} of `{}`", caller.tenant())))
}

/// A batch as its caller may see it: its result only with `contents:read`.
fn shown(caller: &Caller, batch: &BatchView) -> BatchWithResult {
    let shown = BatchWithResult::from(batch);
    BatchWithResult { result: shown.result.filter(|_| caller.may(Permission::ContentsRead)), ..shown }
}

/// Which chunks are wanted.
struct WantedChunks(Vec<JobState>);

impl Parameters for WantedChunks {
    fn read(query: &mut Query) -> Self {
        Self(query.many("state", "Only in this state; may be repeated"))
    }
}

async fn chunks(
    caller: Allowed<perm::BatchesRead>,
    Path(id): Path<BatchId>,
    Params((wanted, paging)): Params<(WantedChunks, Paging)>,
) -> Outcome<Vec<ChunkDocument>> {
    find(&caller, id).await?;
    let filter = JobFilter {
        tenant: caller.tenant().to_owned(),
        states: wanted.0,
        kind: Some(CHUNK.to_owned()),
        batch: Some(id),
        ..JobFilter::default()
    };
    let jobs = caller.store().jobs(&filter, &paging.0).await?;
    let next = paging.next(&jobs, |job| job.id.to_string());
    let numbers = jobs.iter().filter_map(|job| job.seq);
    let (first, last) = (numbers.clone().min().unwrap_or(0), numbers.max().unwrap_or(0));
    let span = u32::try_from(last - first + 1).unwrap_or(u32::MAX).min(Page { after: None, limit: 1_000 }.limit);
    let results = caller.store().chunk_results(id, first - 1, span).await?;
    let result = |seq: Option<i64>| results.iter().find(|result| Some(result.seq) == seq);
    Ok(Answer::page(jobs.iter().filter_map(|job| ChunkDocument::new(job, result(job.seq))).collect(), next))
}
