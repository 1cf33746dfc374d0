//! Operations over many jobs, quarantined items or batches: list, show, start, cancel, undo.

use gristmill_core::access::Permission;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationVerb, RATE_MAX};
use gristmill_core::query::{Query as Asked, parse};
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::documents::{OperationDocument, WouldOperateDocument};

use super::rehearsable::Rehearsable;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Creation, ErrorCode, Fields, JsonBody, Made, Moment, Object, Outcome,
    Paging, Params, Path, Result, Routes, perm,
};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/operations", "Operations over many jobs, items or batches, newest first", list)
        .post_slowly(
            "/api/v1/operations",
            "Do something to every job, item or batch that a query selects, in steps",
            start,
        )
        .get("/api/v1/operations/{operation}", "An operation, with how far it is", show)
        .post("/api/v1/operations/{operation}/cancel", "Call it off: what it has changed stays so", cancel)
        .post(
            "/api/v1/operations/{operation}/undo",
            "Bring back what it has changed, where nothing happened since",
            undo,
        )
}

async fn list(
    caller: Allowed<perm::OperationsRead>,
    Params(paging): Params<Paging>,
) -> Outcome<Vec<OperationDocument>> {
    let found = caller.store().operations(caller.tenant(), &paging.0).await?;
    let next = paging.next(&found, |operation| operation.id.to_string());
    Ok(Answer::page(found.into_iter().map(|operation| shown(&caller, operation)).collect(), next))
}

async fn show(caller: Allowed<perm::OperationsRead>, Path(id): Path<OperationId>) -> Outcome<OperationDocument> {
    let found = caller.service().operation(caller.tenant(), id).await?;
    Ok(Answer::new(shown(&caller, found)))
}

/// An operation as its caller may see it: an error may quote what jobs contain.
pub(crate) fn shown(caller: &Caller, operation: OperationDocument) -> OperationDocument {
    match caller.may(Permission::ContentsRead) {
        true => operation,
        false => OperationDocument { error: None, ..operation },
    }
}

/// An operation that is asked for.
#[derive(Debug, Clone, PartialEq)]
struct OperationBody(OperationRequest);

impl Fields for OperationBody {
    const NAME: &'static str = "OperationRequest";
    const EXAMPLE: &'static str = r#"{"verb": "cancel", "query": "state:queued kind:import.*", "rate": 200}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let verb: Option<OperationVerb> =
            object.required("verb", "What is done to each job, quarantined item or batch");
        let query: Option<String> =
            object.required("query", "Which: a query of jobs, of dead letters, of quarantined items or of batches");
        let rate: Option<u32> = object.optional("rate", "How many a second at most");
        if rate.is_some_and(|rate| !(1..=RATE_MAX).contains(&rate)) {
            object.fault("rate", format!("must be 1 to {RATE_MAX}"));
        }
        let snapshot: Option<String> =
            object.optional("snapshot", "As of when: `snapshot` of the dry run, so that nothing newer is selected");
        let snapshot = snapshot.and_then(|text| match text.parse::<Moment>() {
            Ok(moment) => Some(moment.0),
            Err(wrong) => {
                object.fault("snapshot", wrong);
                None
            }
        });
        let (verb, query) = (verb?, query?);
        let query = asked(object, verb, &query)?;
        Some(Self(OperationRequest { verb, query, rate, snapshot, id: None }))
    }
}

/// Reads the query of an operation.
fn asked(object: &mut Object, verb: OperationVerb, text: &str) -> Option<Asked> {
    let read = parse(verb.list(), text).map_err(|fault| fault.to_string());
    match read.and_then(|query| verb.check(&query).map(|()| query)) {
        Ok(query) => Some(query),
        Err(wrong) => {
            object.fault("query", wrong);
            None
        }
    }
}

/// The permissions that a single one needs: its verb, and to take items out of the quarantine is to delete them.
pub(crate) fn needed(verb: OperationVerb) -> &'static [Permission] {
    match verb {
        OperationVerb::Cancel | OperationVerb::Redrive => &[Permission::JobsControl],
        OperationVerb::Discard => &[Permission::JobsDelete],
        OperationVerb::RedriveItems => &[Permission::QuarantineMend],
        OperationVerb::DiscardItems => &[Permission::QuarantineMend, Permission::JobsDelete],
        OperationVerb::CancelBatches
        | OperationVerb::PauseBatches
        | OperationVerb::ResumeBatches
        | OperationVerb::RestartBatches => &[Permission::BatchesControl],
        OperationVerb::DeleteBatches => &[Permission::BatchesDelete],
    }
}

/// The caller of an operation must be allowed to do its verb to a single one, too.
pub(crate) fn may(caller: &Caller, verb: OperationVerb) -> Result<()> {
    let Some(needed) = needed(verb).iter().find(|needed| !caller.may(**needed)) else { return Ok(()) };
    let (_, several) = verb.subjects().names();
    let message = format!("the caller may not {} {several}: `{needed}` is needed as well", verb.word());
    Err(ApiError::new(ErrorCode::Forbidden, message))
}

/// To bring back what a verb has done is no smaller right than to do it: what an admin has discarded comes back by an admin.
pub(crate) async fn may_undo(caller: &Caller, id: OperationId) -> Result<()> {
    let operation = caller.service().operation(caller.tenant(), id).await?;
    may(caller, operation.verb)
}

async fn start(
    caller: Allowed<perm::OperationsControl>,
    Params(change): Params<Change>,
    JsonBody(OperationBody(request)): JsonBody<OperationBody>,
) -> Creation<Rehearsable<OperationDocument, WouldOperateDocument>> {
    may(&caller, request.verb)?;
    if !change.dry_run && change.reason.is_none() {
        return Err(ApiError::fault("?reason", "is missing: an operation needs one"));
    }
    let settings = caller.api().program().pruner_options().settings;
    let started = caller.service().start_operation(&caller.order(&change), &request, &settings).await?;
    Ok(match started.operation {
        None => Made::not_made(Rehearsable::Would(WouldOperateDocument::new(&request, &started.preview))),
        Some(operation) => {
            let place = format!("/api/v1/operations/{}", operation.id);
            Made::at(Rehearsable::Done(shown(&caller, operation)), place)
        }
    })
}

async fn cancel(
    caller: Allowed<perm::OperationsControl>,
    Path(id): Path<OperationId>,
    Params(change): Params<Change>,
) -> Outcome<OperationDocument> {
    let operation = caller.service().cancel_operation(&caller.order(&change), id).await?;
    Ok(Answer::new(shown(&caller, operation)))
}

async fn undo(
    caller: Allowed<perm::OperationsControl>,
    Path(id): Path<OperationId>,
    Params(change): Params<Change>,
) -> Outcome<OperationDocument> {
    may_undo(&caller, id).await?;
    let operation = caller.service().undo_operation(&caller.order(&change), id).await?;
    Ok(Answer::new(shown(&caller, operation)))
}
