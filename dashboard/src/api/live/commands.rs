//! Commands over a WebSocket: each is a request to an endpoint, which passes the whole gate like any other.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, Method, Request, StatusCode, Uri, header};
use gristmill_core::json;
use gristmill_telemetry::{Encrypted, Peer};
use serde_json::Value;
use tower::ServiceExt;

use crate::gate::describe::{Argument, Endpoint, JSON};
use crate::gate::{Api, ApiError, ErrorCode, Result};

/// The most bytes of an answer that goes over the socket.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Of the headers with which the socket was opened, those that say who calls and from where.
const KEPT: [HeaderName; 9] = [
    header::HOST,
    header::AUTHORIZATION,
    header::COOKIE,
    header::ORIGIN,
    header::FORWARDED,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static(crate::gate::authenticate::TENANT),
];

/// The endpoints that commands may name.
#[derive(Debug, Clone)]
pub(in crate::api) struct Endpoints(pub(in crate::api) Router);

/// What commands over one socket need.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    router: Router,
    headers: HeaderMap,
    peer: Option<Peer>,
    encrypted: Option<Encrypted>,
}

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) idempotency_key: Option<String>,
}

impl FromRequestParts<Api> for Commands {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self> {
        let missing = || ApiError::internal("a socket was opened where there are no endpoints");
        let Endpoints(router) = parts.extensions.get::<Endpoints>().cloned().ok_or_else(missing)?;
        let mut headers = HeaderMap::new();
        for name in KEPT {
            for value in parts.headers.get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        let (peer, encrypted) = (parts.extensions.get().copied(), parts.extensions.get().copied());
        Ok(Self { router, headers, peer, encrypted })
    }
}

impl Argument for Commands {
    fn describe(_: &mut Endpoint) {}
}

impl Commands {
    /// Sends a command to its endpoint, and returns the status and the body of the answer.
    ///
    /// # Errors
    ///
    /// When it is no request at all, or its answer is not one for a socket. Whatever the endpoint answers is no error here.
    pub(super) async fn run(self, command: Command) -> Result<(StatusCode, Value)> {
        let request = self.request(command)?;
        let answer = self.router.oneshot(request).await.unwrap_or_else(|never| match never {});
        let status = answer.status();
        let media =
            answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !media.is_empty() && media != JSON {
            return Err(refused(format!("the answer is {media}; ask for it over HTTP")));
        }
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await.map_err(|_| {
            refused(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes; ask for less, or over HTTP"))
        })?;
        if body.is_empty() {
            return Ok((status, Value::Null));
        }
        let text = String::from_utf8_lossy(&body);
        let body =
            json::kept(&text).map_err(|error| ApiError::internal(format!("our own JSON cannot be read: {error}")))?;
        Ok((status, body))
    }

    fn request(&self, command: Command) -> Result<Request<Body>> {
        let Command { method, path, body, idempotency_key } = command;
        let method: Method = method.parse().map_err(|_| refused(format!("`{method}` is no method")))?;
        let uri: Uri = path.parse().map_err(|_| refused(format!("`{path}` is no address")))?;
        if uri.scheme().is_some() || !uri.path().starts_with("/api/v1/") {
            return Err(refused(format!("`{path}` is no address of the API; they begin with /api/v1/")));
        }
        let mut request = Request::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(JSON));
        if let Some(key) = idempotency_key {
            let key = key.parse().map_err(|_| refused("`idempotency_key` is no value of a header".to_owned()))?;
            request.headers_mut().insert(HeaderName::from_static("idempotency-key"), key);
        }
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        self.extend(request.extensions_mut());
        Ok(request)
    }

    fn extend(&self, extensions: &mut Extensions) {
        if let Some(peer) = self.peer {
            extensions.insert(peer);
        }
        if let Some(encrypted) = self.encrypted {
            extensions.insert(encrypted);
        }
    }
}

fn refused(message: String) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message)
}
