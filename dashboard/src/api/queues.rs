//! Queues: list, show, pause, resume, delete.

use gristmill_core::id::is_name;
use gristmill_service::documents::{DeletedQueueDocument, QueueDocument, ReportDocument};

use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Outcome, Overseer, Parameters, Params, Path, Query, Result, Routes, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/queues", "Every queue with its counters, and which jobs no worker can run", list)
        .get("/api/v1/queues/{queue}", "A queue with its counters", show)
        .post("/api/v1/queues/{queue}/pause", "Stop claiming from it; what runs is finished", pause)
        .post("/api/v1/queues/{queue}/resume", "Claim from it again", resume)
        .delete("/api/v1/queues/{queue}", "Delete one that has no jobs, for all tenants", delete)
}

async fn all(caller: &Caller) -> Result<Vec<QueueDocument>> {
    let (store, tenant) = (caller.store(), caller.tenant());
    Ok(QueueDocument::all(store.queues(tenant).await?, store.unhandled(tenant).await?))
}

async fn list(caller: Allowed<perm::QueuesRead>) -> Outcome<Vec<QueueDocument>> {
    Ok(Answer::new(all(&caller).await?))
}

async fn show(caller: Allowed<perm::QueuesRead>, Path(name): Path<String>) -> Outcome<QueueDocument> {
    let found = all(&caller).await?.into_iter().find(|queue| queue.queue.name == name);
    found.map(Answer::new).ok_or_else(|| ApiError::not_found(format!("there is no queue `{name}`")))
}

/// The name of a queue that may be paused before it has had a job.
fn named(name: &str) -> Result<()> {
    if is_name(name) { Ok(()) } else { Err(ApiError::not_found(format!("`{name}` cannot be the name of a queue"))) }
}

async fn pause(
    caller: Allowed<perm::QueuesControl>,
    Path(queue): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    named(&queue)?;
    let report = caller.service().pause_queue(&caller.order(&change), &queue).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn resume(
    caller: Allowed<perm::QueuesControl>,
    Path(queue): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    named(&queue)?;
    let report = caller.service().resume_queue(&caller.order(&change), &queue).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// What is deleted with a queue.
struct With(bool);

impl Parameters for With {
    fn read(query: &mut Query) -> Self {
        Self(
            query.flag("finished", "Delete its jobs that are done or cancelled as well, unless they belong to a batch"),
        )
    }
}

async fn delete(
    caller: Overseer<perm::QueuesDelete>,
    Path(queue): Path<String>,
    Params((change, with)): Params<(Change, With)>,
) -> Outcome<DeletedQueueDocument> {
    let program = caller.api().program();
    if let Some(key) = program.names_queue(&queue) {
        return Err(named_elsewhere(&format!("`{key}`"), &queue));
    }
    for schedule in caller.store().schedules(None, None).await? {
        if schedule.spec.job.is_some_and(|job| job.queue.as_deref() == Some(queue.as_str())) {
            return Err(named_elsewhere(&format!("the schedule `{}`", schedule.name), &queue));
        }
    }
    let order = caller.order(&change);
    let deleted = caller.service().delete_queue(&order, &queue, with.0, program.pruner_options()).await?;
    Ok(Answer::new(DeletedQueueDocument::new(change.dry_run, &queue, &deleted)))
}

/// What names a queue would make it again.
fn named_elsewhere(place: &str, queue: &str) -> ApiError {
    ApiError::conflict(format!("{place} names queue {queue}")).hint("change that first, or the queue comes back")
}
