//! The payloads of jobs of the kinds `email`, `webhook`, `notify`, `exec` and `http`.

use std::collections::BTreeMap;

use gristmill_core::duration::Span;
use gristmill_core::letter::TRANSACTIONAL;
use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::unfit::plain;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::notify::severity::Severity;

/// The methods that a job may use.
const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD];

/// The kind of [`EmailPayload`].
pub const EMAIL: &str = "email";
/// The kind of [`WebhookPayload`].
pub const WEBHOOK: &str = "webhook";
/// The kind of [`NotifyPayload`].
pub const NOTIFY: &str = "notify";
/// The kind of [`ExecPayload`].
pub const EXEC: &str = "exec";
/// The kind of [`HttpPayload`].
pub const HTTP: &str = "http";

/// One message to its recipients: a template with its data, or a `subject` and a text as they are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailPayload {
    /// The recipient, or a list of those that all can see: each `name@example.com` or `Name <name@example.com>`.
    #[serde(default)]
    pub to: OneOrMany,
    /// Those that get a copy, and all can see.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub cc: OneOrMany,
    /// Those that get a copy, and no other recipient can see.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub bcc: OneOrMany,
    /// Who gets answers; the sender by default.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub reply_to: OneOrMany,
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
    /// The plain text of a message without a template. Where there is an HTML version alone, it is taken from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its HTML version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Headers of its own, such as `X-Campaign`. Those that a message has anyway are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Files that go with it, and images that its HTML version shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentPayload>,
    /// The stream that it belongs to: a recipient can take itself off one, and stay on the others. `transactional` by
    /// default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// What stands before the subject, whatever makes it, such as `[Test]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_prefix: Option<String>,
    /// `false`: no link to unsubscribe. By default there is one where it can be: on a stream other than `transactional`,
    /// for a message to one recipient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_unsubscribe: Option<bool>,
    /// Within what time since it was enqueued it must be sent, such as `10m` for a code that is of no use afterwards:
    /// then it is not sent any more. Counted from the enqueueing also where it starts later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<Span>,
}

/// A file that goes with a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentPayload {
    /// Its name, as readers save it.
    pub name: String,
    /// Its content in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Or the name of a file in the folder `[mail] attachments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it is, such as `text/csv`; known from its content or its name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The name by which the HTML version shows it: `logo` for `<img src="cid:logo">`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
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

/// One notification over a channel of `[notify]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyPayload {
    /// The channel's name.
    pub to: String,
    /// What happened, such as `batch.halted`; `notice` by default.
    #[serde(rename = "type", default = "default_event")]
    pub event: String,
    /// One line, at most 200 characters; made from `data` where that is a batch's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// More of it, at most 3,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `ok`, `info`, `warning` or `critical`; `info` by default, or what the batch's end means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What it is about, at most 200 characters: the same for a trouble and for its end (`ok`). By default the batch's
    /// name, or the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The page that shows it; by default the batch's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The event's own content, for templates of the channel.
    #[serde(default, skip_serializing_if = "Value::is_null", deserialize_with = "gristmill_core::json::value")]
    pub data: Value,
}

fn default_event() -> String {
    "notice".to_owned()
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
    /// The stream that it belongs to.
    pub(crate) fn stream(&self) -> &str {
        self.stream.as_deref().unwrap_or(TRANSACTIONAL)
    }

    /// Returns the template, or the subject and the texts of a message without one.
    ///
    /// # Errors
    ///
    /// When the payload has neither, or both.
    pub(crate) fn content(&self) -> Result<Content<'_>, String> {
        let direct = self.subject.is_some() || self.text.is_some() || self.html.is_some();
        match (&self.template, &self.subject) {
            (Some(_), _) if direct => {
                Err("the payload has a `template` and also `subject`, `text` or `html`; keep one of the two".to_owned())
            }
            (Some(name), _) => Ok(Content::Template(name)),
            (None, Some(subject)) if self.text.is_some() || self.html.is_some() => Ok(Content::Direct { subject }),
            (None, _) => Err("the payload needs a `template`, or a `subject` and a `text`".to_owned()),
        }
    }
}

/// What a message is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A template of this name, and the payload's data.
    Template(&'a str),
    /// The payload's own texts, as they are.
    Direct {
        /// The subject.
        subject: &'a str,
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
