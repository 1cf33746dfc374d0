//! Kind `webhook`: one POST, signed according to Standard Webhooks 1.0.0 (standardwebhooks.com).

use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;

use crate::handler::{Finish, Handler, JobContext};
use crate::kind::payload::{self, WebhookPayload};
use crate::outbound::{self, Answer, NoAnswer, Outbound};
use crate::secret;
use crate::settings::{RetryAfter, WebhookSettings};
use crate::signature::{key, signatures};

/// The setting that opens the guard.
const KEY: &str = "webhook.allow_private";

/// Checks whether a webhook's URL may be called, as far as its text alone shows: the address behind its host name is
/// only known when it is called.
///
/// # Errors
///
/// When its scheme or address is not allowed: a text that names the setting that would allow it.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), String> {
    outbound::check(url, KEY, allow_private).map(drop)
}

/// Sends signed notifications. Without any secret in `[webhook]` or the payload they are sent unsigned.
#[derive(Debug)]
pub struct WebhookHandler {
    settings: WebhookSettings,
    outbound: Outbound,
}

impl WebhookHandler {
    /// Creates one from the settings. Secrets are read at each attempt, so that one can be rotated in a file without a
    /// restart.
    pub fn new(settings: &WebhookSettings) -> Self {
        let outbound = Outbound::new(KEY, settings.allow_private, settings.timeout.0, settings.response_bytes_max);
        Self { settings: settings.clone(), outbound }
    }

    async fn attempt(&self, context: &JobContext) -> Result<Finish, Finish> {
        let job = &context.job;
        let payload: WebhookPayload = payload::read(payload::WEBHOOK, &job.payload).map_err(Finish::permanent)?;
        let secrets = self.secrets(&payload).map_err(Finish::permanent)?;
        // The event's own time, the same at every attempt; the attempt's time is in the header.
        let body = json!({ "type": payload.event, "timestamp": job.created_at.to_rfc3339(), "data": payload.data })
            .to_string();
        let id = job.fence.job.to_string();
        let timestamp = job.started_at.timestamp();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", header(&id).map_err(Finish::permanent)?);
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        if !secrets.is_empty() {
            let signed = signatures(&secrets, &id, timestamp, body.as_bytes());
            headers.insert("webhook-signature", header(&signed).map_err(Finish::permanent)?);
        }
        if let Some(trace) = job.trace.as_deref().and_then(|trace| HeaderValue::from_str(trace).ok()) {
            headers.insert("traceparent", trace);
        }
        match self.outbound.send(Method::POST, &payload.url, headers, Some(body.into_bytes())).await {
            Ok(answer) if answer.status == 410 => Err(Finish::permanent(
                "the receiver answers 410 Gone: it wants no more; take this webhook out of the configuration",
            )),
            Ok(answer) => Ok(trouble(&answer, "the receiver", self.settings.retry_after)
                .unwrap_or_else(|| Finish::done(Some(json!({ "status": answer.status }))))),
            Err(NoAnswer::NotAllowed(reason)) => Err(Finish::permanent(reason)),
            Err(other) => Err(Finish::failed(other.message())),
        }
    }

    /// Whether a payload may have a request signed with what is in this variable.
    fn may_name(&self, name: &str) -> bool {
        self.settings.secret_env.as_deref() == Some(name) || self.settings.env.iter().any(|known| known == name)
    }

    fn secrets(&self, payload: &WebhookPayload) -> Result<Vec<Vec<u8>>, String> {
        let text = match &payload.secret_env {
            Some(name) if self.may_name(name) => Some(secret::variable("the payload's `secret_env`", name)?),
            Some(name) => {
                return Err(format!(
                    "the payload's `secret_env` names the environment variable {name}, which is not in `webhook.env`"
                ));
            }
            None => secret::read(
                "webhook.secret",
                self.settings.secret_env.as_deref(),
                self.settings.secret_file.as_deref(),
            )?,
        };
        text.iter().flat_map(|text| text.split_ascii_whitespace()).map(key).collect()
    }
}

#[async_trait]
impl Handler for WebhookHandler {
    async fn run(&self, context: JobContext) -> Finish {
        self.attempt(&context).await.unwrap_or_else(|finish| finish)
    }
}

/// What a status means to a job; `who` names the other side. A 2xx is no trouble. Redirects are never followed, because
/// they could lead anywhere; 408, 425, 429 and 5xx may be temporary, and `later` decides what a 429 or 503 that asks
/// for a later retry means.
pub(crate) fn trouble(answer: &Answer, who: &str, later: RetryAfter) -> Option<Finish> {
    let said = said(answer);
    Some(match answer.status {
        200..=299 => return None,
        300..=399 => Finish::permanent(format!("{who} answers {said}: redirects are not followed; give the final URL")),
        408 | 425 | 429 | 500..=599 => {
            let text = format!("{who} answers {said}");
            match (answer.retry_after, later) {
                (None, _) => Finish::failed(text),
                (Some(wait), RetryAfter::Snooze) if matches!(answer.status, 429 | 503) => Finish::snooze(text, wait),
                (Some(wait), RetryAfter::Snooze | RetryAfter::Attempt) => Finish::failed_until(text, wait),
            }
        }
        _ => Finish::permanent(format!("{who} answers {said}: it will not take this as it is")),
    })
}

/// The status and the beginning of the body.
fn said(answer: &Answer) -> String {
    let body = answer.text();
    let words: String = body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if words.is_empty() { answer.status.to_string() } else { format!("{} (`{words}`)", answer.status) }
}

fn header(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|error| format!("a header cannot be written: {error}"))
}
