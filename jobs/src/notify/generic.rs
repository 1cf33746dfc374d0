//! Any other service: a request of one's own.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use super::notice::Notice;
use super::request::{Request, Secrets};
use super::settings::ChannelSettings;
use super::words::Words;

/// The body that the channel's template makes; without one, the notice as JSON.
pub(super) fn http(channel: &ChannelSettings, secrets: &Secrets, notice: &Notice, id: &str) -> Result<Request, String> {
    let mut request = Request::json(secrets.url.clone(), &json!(notice)).with_bearer(secrets)?;
    if let Some(template) = &channel.body {
        let body = Words::of(notice).fill(template).map_err(|wrong| format!("`body`: {wrong}"))?;
        if serde_json::from_str::<serde::de::IgnoredAny>(&body).is_err() {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        }
        request.body = body.into_bytes();
    }
    if let Some(method) = &channel.method {
        request.method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    }
    request.headers.insert("idempotency-key", header("idempotency-key", id)?);
    for (name, value) in &channel.headers {
        let known =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not the name of a header"))?;
        request.headers.insert(known, header(name, value)?);
    }
    Ok(request)
}

fn header(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` holds a control character"))
}
