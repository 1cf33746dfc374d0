//! Jobs: edit one that waits.

use gristmill_core::duration::Span;
use gristmill_core::id::JobId;
use gristmill_core::job::{Priority, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_service::documents::ReportDocument;
use gristmill_store::{ControlReport, JobView, StoreError};
use serde_json::Value;

use super::find;
use crate::gate::if_match::IfMatch;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, ErrorCode, Fault, Fields, JsonBody, Moment, Object, Outcome, Params,
    Path, Result, perm,
};

/// What is to be changed of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EditBody(JobEdit);

impl Fields for EditBody {
    const NAME: &'static str = "JobEdit";
    const EXAMPLE: &'static str = r#"{"priority": "high", "in": "10m"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let priority: Option<Priority> = object.optional("priority", "Its priority: `high`, `normal`, `low`");
        let queue: Option<String> = object.optional("queue", "The queue on which it waits");
        let after: Option<Span> = object.optional("in", "Start after so long, such as `5m`; `0s` is at once");
        let at: Option<String> = object.optional("at", "Start at this instant, such as `2030-01-31T08:00:00Z`");
        let payload: Option<Value> = object.optional("payload", "Its input, as a whole: any JSON but null");
        let at = at.and_then(|text| match text.parse::<Moment>() {
            Ok(Moment(at)) => Some(RunAt::At(at)),
            Err(wrong) => {
                object.fault("at", wrong);
                None
            }
        });
        if after.is_some() && at.is_some() {
            object.fault("at", "cannot be given beside `in`");
        }
        let run = after.map(|Span(after)| RunAt::In(after)).or(at);
        Some(Self(JobEdit { priority, queue, run, payload, edition: None }))
    }
}

pub(super) async fn edit(
    caller: Allowed<perm::JobsControl>,
    Path(id): Path<JobId>,
    tags: IfMatch,
    Params(change): Params<Change>,
    JsonBody(EditBody(edit)): JsonBody<EditBody>,
) -> Outcome<ReportDocument> {
    let job = find(&caller, id).await?;
    let edit = JobEdit { edition: matched(tags.0.as_deref(), &job)?, ..edit };
    let report = edited(&caller, &change, &job, &edit).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// The edition of a job that its caller demands: that which it has, if it is among the tags. The first part of a tag is that
/// of the edition.
fn matched(said: Option<&[String]>, job: &JobView) -> Result<Option<String>> {
    let now = job.edition();
    match said {
        None => Ok(None),
        Some(tags) if tags.iter().any(|tag| tag == "*" || tag.split('.').next() == Some(&now)) => Ok(Some(now)),
        Some(_) => Err(stale(job.id)),
    }
}

fn stale(job: JobId) -> ApiError {
    let message = format!("job {job} was changed since it was read");
    ApiError::new(ErrorCode::Stale, message).hint("read it again, and repeat the edit on what is there")
}

/// Changes a job as it is, or says what would change.
///
/// # Errors
///
/// 422 for a payload that its kind does not read, 409 for a job that does not wait, 412 for one that was changed since.
pub(crate) async fn edited(caller: &Caller, change: &Change, job: &JobView, edit: &JobEdit) -> Result<ControlReport> {
    if *edit == (JobEdit { edition: edit.edition.clone(), ..JobEdit::default() }) {
        return Err(ApiError::fault("", "names nothing that is to be changed"));
    }
    if edit.edition.as_ref().is_some_and(|edition| *edition != job.edition()) {
        return Err(stale(job.id));
    }
    // Another version of the payload is that of another program's kind.
    if let Some(payload) = edit.payload.as_ref().filter(|_| job.version == 1 && job.seq.is_none()) {
        let checked = caller.api().program().check_payload(&job.kind, payload);
        checked.map_err(|wrong| ApiError::invalid(vec![Fault::new("/payload", wrong)]))?;
    }
    match caller.service().edit_job(&caller.order(change), job.id, edit).await {
        // Between the look and the change another caller was faster.
        Err(StoreError::Conflict(_)) if edit.edition.is_some() && moved_on(caller, job).await? => Err(stale(job.id)),
        report => Ok(report?),
    }
}

async fn moved_on(caller: &Caller, job: &JobView) -> Result<bool> {
    Ok(find(caller, job.id).await?.edition() != job.edition())
}
