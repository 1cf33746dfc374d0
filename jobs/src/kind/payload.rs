//! The payloads of jobs of the kinds `email`, `webhook`, `exec` and `http`.

use std::collections::BTreeMap;

use gristmill_core::unfit::plain;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The methods that a job may use.
const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];

/// The kind of [`EmailPayload`].
pub const EMAIL: &str = "email";
/// The kind of [`WebhookPayload`].
pub const WEBHOOK: &str = "webhook";
/// The kind of [`ExecPayload`].
pub const EXEC: &str = "exec";
/// The kind of [`HttpPayload`].
pub const HTTP: &str = "http";

/// One message to one recipient: a template with its data, or `subject` and `text` as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailPayload {
    /// The recipient: `name@example.com` or `Name <name@example.com>`. Only one.
    pub to: String,
    /// The sender; `[mail] from` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The template's name, such as `batch-report`. Instead of `subject`, `text` and `html`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The data that fills the template: an object.
    #[serde(default, skip_serializing_if = "Value::is_null", deserialize_with = "gristmill_core::json::value")]
    pub data: Value,
    /// The subject of a message without a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The plain text of a message without a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its HTML version, in addition to the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
}

/// One signed POST of `{"type", "timestamp", "data"}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookPayload {
    /// The address.
    pub url: String,
    /// What happened, such as `batch.complete`.
    #[serde(rename = "type")]
    pub event: String,
    /// The event's own content.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub data: Value,
    /// The environment variable that holds this receiver's secrets; `[webhook]`'s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
}

/// One run of a program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecPayload {
    /// The program, one of those in `[exec] programs`, and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Its standard input, as one line of JSON.
    #[serde(default, deserialize_with = "gristmill_core::json::value")]
    pub input: Value,
    /// Variables added to the environment: those that `[exec] payload_env` names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// One HTTP request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpPayload {
    /// `GET`, `POST`, `PUT`, `PATCH`, `DELETE` or `HEAD`; `POST` by default.
    #[serde(default = "default_method")]
    pub method: String,
    /// The address.
    pub url: String,
    /// Headers of the request. A value `env:NAME` is read from the worker's environment, if `[http] env` names it, so
    /// that no secret is stored in a payload.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body: a text is sent as it is, anything else as JSON, null not at all.
    #[serde(default, skip_serializing_if = "Value::is_null", deserialize_with = "gristmill_core::json::value")]
    pub body: Value,
}

fn default_method() -> String {
    "POST".to_owned()
}

/// Reads the payload of a kind.
///
/// # Errors
///
/// When a key is missing, unknown or of the wrong type: a text that names it and the kind. No retry helps.
pub fn read<P: DeserializeOwned>(kind: &str, payload: &Value) -> Result<P, String> {
    let wrong = |why: String| format!("the payload of a job of kind `{kind}` cannot be read: {why}");
    if !payload.is_object() {
        return Err(wrong(format!("it is {}, and no object such as {}", form(payload), example(kind))));
    }
    P::deserialize(payload).map_err(|error| wrong(plain(&error.to_string())))
}

fn form(payload: &Value) -> &'static str {
    match payload {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn example(kind: &str) -> &'static str {
    match kind {
        EMAIL => r#"{"to": "a@example.com", "subject": "…", "text": "…"}"#,
        WEBHOOK => r#"{"url": "https://example.com/hook", "type": "order.paid", "data": {}}"#,
        EXEC => r#"{"command": ["program", "argument"]}"#,
        _ => r#"{"url": "https://example.com/"}"#,
    }
}

impl EmailPayload {
    /// Returns the template, or the subject and the text of a message without one.
    ///
    /// # Errors
    ///
    /// When the payload has neither, or both.
    pub(crate) fn content(&self) -> Result<Content<'_>, String> {
        let direct = self.subject.is_some() || self.text.is_some() || self.html.is_some();
        match (&self.template, &self.subject, &self.text) {
            (Some(_), _, _) if direct => {
                Err("the payload has a `template` and also `subject`, `text` or `html`; keep one of the two".to_owned())
            }
            (Some(name), _, _) => Ok(Content::Template(name)),
            (None, Some(subject), Some(text)) => Ok(Content::Direct { subject, text }),
            (None, _, _) => Err("the payload needs a `template`, or a `subject` and a `text`".to_owned()),
        }
    }
}

/// What a message is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A template of this name, and the payload's data.
    Template(&'a str),
    /// These texts, as they are.
    Direct {
        /// The subject.
        subject: &'a str,
        /// The plain text.
        text: &'a str,
    },
}

impl HttpPayload {
    /// Returns its method.
    ///
    /// # Errors
    ///
    /// When it is none that a job may use.
    pub(crate) fn method(&self) -> Result<Method, String> {
        METHODS.into_iter().find(|known| known.as_str() == self.method).ok_or_else(|| {
            let known = METHODS.map(|method| method.to_string()).join(", ");
            format!("`method` is `{}`; it must be one of {known}", self.method)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_payload_is_named() {
        let cases = [
            (read::<EmailPayload>(EMAIL, &serde_json::json!({"too": "a@b.example"})).map(drop), "too"),
            (read::<WebhookPayload>(WEBHOOK, &serde_json::json!({"url": "x", "data": 1})).map(drop), "type"),
            (read::<ExecPayload>(EXEC, &serde_json::json!({"command": "ls"})).map(drop), "a list"),
            (read::<HttpPayload>(HTTP, &serde_json::json!({"url": "x", "header": {}})).map(drop), "header"),
        ];
        for (result, word) in cases {
            let error = result.expect_err(word);
            assert!(error.contains(word) && error.contains("kind `"), "{error}");
        }
    }

    #[test]
    fn a_bare_url_is_a_post_without_a_body() {
        let payload: HttpPayload = read(HTTP, &serde_json::json!({"url": "https://example.com"})).expect("enough");
        assert_eq!((payload.method.as_str(), payload.body), ("POST", Value::Null));
    }
}
