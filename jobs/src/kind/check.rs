//! Whether a payload could be run at all: asked before a job waits for hours, only to die at once.

use gristmill_core::Instant;
use gristmill_core::id::is_name;
use gristmill_core::letter::stream_fault;
use gristmill_mail::compose::mailbox;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::http::add_headers;
use super::payload::{
    EMAIL, EXEC, EmailPayload, ExecPayload, HTTP, HttpPayload, NOTIFY, NotifyPayload, WEBHOOK, WebhookPayload, read,
};
use crate::mail::made::Addressed;
use crate::notify::Notice;
use crate::outbound;

/// Checks a payload as far as that is possible without the settings of the worker that will run the job. Payloads of
/// other kinds are not looked at.
///
/// # Errors
///
/// What is wrong, and at which key.
pub fn payload(kind: &str, payload: &Value) -> Result<(), String> {
    match kind {
        EMAIL => email(&read(kind, payload)?),
        WEBHOOK => {
            outbound::check(&read::<WebhookPayload>(kind, payload)?.url, "webhook.allow_private", true).map(drop)
        }
        NOTIFY => notify(&read(kind, payload)?),
        EXEC => exec(&read(kind, payload)?),
        HTTP => http(&read(kind, payload)?),
        _ => Ok(()),
    }
}

fn email(payload: &EmailPayload) -> Result<(), String> {
    Addressed::read(payload)?;
    if let Some(fault) = stream_fault(payload.stream()) {
        return Err(format!("`stream`: {fault}"));
    }
    payload.from.as_ref().map_or(Ok(()), |from| mailbox("`from`", from).map(drop))?;
    payload.content().map(drop)
}

fn notify(payload: &NotifyPayload) -> Result<(), String> {
    if !is_name(&payload.to) {
        return Err(format!("`to`: `{}` is not the name of a channel of [notify]", payload.to));
    }
    if payload.link.as_ref().is_some_and(|link| !link.starts_with("https://") && !link.starts_with("http://")) {
        return Err("`link` is not the address of a page; write one such as `https://example.com/`".to_owned());
    }
    Notice::of(payload, Instant::UNIX_EPOCH, "").map(drop)
}

fn exec(payload: &ExecPayload) -> Result<(), String> {
    if payload.command.first().is_none_or(String::is_empty) {
        return Err("`command` is empty; write for example [\"python3\", \"work.py\"]".to_owned());
    }
    let nul = |text: &String| text.contains('\0');
    if payload.command.iter().chain(payload.env.keys()).chain(payload.env.values()).any(nul) {
        return Err("`command` or `env` has a NUL in it, which no program can be given".to_owned());
    }
    Ok(())
}

fn http(payload: &HttpPayload) -> Result<(), String> {
    payload.method()?;
    let written = payload.headers.iter().filter(|(_, text)| !text.starts_with("env:"));
    add_headers(&mut HeaderMap::new(), written, |_| false)?;
    outbound::check(&payload.url, "http.allow_private", true).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_worker_could_run_is_refused_before_it_waits() {
        let refused = [
            (EMAIL, serde_json::json!(null), "null, and no object"),
            (EMAIL, serde_json::json!({"to": "nobody", "subject": "s", "text": "t"}), "`to`"),
            (EMAIL, serde_json::json!({"to": "a@example.com"}), "`template`, or a `subject` and a `text`"),
            (EMAIL, serde_json::json!({"to": "a@example.com", "template": "x", "text": "t"}), "keep one of the two"),
            (WEBHOOK, serde_json::json!({"url": "ftp://example.com", "type": "a", "data": 1}), "`ftp://`"),
            (NOTIFY, serde_json::json!({"to": "ops"}), "`title` is missing"),
            (NOTIFY, serde_json::json!({"to": "the ops", "title": "t"}), "not the name of a channel"),
            (NOTIFY, serde_json::json!({"to": "ops", "title": "t", "severity": "bad"}), "critical"),
            (NOTIFY, serde_json::json!({"to": "ops", "title": "t", "link": "javascript:1"}), "`link`"),
            (EXEC, serde_json::json!({"command": []}), "`command` is empty"),
            (EXEC, serde_json::json!({"command": ["a\u{0}b"]}), "NUL"),
            (HTTP, serde_json::json!({"url": "example.com"}), "not a URL"),
            (HTTP, serde_json::json!({"url": "https://example.com", "method": "post"}), "must be one of GET"),
            (
                HTTP,
                serde_json::json!({"url": "https://example.com", "headers": {"a b": "c"}}),
                "not the name of a header",
            ),
            (HTTP, serde_json::json!({"url": "https://example.com", "headers": {"a": "c\r\nd: e"}}), "line end"),
        ];
        for (kind, payload, word) in refused {
            let text = super::payload(kind, &payload).expect_err(word);
            assert!(text.contains(word) && !text.contains("Payload"), "{text}");
        }
        let fine = [
            (EMAIL, serde_json::json!({"to": "Ada <a@example.com>", "template": "welcome", "data": {}})),
            (WEBHOOK, serde_json::json!({"url": "http://10.0.0.1/", "type": "a", "data": null})),
            (NOTIFY, serde_json::json!({"to": "ops", "title": "t", "severity": "warning"})),
            (EXEC, serde_json::json!({"command": ["true"]})),
            (HTTP, serde_json::json!({"url": "http://localhost:1/", "headers": {"authorization": "env:TOKEN"}})),
            ("report", Value::Null),
        ];
        for (kind, payload) in fine {
            assert_eq!(super::payload(kind, &payload), Ok(()), "{kind} {payload}");
        }
    }
}
