//! The request by which each service takes a notice: pure.

use super::notice::{Notice, one_line};
use super::request::{Request, Secrets};
use super::settings::{ChannelKind, ChannelSettings};
use super::words::Words;
use super::{chat, generic, incident};

/// A notice with the title and the text that the channel wants.
///
/// # Errors
///
/// When a template cannot be filled.
pub fn worded(channel: &ChannelSettings, notice: &Notice) -> Result<Notice, String> {
    let words = Words::of(notice);
    let mut worded = notice.clone();
    if let Some(title) = &channel.title {
        worded.title = one_line(&words.fill(title).map_err(|wrong| format!("`title`: {wrong}"))?);
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
