//! The HTTP request by which a service takes a notice: pure.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::notice::Notice;
use super::settings::{ChannelKind, ChannelSettings};
use super::words::Words;
use super::{chat, generic, incident};

/// The address and the token of a channel, as they are now.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The address.
    pub url: String,
    /// Whether it must not be seen.
    pub url_is_secret: bool,
    /// The token, key or routing key.
    pub token: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// What a service is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address. It may be a secret.
    pub url: String,
    /// The headers. That with the token is marked as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A POST of JSON.
    pub(super) fn json(url: String, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, url, headers, body: body.to_string().into_bytes() }
    }

    /// With a header that must not be seen.
    pub(super) fn with_secret(mut self, name: HeaderName, value: &str) -> Result<Self, String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| "the token holds a line end or another control character".to_owned())?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With the token, where there is one.
    pub(super) fn with_bearer(self, secrets: &Secrets) -> Result<Self, String> {
        match &secrets.token {
            Some(token) => self.with_secret(AUTHORIZATION, &format!("Bearer {token}")),
            None => Ok(self),
        }
    }
}

/// A notice with the title and the text that the channel wants.
///
/// # Errors
///
/// When a template cannot be filled.
pub fn worded(channel: &ChannelSettings, notice: &Notice) -> Result<Notice, String> {
    let words = Words::of(notice);
    let mut worded = notice.clone();
    if let Some(title) = &channel.title {
        worded.title = super::notice::one_line(&words.fill(title).map_err(|wrong| format!("`title`: {wrong}"))?);
    }
    if let Some(text) = &channel.text {
        words.fill(text).map_err(|wrong| format!("`text`: {wrong}"))?.trim().clone_into(&mut worded.text);
    }
    Ok(worded)
}

/// What the service of a channel is sent. `id` is the job's: a service that knows it already takes it once.
///
/// # Errors
///
/// When a template cannot be filled, or the channel is one of emails, which no request makes.
pub fn request(channel: &ChannelSettings, secrets: &Secrets, notice: &Notice, id: &str) -> Result<Request, String> {
    let notice = &worded(channel, notice)?;
    let to = channel.to.as_slice().first().map(String::as_str).unwrap_or_default();
    match channel.kind {
        ChannelKind::Slack => Ok(chat::slack(secrets, notice)),
        ChannelKind::Discord => Ok(chat::discord(secrets, notice)),
        ChannelKind::Teams => Ok(chat::teams(secrets, notice)),
        ChannelKind::Telegram => Ok(chat::telegram(secrets, to, notice)),
        ChannelKind::Ntfy => chat::ntfy(secrets, to, notice),
        ChannelKind::Matrix => chat::matrix(secrets, to, notice, id),
        ChannelKind::Pagerduty => Ok(incident::pagerduty(secrets, notice)),
        ChannelKind::Opsgenie => incident::opsgenie(secrets, notice),
        ChannelKind::Alertmanager => incident::alertmanager(secrets, notice),
        ChannelKind::Http => generic::http(channel, secrets, notice, id),
        ChannelKind::Email => Err("emails are made by jobs of kind `email`".to_owned()),
    }
}
