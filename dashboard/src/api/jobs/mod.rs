//! Jobs: list, show, enqueue; [`logs`]: what attempts have said; [`many`]: enqueue many; [`mod@edit`]: edit; [`steer`]: retry, cancel, wait.

pub(crate) mod edit;
mod logs;
mod many;
pub(crate) mod request;
mod steer;

use gristmill_core::access::Permission;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::query::{List, Query as Asked};
use gristmill_service::documents::{EnqueuedOneDocument, JobDocument, WouldEnqueueDocument};
use gristmill_store::{JobFilter, JobView, why};
use serde_json::Value;

use self::request::{JobBody, job_of};
use super::rehearsable::Rehearsable;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Creation, JsonBody, Made, Outcome, Paging, Parameters, Params, Path,
    Query, Result, Routes, asked, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/jobs", "Jobs, newest first, without payloads", list)
        .post("/api/v1/jobs", "Enqueue a job", enqueue)
        .post_slowly(
            "/api/v1/jobs/many",
            "Enqueue many jobs: a list at once, or a stream of lines in groups",
            many::enqueue_many,
        )
        .get("/api/v1/jobs/{job}", "A job with its payload, its attempts and what it waits for", show)
        .get("/api/v1/jobs/{job}/logs", "What the attempts of a job have said, those of the last one first", logs::list)
        .get_slowly(
            "/api/v1/jobs/{job}/wait",
            "The job once it is final, or as it is when the time is over",
            steer::wait,
        )
        .patch(
            "/api/v1/jobs/{job}",
            "Change a job that waits: its priority, its queue, its time, its payload",
            edit::edit,
        )
        .post("/api/v1/jobs/{job}/retry", "Let a job that waits in `retry` or `scheduled` run now", steer::retry)
        .post("/api/v1/jobs/{job}/cancel", "Call off a job that is not final", steer::cancel)
}

/// Which jobs are wanted.
pub(super) struct Wanted {
    states: Vec<JobState>,
    queue: Option<String>,
    kind: Option<String>,
    key: Option<String>,
    batch: Option<BatchId>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            states: query.many("state", "Only in this state; may be repeated"),
            queue: query.one("queue", "Only on this queue"),
            kind: query.one("kind", "Only of this kind"),
            key: query.one("key", "Only with this key"),
            batch: query.one("batch", "Only of this batch"),
            asked: asked(query, List::Jobs),
        }
    }
}

impl Wanted {
    pub(super) async fn filter(self, caller: &Caller) -> Result<JobFilter> {
        let Self { states, queue, kind, key, batch, asked } = self;
        let (tenant, query) = (caller.tenant().to_owned(), as_of_now(caller, asked).await?);
        Ok(JobFilter { tenant, states, queue, kind, key, batch, query, ..JobFilter::default() })
    }
}

async fn list(
    caller: Allowed<perm::JobsRead>,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Outcome<Vec<JobDocument>> {
    let jobs = caller.store().jobs(&wanted.filter(&caller).await?, &paging.0).await?;
    let next = paging.next(&jobs, |job| job.id.to_string());
    Ok(Answer::page(jobs.into_iter().map(|job| shown(&caller, job)).collect(), next))
}

async fn show(caller: Allowed<perm::JobsRead>, Path(id): Path<JobId>) -> Outcome<JobDocument> {
    let job = find(&caller, id).await?;
    let (waits, edition) = (why(caller.whole_store(), &job).await?, job.edition());
    Ok(Answer::new(shown(&caller, job).waiting_for(waits)).edition(edition))
}

/// A query as of now: what says how long ago says when.
pub(crate) async fn as_of_now(caller: &Caller, query: Asked) -> Result<Asked> {
    Ok(if query.depends_on_now() { query.at(caller.store().now().await?) } else { query })
}

/// A job of the tenant.
pub(crate) async fn find(caller: &Caller, id: JobId) -> Result<JobView> {
    let found = caller.store().job(caller.tenant(), id).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no job {id} of `{}`", caller.tenant())))
}

/// A job as its caller may see it: what it contains only with `contents:read`.
pub(crate) fn shown(caller: &Caller, job: JobView) -> JobDocument {
    let job = match caller.may(Permission::ContentsRead) {
        true => job,
        false => JobView { payload: Value::Null, output: None, ..job },
    };
    JobDocument { job, waits: None }
}

async fn enqueue(
    caller: Allowed<perm::JobsEnqueue>,
    Params(change): Params<Change>,
    JsonBody(JobBody(request)): JsonBody<JobBody>,
) -> Creation<Rehearsable<EnqueuedOneDocument, WouldEnqueueDocument>> {
    let mut job = job_of(&caller, request).map_err(ApiError::invalid)?;
    job.idempotency_key = job.idempotency_key.or_else(|| caller.idempotency_key());
    let would = WouldEnqueueDocument::from(&job);
    let enqueued = caller.service().enqueue(&caller.order(&change), job).await?;
    Ok(match enqueued {
        None => Made::not_made(Rehearsable::Would(would)),
        Some(job) if job.created => {
            Made::at(Rehearsable::Done(EnqueuedOneDocument { job }), format!("/api/v1/jobs/{}", job.id))
        }
        Some(job) => Made::not_made(Rehearsable::Done(EnqueuedOneDocument { job })),
    })
}
