//! Batches: start one of a definition of the configuration.

use gristmill_core::batch::FailureBudget;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::is_name;
use gristmill_jobs::source::SourceError;
use gristmill_service::documents::{BatchWithResult, WouldStartDocument};
use gristmill_service::start::{BatchRequest, StartError, StartedBatch};
use serde_json::Value;
use uuid::Uuid;

use super::{find, shown};
use crate::api::rehearsable::Rehearsable;
use crate::api::uploads;
use crate::gate::{
    Allowed, ApiError, Caller, Change, Creation, ErrorCode, Fields, JsonBody, Made, Object, Params, Result, perm,
};

/// A batch as a request describes it. It names no files: what a server reads is in its configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchBody {
    name: String,
    chunk: Option<u64>,
    failure_budget: Option<FailureBudget>,
    params: Value,
    idempotency_key: Option<String>,
    upload: Option<Uuid>,
}

impl Fields for BatchBody {
    const NAME: &'static str = "BatchRequest";
    const EXAMPLE: &'static str = r#"{"name": "retail", "chunk": 500, "failure_budget": "2%"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let name: Option<String> = object.required("name", "The definition: [batch.NAME] in the configuration");
        if name.as_ref().is_some_and(|name| !is_name(name)) {
            object.fault("name", "cannot be the name of a definition: 1 to 100 letters, digits, `-` and `_`");
        }
        let chunk = object.optional("chunk", "How many items make a chunk");
        if chunk.is_some_and(|chunk| !(1..=CHUNK_ITEMS_MAX).contains(&chunk)) {
            object.fault("chunk", format!("must be 1 to {CHUNK_ITEMS_MAX}"));
        }
        let budget: Option<String> = object
            .optional("failure_budget", "How many items may be quarantined: a count, or a percentage such as `2.5%`");
        let failure_budget = budget.and_then(|text| match text.parse() {
            Ok(budget) => Some(budget),
            Err(error) => {
                object.fault("failure_budget", format!("{error}"));
                None
            }
        });
        let params = match object.any("params", "Parameters of the run: an object with their names") {
            params @ (Value::Null | Value::Object(_)) => params,
            _ => {
                object.fault("params", "is no object with the names of the parameters");
                Value::Null
            }
        };
        let idempotency_key =
            object.optional("idempotency_key", "Nothing is started when a batch with this key ever was");
        let upload: Option<String> =
            object.optional("upload", "The id of a whole upload, which is the input; it stays until it is deleted");
        let upload = upload.and_then(|text| {
            let id = text.parse().ok();
            if id.is_none() {
                object.fault("upload", "is not the id of an upload");
            }
            id
        });
        Some(Self { name: name?, chunk, failure_budget, params, idempotency_key, upload })
    }
}

pub(super) async fn start(
    caller: Allowed<perm::BatchesStart>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<BatchBody>,
) -> Creation<Rehearsable<BatchWithResult, WouldStartDocument>> {
    let BatchBody { name, chunk, failure_budget, params, idempotency_key, upload } = body;
    let request = BatchRequest { name, chunk, failure_budget, params, idempotency_key, ..BatchRequest::default() };
    let Some(upload) = upload else { return begin(&caller, &change, request, Started::AsDefined).await };
    let read = uploads::open(&caller, upload).await?;
    let request = BatchRequest { input: vec!["-".to_owned()], stdin: Some(Box::new(read)), ..request };
    begin(&caller, &change, request, Started::FromBody).await
}

/// Where the input of a batch is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// From where its definition says.
    AsDefined,
    /// From the body of the request: what is wrong with it is the caller's to know.
    FromBody,
}

/// Starts a batch, or rehearses it.
pub(super) async fn begin(
    caller: &Caller,
    change: &Change,
    request: BatchRequest,
    from: Started,
) -> Creation<Rehearsable<BatchWithResult, WouldStartDocument>> {
    let name = request.name.clone();
    Ok(match start_or_rehearse(caller, change, request, from).await? {
        StartedBatch::Planned(id) => {
            let batch = find(caller, id).await?;
            Made::at(Rehearsable::Done(shown(caller, &batch)), format!("/api/v1/batches/{id}"))
        }
        StartedBatch::Rehearsed(would) => {
            Made::not_made(Rehearsable::Would(WouldStartDocument::new(&name, would.chunks, would.items)))
        }
    })
}

/// The same, without the document of what came of it.
///
/// # Errors
///
/// 404 or 422 for a definition that there is not, 409, 422 and 503 for an input that cannot be read.
pub(crate) async fn start_or_rehearse(
    caller: &Caller,
    change: &Change,
    request: BatchRequest,
    from: Started,
) -> Result<StartedBatch> {
    let (run_context, name) = (caller.api().run_context(), request.name.clone());
    if !run_context.snapshot.borrow().batches.contains_key(&name) {
        let missing = format!("there is no [batch.{name}] in the configuration");
        return Err(match from {
            Started::AsDefined => ApiError::fault("/name", missing),
            Started::FromBody => ApiError::not_found(missing),
        });
    }
    let request = BatchRequest {
        trace: Some(caller.info.trace.to_string()),
        idempotency_key: request.idempotency_key.or_else(|| caller.idempotency_key()),
        ..request
    };
    let refused = |error| refused(error, from);
    let start = run_context.batch(request).map_err(refused)?;
    caller.service().start_batch(&caller.order(change), start).await.map_err(refused)
}

/// Why a batch did not start. Where its input lies on the server is not said.
fn refused(error: StartError, from: Started) -> ApiError {
    let hidden = |code, message: &str, error: &dyn std::error::Error| ApiError {
        cause: Some(error.to_string().into()),
        ..ApiError::new(code, message)
    };
    match error {
        StartError::Store(error) => error.into(),
        StartError::Definition(error) => {
            hidden(ErrorCode::Conflict, "the definition cannot be run as it is; the log of the server says why", &error)
        }
        StartError::Source(error @ (SourceError::Spool { .. } | SourceError::Interrupted)) => {
            hidden(ErrorCode::Unavailable, "the input cannot be kept for reading", &error)
        }
        StartError::Source(error) if from == Started::FromBody => {
            let said = error.to_string();
            ApiError::fault("", said.replacen("standard input", "the body", 1))
        }
        StartError::Source(error @ SourceError::Missing { .. }) => {
            hidden(ErrorCode::Conflict, "the input of the definition is not there", &error)
        }
        StartError::Source(error) => {
            hidden(ErrorCode::Conflict, "the input of the definition cannot be read as it is", &error)
        }
    }
}
