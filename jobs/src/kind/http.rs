//! Kind `http`: one request; its answer is the job's output.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::handler::{Finish, Handler, JobContext};
use crate::kind::payload::{self, HttpPayload};
use crate::kind::webhook::trouble;
use crate::outbound::{Answer, NoAnswer, Outbound};
use crate::secret;
use crate::settings::HttpSettings;

/// Sends requests.
#[derive(Debug)]
pub struct HttpHandler {
    settings: HttpSettings,
    outbound: Outbound,
}

impl HttpHandler {
    /// Creates one from the settings.
    pub fn new(settings: &HttpSettings) -> Self {
        let outbound = Outbound::new(
            "http.allow_private",
            settings.allow_private,
            settings.timeout.0,
            settings.response_bytes_max,
        );
        Self { settings: settings.clone(), outbound }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let payload: HttpPayload = payload::read(payload::HTTP, &context.job.payload).map_err(Finish::permanent)?;
        let method = payload.method().map_err(Finish::permanent)?;
        let headers = self.headers(&payload, context).map_err(Finish::permanent)?;
        let body = match &payload.body {
            Value::Null => None,
            Value::String(text) => Some(text.clone().into_bytes()),
            other => Some(other.to_string().into_bytes()),
        };
        match self.outbound.send(method, &payload.url, headers, body).await {
            Ok(answer) => Ok(trouble(&answer, "the service", self.settings.retry_after)
                .unwrap_or_else(|| Finish::done(Some(output(&answer))))),
            Err(NoAnswer::NotAllowed(reason)) => Err(Finish::permanent(reason)),
            Err(other) => Err(Finish::failed(other.message())),
        }
    }

    fn headers(&self, payload: &HttpPayload, context: &JobContext) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", value("idempotency-key", &context.job.fence.job.to_string())?);
        if let Some(trace) = &context.job.trace {
            headers.insert("traceparent", value("traceparent", trace)?);
        }
        if !matches!(payload.body, Value::Null | Value::String(_)) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let known = |name: &str| self.settings.env.iter().any(|known| known == name);
        add_headers(&mut headers, &payload.headers, known)?;
        Ok(headers)
    }
}

#[async_trait]
impl Handler for HttpHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

/// Adds headers as written, or `env:NAME` from the environment if `may_name` allows it.
///
/// # Errors
///
/// When a name or value is not valid in a header, or the variable is not set or may not be named.
pub(crate) fn add_headers<'a>(
    headers: &mut HeaderMap,
    written: impl IntoIterator<Item = (&'a String, &'a String)>,
    may_name: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, text) in written {
        let parsed =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not the name of a header"))?;
        let text = match text.strip_prefix("env:") {
            None => text.clone(),
            Some(variable) if may_name(variable) => secret::variable(&format!("the header `{name}`"), variable)?,
            Some(variable) => {
                return Err(format!(
                    "the header `{name}` names the environment variable {variable}, which is not in `http.env`"
                ));
            }
        };
        let mut value = value(name, &text)?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(())
}

pub(crate) fn value(name: &str, text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| format!("the value of the header `{name}` holds a line end or another control character"))
}

/// The answer, its body as JSON if it is JSON that can be kept exactly, else as text.
fn output(answer: &Answer) -> Value {
    let text = answer.text();
    let body = match gristmill_core::json::read(text.as_bytes()) {
        Ok(body) if !answer.cut => body,
        _ => Value::String(text.into_owned()),
    };
    let mut output = json!({ "status": answer.status, "body": body });
    if answer.cut {
        output["cut"] = Value::Bool(true);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_cannot_be_kept_exactly_is_kept_as_a_text() {
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let odd = json!({ "$serde_json::private::RawValue": "[1]" });
        for (body, kept) in [
            (deep.clone(), json!(deep)),
            ("{\"id\":123456789012345678901234567890}".to_owned(), json!("{\"id\":123456789012345678901234567890}")),
            (odd.to_string(), odd),
            ("{\"id\":1}".to_owned(), json!({ "id": 1 })),
        ] {
            let answer =
                Answer { status: 200, retry_after: None, body: body.into_bytes(), cut: false, content_type: None };
            assert_eq!(output(&answer)["body"], kept);
        }
    }
}
