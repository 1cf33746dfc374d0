//! The way of a request through the gate, step by step.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gristmill_core::access::Principal;
use gristmill_telemetry::{Encrypted, Peer};

use super::address::origin;
use super::authenticate::{caller, check_page, credential};
use super::body::check_media;
use super::caller::authorize;
use super::costs::PageRoute;
use super::describe::{Access, Endpoint, JSON};
use super::error::{ApiError, ErrorCode, Result};
use super::idempotency::{Keyed, once};
use super::info::{self, RequestInfo};
use super::rate::{Left, tighter};
use super::respond::{Wish, finish};
use super::state::Api;
use super::text::decoded;
use super::{csrf, host, idempotency, limits, query, zone};
use crate::auth::{Credential, KnownCaller};

/// An endpoint and what it works with.
#[derive(Debug)]
pub(super) struct Entry {
    /// What all endpoints share.
    pub(super) api: Api,
    /// What the endpoint is.
    pub(super) endpoint: Endpoint,
}

/// Lets a request pass, or answers why not.
pub(super) async fn pass(State(entry): State<Arc<Entry>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_page = entry.endpoint.is_page();
    let (info, wish) = (info_of(&entry.api, &parts), Wish::of(&parts).page(is_page));
    let last = limits::ends_its_connection(&parts);
    parts.extensions.insert(info.clone());
    if is_page {
        parts.extensions.insert(PageRoute(entry.endpoint.path.clone()));
    }
    let entered = enter(&entry, &info, &mut parts).await;
    // The page of an error shows who calls.
    let caller = parts.extensions.get::<Principal>().filter(|_| is_page).cloned();
    let mut response = match entered {
        Ok(left) => {
            let headers = parts.headers.clone();
            let answer = zone::within(&headers, run(&entry, Request::from_parts(parts, body), next));
            let patience = entry.api.settings().answer_timeout.0;
            let mut response = limits::in_time(entry.endpoint.pace, patience, answer).await;
            response.headers_mut().extend(left.map(Left::headers).unwrap_or_default());
            response
        }
        Err(error) => error.into_response(),
    };
    response.extensions_mut().insert(info.clone());
    if last {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(caller) = caller {
        response.extensions_mut().insert(caller);
    }
    finish(&info, &wish, response)
}

/// Runs the handler, once for each `Idempotency-Key`. What is no JSON is read as a stream, and hands its
/// key on to what it creates.
async fn run(entry: &Entry, request: Request, next: Next) -> Response {
    let key = request.extensions().get::<Keyed>().cloned();
    let rehearsal = decoded(request.uri().query().unwrap_or_default()).iter().any(|(name, _)| name == "dry_run");
    let streams =
        request.headers().contains_key(header::CONTENT_TYPE) && check_media(request.headers(), &[JSON]).is_err();
    match key.filter(|_| !rehearsal && !streams) {
        None => next.run(request).await,
        Some(key) => {
            once(&entry.api, entry.endpoint.pace, key, request, next).await.unwrap_or_else(IntoResponse::into_response)
        }
    }
}

/// Every check before a handler, in order. The caller is put beside the request.
async fn enter(entry: &Entry, info: &RequestInfo, parts: &mut Parts) -> Result<Option<Left>> {
    let Entry { api, endpoint } = entry;
    let settings = api.settings();
    host::check(&parts.headers, &parts.uri, &settings.hosts)?;
    limits::check_head(parts, endpoint, settings)?;
    let mut left = api.rates().of_address(info.address).await?;
    let credential = credential(&parts.headers, info.encrypted)?;
    if !matches!(credential, Some(Credential::Bearer(_))) {
        csrf::check(&parts.method, &parts.headers, credential.is_some())?;
    }
    if endpoint.access != Access::Open {
        let KnownCaller { principal: caller, requests_per_minute } =
            caller(api, &parts.headers, credential.as_ref()).await?;
        left = tighter(left, api.rates().of_caller(&caller, requests_per_minute).await?);
        parts.extensions.insert(caller.clone());
        if endpoint.is_page() {
            check_page(&parts.headers, &caller)?;
        }
        authorize(endpoint.access, Some(&caller))?;
        let kept = endpoint.method == "POST" && !endpoint.secret;
        if let Some(key) = idempotency::key(&parts.headers, &caller)?.filter(|_| kept) {
            parts.extensions.insert(key);
        }
    }
    query::check_known(endpoint, parts.uri.query())?;
    Ok(left)
}

/// What is known of a request from its first moment on.
fn info_of(api: &Api, parts: &Parts) -> RequestInfo {
    let loopback = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let peer = parts.extensions.get::<Peer>().map_or(loopback, |peer| peer.0.ip());
    let origin = origin(peer, &parts.headers, &api.settings().trusted_proxies);
    let encrypted = origin.encrypted.unwrap_or_else(|| parts.extensions.get::<Encrypted>().is_some());
    let (id, trace) = (info::id(&parts.headers), info::trace(&parts.headers));
    RequestInfo { id, trace, address: origin.address, encrypted }
}

/// Answers a request for an address that there is not.
pub(super) async fn no_address(State(api): State<Api>, request: Request) -> Response {
    let missing = |path: &str| ApiError::not_found(format!("there is no address `{path}` here"));
    lost(&api, request, |parts| missing(parts.uri.path()).hint("see /api/v1/openapi.json for those that there are"))
        .await
}

/// Answers a request with a method that its address does not have; `Allow` says which it has.
pub(super) async fn no_method(State(api): State<Api>, request: Request) -> Response {
    lost(&api, request, |parts| {
        let message = format!("`{}` cannot be asked with {}", parts.uri.path(), parts.method);
        ApiError::new(ErrorCode::MethodNotAllowed, message)
    })
    .await
}

/// Whether a person with a browser asks, outside of the API.
fn is_for_people(parts: &Parts) -> bool {
    let accepts = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepts.contains("text/html") && !parts.uri.path().starts_with("/api/")
}

async fn lost(api: &Api, request: Request, error: impl FnOnce(&Parts) -> ApiError) -> Response {
    let (parts, _) = request.into_parts();
    let (info, wish) = (info_of(api, &parts), Wish::of(&parts).page(is_for_people(&parts)));
    let checked = host::check(&parts.headers, &parts.uri, &api.settings().hosts);
    let counted = match checked {
        Ok(()) => api.rates().of_address(info.address).await.map(drop),
        Err(error) => Err(error),
    };
    let error = counted.err().unwrap_or_else(|| error(&parts));
    finish(&info, &wish, error.into_response())
}
