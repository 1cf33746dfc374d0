//! `Idempotency-Key`: a request that is sent again under its key is carried out once, and answered with the same.
//!
//! The key is written down before the handler runs, and the answer after it. Of two requests at once one is carried out,
//! and the other is asked to come again. A request that was refused has changed nothing, and is forgotten. When a
//! process dies between the two, its request begins anew after its lease: what creates something hands the key on to the
//! store, which creates nothing twice ([`Caller::idempotency_key`](super::caller::Caller::idempotency_key)).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gristmill_core::access::{Principal, Subject};
use gristmill_store::{BegunRequest, KeptAnswer, NewRequest, REQUEST_KEY_BYTES_MAX, RequestKey, StoreHandle};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::answer::Document;
use super::describe::Pace;
use super::error::{ApiError, ErrorCode, Result};
use super::limits::whole;
use super::state::Api;

/// The header of the key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Says of an answer that it was given before.
const REPLAYED: &str = "idempotent-replayed";

/// How long an answer is kept.
const KEEP: Duration = Duration::from_secs(24 * 3_600);

/// How long a request may be under way beyond the time for an ordinary answer.
const SLACK: Duration = Duration::from_secs(30);

/// How long a request may be under way whose answer may take long.
const LONG: Duration = Duration::from_secs(15 * 60);

/// The key of a request, in the name of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed(pub RequestKey);

/// The key of a request, if it has one.
///
/// # Errors
///
/// 400 for one that is empty, too long, or no plain text.
pub fn key(headers: &HeaderMap, caller: &Principal) -> Result<Option<Keyed>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().map(|text| text.trim_matches('"'));
    let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let sane = text.filter(|text| (1..=REQUEST_KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain));
    let wrong = || {
        let message = format!("`Idempotency-Key` must have 1 to {REQUEST_KEY_BYTES_MAX} characters of ASCII");
        ApiError::new(ErrorCode::BadRequest, message)
    };
    let key = sane.ok_or_else(wrong)?.to_owned();
    let caller_word = match caller.subject {
        Subject::User(user) => format!("user/{user}"),
        Subject::Token { token, .. } => format!("token/{token}"),
        Subject::Anyone => "anyone".to_owned(),
    };
    Ok(Some(Keyed(RequestKey { tenant: caller.tenant.clone(), caller: caller_word, key })))
}

/// Carries a request out, unless it was under its key.
///
/// # Errors
///
/// 409 when it is under way or another request has the key; those of reading its body.
pub(super) async fn once(api: &Api, pace: Pace, key: Keyed, request: Request, next: Next) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let bytes = whole(body, api.settings().body_bytes_max, api.stall()).await?;
    let attempt = Uuid::now_v7();
    let lease = match pace {
        Pace::Usual => api.settings().answer_timeout.0 + SLACK,
        Pace::Streams => LONG,
    };
    let begun = NewRequest { key: key.0.clone(), attempt, sha256: sha256(&parts, &bytes), lease, keep: KEEP };
    let store = StoreHandle::clone(api.service().store());
    match store.begin_request(&begun).await? {
        BegunRequest::Begun => {
            let request = Request::from_parts(parts, Body::from(bytes));
            // A caller that goes away meanwhile finds the answer when it comes again.
            let work = tokio::spawn(async move {
                let response = next.run(request).await;
                keep(&store, &key.0, attempt, kept(&response)).await;
                response
            });
            work.await.map_err(|error| ApiError::internal(format!("a handler broke off: {error}")))
        }
        BegunRequest::UnderWay => {
            let retry_after = Some(Duration::from_secs(1));
            Err(ApiError { retry_after, ..ApiError::conflict("the same request is under way") })
        }
        BegunRequest::Different => Err(ApiError::conflict("another request was sent under this `Idempotency-Key`")
            .hint("a key stands for one request, with its address and its body")),
        BegunRequest::Answered(answer) => Ok(again(answer)),
    }
}

/// All that a request asks for. The lengths keep its parts apart.
fn sha256(parts: &Parts, body: &[u8]) -> String {
    let address = parts.uri.path_and_query().map_or("", |address| address.as_str());
    let mut hasher = Sha256::new();
    for part in [parts.method.as_str().as_bytes(), address.as_bytes(), body] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// What is kept of an answer; `None` for that of a request that was refused.
fn kept(response: &Response) -> Option<KeptAnswer> {
    let document = response.extensions().get::<Document>().filter(|_| response.status().is_success())?;
    let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    Some(KeptAnswer {
        status: response.status().as_u16(),
        document: String::from_utf8(document.data.to_vec()).ok(),
        location: location.map(str::to_owned),
    })
}

/// Keeps the answer of what was carried out, and forgets what was refused.
async fn keep(store: &StoreHandle, key: &RequestKey, attempt: Uuid, answer: Option<KeptAnswer>) {
    let kept = match answer {
        Some(answer) => store.answer_request(key, attempt, &answer).await.map(drop),
        None => store.forget_request(key, attempt).await,
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "an answer could not be kept for its Idempotency-Key");
    }
}

/// An answer that was given before.
fn again(answer: KeptAnswer) -> Response {
    let Some(document) = answer.document else {
        return ApiError::conflict("the request was carried out, and its answer was too long to be kept")
            .into_response();
    };
    let mut response = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK).into_response();
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    response.extensions_mut().insert(Document { data: document.into(), next: None, version: None, edition: None });
    response
}
