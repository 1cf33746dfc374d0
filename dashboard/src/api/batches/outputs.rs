//! Batches: what came of one that has ended: its result, and the files that it has written.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gristmill_core::id::BatchId;
use gristmill_core::schema::{free, text};
use gristmill_service::documents::OutputDocument;
use gristmill_service::outputs::{OpenOutput, OutputError};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::find;
use crate::gate::describe::{Endpoint, Replies, Reply};
use crate::gate::range::{Part, Wanted};
use crate::gate::{Allowed, Answer, ApiError, ErrorCode, Outcome, Paging, Params, Path, Result, perm};

/// The type of every file: it is kept, not shown.
const BYTES: &str = "application/octet-stream";

/// How many bytes are read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The merged result of a batch, as its measures have named it.
#[derive(Debug, Serialize)]
pub(super) struct Merged(Value);

impl PartialSchema for Merged {
    fn schema() -> RefOr<Schema> {
        free("what was merged, by the names of the measures")
    }
}

impl ToSchema for Merged {}

pub(super) async fn results(caller: Allowed<perm::ContentsRead>, Path(id): Path<BatchId>) -> Outcome<Merged> {
    Ok(Answer::new(Merged(merged(&caller, id).await?)))
}

/// The result of a batch that has one.
pub(super) async fn merged(caller: &Allowed<perm::ContentsRead>, id: BatchId) -> Result<Value> {
    let batch = find(caller, id).await?;
    match batch.result {
        Some(result) => Ok(result),
        None if batch.state.is_final() => {
            Err(ApiError::not_found(format!("batch {id} has no result: it is {}", batch.state)))
        }
        None => {
            let early = format!("batch {id} is {}: its result is merged once its chunks are final", batch.state);
            Err(ApiError::conflict(early))
        }
    }
}

pub(super) async fn outputs(
    caller: Allowed<perm::BatchesRead>,
    Path(id): Path<BatchId>,
    Params(paging): Params<Paging>,
) -> Outcome<Vec<OutputDocument>> {
    let after = paging.0.after.as_deref().map(str::parse).transpose();
    let after =
        after.map_err(|_| ApiError::fault("?after", "is no key of this list: give `nextCursor` of the page before"))?;
    let outputs = caller.service().outputs(caller.tenant(), id, after.unwrap_or(-1), paging.0.limit).await?;
    let next = paging.next(&outputs, |output| output.chunk.to_string());
    Ok(Answer::page(outputs, next))
}

pub(super) async fn output(
    caller: Allowed<perm::ContentsRead>,
    Path((id, name)): Path<(BatchId, String)>,
    wanted: Wanted,
) -> Result<Download> {
    let opened = caller.service().output(caller.tenant(), id, &name).await?;
    Download::of(opened, &wanted).await
}

impl From<OutputError> for ApiError {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Store(error) => error.into(),
            // Where it lies is not said.
            OutputError::Unreadable(cause) => {
                let message = "the file cannot be read; the log of the server says why";
                Self { cause: Some(cause.into()), ..Self::conflict(message) }
            }
        }
    }
}

/// A file, or the part of it that is wanted.
#[derive(Debug)]
pub(super) struct Download(Response);

impl Download {
    async fn of(opened: OpenOutput, wanted: &Wanted) -> Result<Self> {
        let OpenOutput { output, file } = opened;
        let (status, first, length) = match wanted.part(output.bytes, &output.sha256) {
            Part::Whole => (StatusCode::OK, 0, output.bytes),
            Part::Bytes(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Part::Unchanged => (StatusCode::NOT_MODIFIED, 0, 0),
            Part::Outside => {
                let message =
                    format!("`{}` has {} bytes: the range that is asked for is not in it", output.name, output.bytes);
                return Err(ApiError::new(ErrorCode::OutOfRange, message));
            }
        };
        let mut response = Response::default();
        *response.status_mut() = status;
        head(response.headers_mut(), &output);
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Self(response));
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if status == StatusCode::PARTIAL_CONTENT {
            put(headers, header::CONTENT_RANGE, format!("bytes {first}-{}/{}", first + length - 1, output.bytes));
        }
        let mut file = tokio::fs::File::from_std(file);
        let found = file.seek(std::io::SeekFrom::Start(first)).await;
        found.map_err(|error| OutputError::Unreadable(error.to_string()))?;
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(file.take(length), PIECE_BYTES));
        Ok(Self(response))
    }
}

/// What is said of a file, whichever part of it is sent.
fn head(headers: &mut HeaderMap, output: &OutputDocument) {
    put(headers, header::ETAG, format!("\"{}\"", output.sha256));
    put(headers, header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", output.name));
    let digest = hex::decode(&output.sha256).map(|bytes| BASE64_STANDARD.encode(bytes));
    if let Ok(digest) = digest {
        put(headers, HeaderName::from_static("repr-digest"), format!("sha-256=:{digest}:"));
    }
    for (name, value) in [
        (header::CONTENT_TYPE, BYTES),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::VARY, "authorization, cookie, gristmill-tenant"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

impl IntoResponse for Download {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Replies for Result<Download> {
    fn describe(endpoint: &mut Endpoint) {
        for status in [200, 206] {
            let schema = text("the bytes of the file, or those of the range", "{\"id\":1}");
            endpoint.replies.push(Reply { status, media: BYTES, schema });
        }
    }
}
