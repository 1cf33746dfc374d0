//! Uploads that can be gone on with: begin, go on, ask how far, end. A batch is started from one by `POST /api/v1/batches`.

use std::fs::File;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use chrono::Utc;
use gristmill_core::schema::text;
use gristmill_service::documents::ReportDocument;
use gristmill_service::uploads::{NewUpload, Room, UploadDocument, UploadError, Uploads, Writing};
use gristmill_store::{ControlReport, StoreError};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::gate::body::check_media;
use crate::gate::describe::{Argument, BodyShape, Endpoint};
use crate::gate::limits::piece;
use crate::gate::{
    Allowed, Answer, Api, ApiError, Caller, Creation, ErrorCode, Fields, JsonBody, Made, Object, Outcome, Path, Result,
    Routes, perm,
};

/// The types of bodies that are taken: the first is that of the draft of the IETF.
const MEDIA: [&str; 3] = ["application/partial-upload", "application/offset+octet-stream", "application/octet-stream"];

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/uploads", "Uploads that are under way or whole, oldest first", list)
        .post("/api/v1/uploads", "Begin an upload, which can be gone on with when its connection breaks", create)
        .get("/api/v1/uploads/{upload}", "How far an upload is", show)
        .patch_slowly(
            "/api/v1/uploads/{upload}",
            "Go on with an upload where it is: the next bytes are the body",
            append,
        )
        .post_slowly("/api/v1/uploads/{upload}/complete", "All bytes have come: compare their hash", complete)
        .delete("/api/v1/uploads/{upload}", "Remove an upload", remove)
}

/// The uploads of a server.
fn uploads(api: &Api) -> Uploads {
    let context = api.run_context();
    Uploads::new(&context.spool_dir, context.spool_bytes_max)
}

/// Does what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Uploads) -> std::result::Result<T, UploadError> + Send + 'static,
) -> Result<T> {
    let uploads = uploads(api);
    let done = tokio::task::spawn_blocking(move || work(&uploads)).await;
    done.map_err(|error| ApiError::internal(error.to_string()))?.map_err(refused)
}

/// How many bytes the uploads of a tenant take at this server.
///
/// # Errors
///
/// 503 when the disk cannot be read.
pub(crate) async fn stored(api: &Api, tenant: &str) -> Result<u64> {
    let tenant = tenant.to_owned();
    blocking(api, move |uploads| uploads.used(&tenant, Utc::now())).await
}

/// The quota of storage of the caller's tenant, and what the database knows to be used of it.
async fn room(caller: &Caller) -> Result<Option<Room>> {
    match caller.api().accounts().tenant_in_use(caller.tenant()).await {
        Ok(found) => {
            let used = found.usage.storage_bytes;
            Ok(found.tenant.quotas.storage_bytes.map(|limit| Room { limit, used }))
        }
        // Where no caller logs in there need be no tenants.
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a whole upload of the caller's tenant for reading.
///
/// # Errors
///
/// 404 when there is none, 409 when it is not whole.
pub(crate) async fn open(caller: &Caller, id: Uuid) -> Result<File> {
    let tenant = caller.tenant().to_owned();
    blocking(caller.api(), move |uploads| uploads.read(&tenant, id, Utc::now())).await
}

/// Why nothing became of a wish. Where uploads lie on the server is not said.
fn refused(error: UploadError) -> ApiError {
    let message = error.to_string();
    match error {
        UploadError::NotFound(_) | UploadError::Elsewhere { .. } => ApiError::not_found(message),
        UploadError::Offset { .. } | UploadError::Busy | UploadError::Whole | UploadError::NotWhole { .. } => {
            ApiError::new(ErrorCode::Conflict, message)
        }
        UploadError::TooMany => ApiError::new(ErrorCode::Conflict, message),
        UploadError::TooLarge(_) => ApiError::new(ErrorCode::TooLarge, message),
        UploadError::OverQuota(over) => StoreError::OverQuota(over).into(),
        UploadError::Unsized => ApiError::fault("/length", message),
        UploadError::Hash(_) => ApiError::new(ErrorCode::Invalid, message),
        UploadError::Io(error) => ApiError {
            cause: Some(error.to_string().into()),
            ..ApiError::new(ErrorCode::Unavailable, "the upload cannot be kept")
        },
    }
}

/// An upload that begins.
#[derive(Debug)]
struct UploadBody {
    length: Option<u64>,
    sha256: Option<String>,
}

impl Fields for UploadBody {
    const NAME: &'static str = "UploadRequest";
    const EXAMPLE: &'static str = r#"{"length": 4096}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let length = object.optional("length", "How many bytes it will have, if that is known");
        let sha256: Option<String> = object.optional("sha256", "The SHA-256 that it must have, in hexadecimal digits");
        let sha256 = sha256.map(|hash| hash.to_ascii_lowercase());
        let is_hash = |hash: &String| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if sha256.as_ref().is_some_and(|hash| !is_hash(hash)) {
            object.fault("sha256", "must be 64 hexadecimal digits");
        }
        Some(Self { length, sha256 })
    }
}

async fn create(
    caller: Allowed<perm::BatchesStart>,
    JsonBody(UploadBody { length, sha256 }): JsonBody<UploadBody>,
) -> Creation<UploadDocument> {
    let room = room(&caller).await?;
    let new = NewUpload { tenant: caller.tenant().to_owned(), length, sha256, room };
    let made = blocking(caller.api(), move |uploads| {
        uploads.tidy(Utc::now())?;
        uploads.create(&new, Utc::now())
    });
    let made = made.await?;
    let place = format!("/api/v1/uploads/{}", made.id);
    Ok(Made::at(made, place))
}

async fn list(caller: Allowed<perm::BatchesStart>) -> Outcome<Vec<UploadDocument>> {
    let tenant = caller.tenant().to_owned();
    let found = blocking(caller.api(), move |uploads| uploads.list(&tenant, Utc::now())).await?;
    Ok(Answer::page(found, None))
}

async fn show(caller: Allowed<perm::BatchesStart>, Path(id): Path<Uuid>) -> Outcome<UploadDocument> {
    let tenant = caller.tenant().to_owned();
    Ok(Answer::new(blocking(caller.api(), move |uploads| uploads.show(&tenant, id, Utc::now())).await?))
}

async fn remove(caller: Allowed<perm::BatchesStart>, Path(id): Path<Uuid>) -> Outcome<ReportDocument> {
    let tenant = caller.tenant().to_owned();
    blocking(caller.api(), move |uploads| uploads.remove(&tenant, id)).await?;
    let report = ControlReport { affected: 1, samples: vec![id.to_string()], ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(false, &report)))
}

async fn complete(caller: Allowed<perm::BatchesStart>, Path(id): Path<Uuid>) -> Outcome<UploadDocument> {
    let tenant = caller.tenant().to_owned();
    Ok(Answer::new(blocking(caller.api(), move |uploads| uploads.complete(&tenant, id, Utc::now())).await?))
}

/// Where the bytes of a request begin, and whether they are the last.
#[derive(Debug, Clone, Copy)]
struct Offset {
    at: u64,
    last: bool,
}

impl<S: Sync> FromRequestParts<S> for Offset {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let wrong = |name: &str, right: &str| ApiError::fault(name, format!("must be {right}"));
        let at = said(&parts.headers, "upload-offset").and_then(|text| text.parse().ok());
        let last = match said(&parts.headers, "upload-complete") {
            None | Some("?0") => false,
            Some("?1") => true,
            Some(_) => return Err(wrong("Upload-Complete", "`?1` or `?0`")),
        };
        let at = at.ok_or_else(|| wrong("Upload-Offset", "the number of bytes that have come"))?;
        Ok(Self { at, last })
    }
}

fn said<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

impl Argument for Offset {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.appends = true;
    }
}

/// The next bytes of an upload, as they come.
struct Piece(Body);

impl FromRequest<Api> for Piece {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Api) -> Result<Self> {
        check_media(request.headers(), &MEDIA)?;
        Ok(Self(request.into_body()))
    }
}

impl Argument for Piece {
    fn describe(endpoint: &mut Endpoint) {
        // The one that every tool knows.
        let schema = text("the next bytes of the upload", "id,shop");
        endpoint.bodies.push(BodyShape { media: "application/octet-stream", schema, optional: false });
    }
}

/// What has come of a body stays, also where it breaks off: the caller asks how far it is, and goes on there.
async fn append(
    caller: Allowed<perm::BatchesStart>,
    Path(id): Path<Uuid>,
    Offset { at, last }: Offset,
    Piece(body): Piece,
) -> Outcome<UploadDocument> {
    let tenant = caller.tenant().to_owned();
    let whose = tenant.clone();
    let writing = blocking(caller.api(), move |uploads| uploads.write_at(&whose, id, at, Utc::now())).await?;
    copy(caller.api(), body, writing).await?;
    let done = blocking(caller.api(), move |uploads| match last {
        true => uploads.complete(&tenant, id, Utc::now()),
        false => uploads.show(&tenant, id, Utc::now()),
    });
    Ok(Answer::new(done.await?))
}

/// Writes a body to the end of an upload. It is locked until this is over.
async fn copy(api: &Api, body: Body, writing: Writing) -> Result<()> {
    let Writing { file, mut offset, most } = writing;
    let (mut file, mut stream) = (tokio::fs::File::from_std(file), body.into_data_stream());
    let kept = |error: std::io::Error| refused(UploadError::Io(error));
    let ended = loop {
        match piece(&mut stream, api.stall()).await {
            Ok(None) => break Ok(()),
            Ok(Some(piece)) => {
                offset += piece.len() as u64;
                if offset > most {
                    break Err(refused(UploadError::TooLarge(most)));
                }
                file.write_all(&piece).await.map_err(kept)?;
            }
            Err(broken) => break Err(broken),
        }
    };
    file.flush().await.map_err(kept)?;
    file.sync_data().await.map_err(kept)?;
    ended
}
