//! The answer as it is sent: the envelope, the tag, the fields that are wanted, the error in the form that is wanted.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use chrono::{SecondsFormat, Utc};
use gristmill_core::json;
use serde_json::{Map, Value, json};

use super::answer::Document;
use super::describe::JSON;
use super::error::{ApiError, ErrorCode};
use super::info::{REQUEST_ID, RequestInfo};
use super::text::{decoded, encoded};

/// Errors in the form of RFC 9457.
const PROBLEM: &str = "application/problem+json";

/// What an answer must look like, by the head of its request.
#[derive(Debug, Clone)]
pub struct Wish {
    method: Method,
    uri: Uri,
    problem: bool,
    page: bool,
    known: Vec<String>,
    fields: Vec<String>,
}

impl Wish {
    /// The same for an endpoint that is a page, or one that would be: its errors are left to those who write pages.
    #[must_use]
    pub fn page(self, page: bool) -> Self {
        Self { page, ..self }
    }

    /// What the head of a request wishes.
    pub fn of(parts: &Parts) -> Self {
        let texts = |name: HeaderName| parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let read = matches!(parts.method, Method::GET | Method::HEAD);
        let query = if read { decoded(parts.uri.query().unwrap_or_default()) } else { Vec::new() };
        let fields = query.iter().filter(|(name, _)| name == "fields").flat_map(|(_, text)| text.split(','));
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            problem: texts(header::ACCEPT).any(|accept| accept.contains(PROBLEM)),
            page: false,
            known: texts(header::IF_NONE_MATCH).flat_map(tags).collect(),
            fields: fields.map(str::trim).filter(|field| !field.is_empty()).map(str::to_owned).collect(),
        }
    }
}

/// The tags of `If-None-Match` or `If-Match`, without the mark of weak ones: what stands in an envelope is the same
/// document under each id of a request.
pub fn tags(text: &str) -> impl Iterator<Item = String> {
    text.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_owned())
}

/// Writes the answer: an envelope around a document or an error; anything else goes as it is.
pub fn finish(info: &RequestInfo, wish: &Wish, mut response: Response) -> Response {
    let error = response.extensions_mut().remove::<ApiError>();
    let document = response.extensions_mut().remove::<Document>();
    let mut response = match (error, document) {
        (Some(error), _) if wish.page => refused(info, wish, response, error),
        (Some(error), _) => failed(info, wish, response, &error),
        (None, Some(document)) => match selected(wish, document) {
            Ok(document) => shown(info, wish, response, document),
            Err(error) => failed(info, wish, Response::default(), &error),
        },
        (None, None) => response,
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(&info.id) {
        headers.insert(HeaderName::from_static(REQUEST_ID), id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn failed(info: &RequestInfo, wish: &Wish, response: Response, error: &ApiError) -> Response {
    let mut response = headed(info, wish, response, error);
    let (media, body) =
        if wish.problem { (PROBLEM, problem(info, wish, error)) } else { (JSON, envelope(info, error)) };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if error.code == ErrorCode::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"gristmill\""));
    }
    *response.body_mut() = Body::from(body.to_string());
    response
}

/// An error whose page is written outside: it stays in the answer.
fn refused(info: &RequestInfo, wish: &Wish, response: Response, error: ApiError) -> Response {
    let mut response = headed(info, wish, response, &error);
    response.extensions_mut().insert(error);
    response
}

/// The log's line about an error, and what every answer with one says in its head.
fn headed(info: &RequestInfo, wish: &Wish, mut response: Response, error: &ApiError) -> Response {
    log(info, wish, error);
    *response.status_mut() = error.code.status();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::CONTENT_LENGTH);
    if let Some(wait) = error.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response
}

/// Whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn envelope(info: &RequestInfo, error: &ApiError) -> Value {
    json!({
        "success": false,
        "data": null,
        "error": { "code": error.code, "message": error.message, "details": details(error) },
        "timestamp": now(),
        "requestId": info.id,
    })
}

/// What there is to say besides the message.
fn details(error: &ApiError) -> Map<String, Value> {
    let mut details = Map::new();
    details.insert("retryable".to_owned(), error.code.is_retryable().into());
    if let Some(hint) = &error.hint {
        details.insert("hint".to_owned(), (&**hint).into());
    }
    if !error.faults.is_empty() {
        details.insert("faults".to_owned(), json!(error.faults));
    }
    if let Some(quota) = &error.quota {
        details.insert("quota".to_owned(), json!(quota));
    }
    if let Some(progress) = &error.progress {
        details.insert("progress".to_owned(), Value::clone(progress));
    }
    details
}

fn problem(info: &RequestInfo, wish: &Wish, error: &ApiError) -> Value {
    let mut problem = details(error);
    let members = [
        ("type", format!("urn:gristmill:error:{}", error.code).into()),
        ("title", error.code.title().into()),
        ("status", error.code.status().as_u16().into()),
        ("detail", error.message.as_str().into()),
        ("instance", wish.uri.path().into()),
        ("code", error.code.as_str().into()),
        ("requestId", info.id.as_str().into()),
        ("timestamp", now().into()),
    ];
    problem.extend(members.map(|(name, value): (_, Value)| (name.to_owned(), value)));
    Value::Object(problem)
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn log(info: &RequestInfo, wish: &Wish, error: &ApiError) {
    let (request, code, trace) = (info.id.as_str(), error.code.as_str(), info.trace.to_string());
    let (method, path) = (wish.method.as_str(), wish.uri.path());
    match &error.cause {
        Some(cause) => tracing::error!(request, trace, method, path, code, cause = &**cause, "a request failed"),
        // The message may quote what was sent.
        None => {
            tracing::info!(request, trace, method, path, code, faults = error.faults.len(), "a request was refused")
        }
    }
    metrics::counter!("gristmill_http_errors_total", "code" => code.to_owned()).increment(1);
}

fn shown(info: &RequestInfo, wish: &Wish, mut response: Response, document: Document) -> Response {
    let read = matches!(wish.method, Method::GET | Method::HEAD) && response.status() == StatusCode::OK;
    let next = document.next.as_deref();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.remove(header::CONTENT_LENGTH);
    headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(if read { "private, no-cache" } else { "no-store" }));
    if let Some(link) = next.and_then(|next| HeaderValue::try_from(link(&wish.uri, next)).ok()) {
        headers.insert(header::LINK, link);
    }
    if read {
        let (tag, shown) = tag(&document);
        headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie, gristmill-tenant"));
        if let Ok(shown) = HeaderValue::try_from(shown) {
            headers.insert(header::ETAG, shown);
        }
        if wish.known.iter().any(|known| *known == tag || known == "*") {
            headers.remove(header::CONTENT_TYPE);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
    }
    *response.body_mut() = Body::from(enclosed(info, &document.data, next));
    response
}

/// The envelope around a document that is written already.
fn enclosed(info: &RequestInfo, data: &Bytes, next: Option<&str>) -> Vec<u8> {
    let cursor = next.map(|next| format!("\"nextCursor\":{},", Value::from(next))).unwrap_or_default();
    let rest =
        format!(",{cursor}\"error\":null,\"timestamp\":\"{}\",\"requestId\":{}}}", now(), Value::from(&*info.id));
    [b"{\"success\":true,\"data\":".as_slice(), data, rest.as_bytes()].concat()
}

/// The tag of a document, bare and as it is sent. It is weak: time and id in the envelope differ each time.
pub fn tag(document: &Document) -> (String, String) {
    let bare = document.version.clone().unwrap_or_else(|| {
        let mut hasher = DefaultHasher::new();
        hasher.write(&document.data);
        hasher.write(document.next.as_deref().unwrap_or_default().as_bytes());
        let hash = hasher.finish();
        document.edition.as_ref().map_or_else(|| format!("{hash:016x}"), |edition| format!("{edition}.{hash:016x}"))
    });
    let sent = format!("W/\"{bare}\"");
    (bare, sent)
}

/// The same address with another beginning.
fn link(uri: &Uri, next: &str) -> String {
    let query = decoded(uri.query().unwrap_or_default());
    let others = query.iter().filter(|(name, _)| name != "after");
    let pairs = others.map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    let query: Vec<String> = pairs.chain([format!("after={}", encoded(next))]).collect();
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}

/// The document with the fields that are wanted.
fn selected(wish: &Wish, document: Document) -> Result<Document, ApiError> {
    if wish.fields.is_empty() {
        return Ok(document);
    }
    let text = String::from_utf8_lossy(&document.data);
    let value =
        json::kept(&text).map_err(|error| ApiError::internal(format!("our own JSON cannot be read: {error}")))?;
    let part = match value {
        Value::Array(rows) => Value::Array(rows.iter().map(|row| part(row, &wish.fields)).collect::<Result<_, _>>()?),
        one => part(&one, &wish.fields)?,
    };
    Ok(Document { data: Bytes::from(part.to_string()), ..document })
}

/// The fields of an object by their paths, such as `counts.ok`.
fn part(whole: &Value, fields: &[String]) -> Result<Value, ApiError> {
    let mut part = Value::Object(Map::new());
    for field in fields {
        let mut from = whole;
        let mut into = &mut part;
        let mut steps = field.split('.').peekable();
        while let Some(step) = steps.next() {
            let Some(found) = from.as_object().and_then(|object| object.get(step)) else {
                let known = from.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>().join(", "));
                let known = known.map_or_else(|| "it has no fields".to_owned(), |known| format!("there are {known}"));
                return Err(ApiError::fault("?fields", format!("`{field}` is no field of this document: {known}")));
            };
            from = found;
            let Value::Object(object) = into else { break };
            let empty = if steps.peek().is_some() { Value::Object(Map::new()) } else { found.clone() };
            into = object.entry(step).or_insert(empty);
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_that_are_wanted_are_there_and_no_others() {
        let whole = json!({ "id": 7, "counts": { "ok": 1, "input": 2 }, "name": "a" });
        let fields = ["id", "counts.ok", "counts.input"].map(str::to_owned);
        assert_eq!(part(&whole, &fields).expect("known"), json!({ "id": 7, "counts": { "ok": 1, "input": 2 } }));
        let error = part(&whole, &["counts.okay".to_owned()]).expect_err("unknown");
        assert!(error.message.contains("there are ok, input"), "{}", error.message);
    }

    #[test]
    fn the_next_page_has_the_same_filters() {
        let uri: Uri = "/api/v1/jobs?state=dead&after=a&queue=x%26y".parse().expect("an address");
        assert_eq!(link(&uri, "b c"), "</api/v1/jobs?state=dead&queue=x%26y&after=b%20c>; rel=\"next\"");
    }

    #[test]
    fn tags_are_compared_without_their_marks() {
        assert_eq!(tags("W/\"a\", \"b\" , *").collect::<Vec<_>>(), ["a", "b", "*"]);
    }
}
