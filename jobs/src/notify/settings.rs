//! What a channel is: `[notify.NAME]` in `config.toml`.

use std::collections::BTreeMap;

use gristmill_core::one_or_many::OneOrMany;
use gristmill_core::words;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use super::words::Words;
use crate::secret;

words! {
    /// The services that are spoken to.
    pub enum ChannelKind {
        /// An incoming webhook of Slack, or of what takes the same (Mattermost, Rocket.Chat).
        Slack = "slack",
        /// A webhook of a channel in Discord.
        Discord = "discord",
        /// A workflow of Microsoft Teams that is started by a web request.
        Teams = "teams",
        /// A bot of Telegram.
        Telegram = "telegram",
        /// A topic of ntfy.
        Ntfy = "ntfy",
        /// A room of Matrix.
        Matrix = "matrix",
        /// PagerDuty, by its Events API v2.
        Pagerduty = "pagerduty",
        /// Opsgenie, or what takes the same (Jira Service Management).
        Opsgenie = "opsgenie",
        /// Alertmanager of Prometheus, by its API v2.
        Alertmanager = "alertmanager",
        /// Any other service, with a body of one's own.
        Http = "http",
        /// Emails, by jobs of kind `email`.
        Email = "email",
    }
}

/// All channels, and what they share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NotifySettings {
    /// `[notify.NAME]`, by name.
    pub channels: BTreeMap<String, ChannelSettings>,
    /// Where this installation's pages are reached, without a slash at the end; empty: notices have no link.
    pub pages: String,
}

/// A channel: `[notify.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// The service.
    pub kind: ChannelKind,
    /// Its address, where that is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The environment variable that holds the address, where that is a secret: who knows it may write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_env: Option<String>,
    /// A file that holds it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<String>,
    /// The environment variable that holds the token, key or routing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// A file that holds it instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// To whom: a chat's id (Telegram), a topic (ntfy), a room's id (Matrix), or addresses (email).
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub to: OneOrMany,
    /// A template of the title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A template of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// For `http`: the method, `POST` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// For `http`: headers. None of them is secret: the token goes as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// For `http`: a template of the body; by default the notice as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// What a kind takes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// It must be there.
    Needs,
    /// It may be there.
    May,
    /// It means nothing.
    No,
}

/// What a kind takes.
struct Shape {
    /// An address that is shown.
    url: Takes,
    /// An address that is secret.
    secret_url: Takes,
    token: Takes,
    /// How many it is sent to at most.
    to: (Takes, usize),
    /// A request of one's own.
    own: Takes,
}

impl ChannelKind {
    fn shape(self) -> Shape {
        use Takes::{May, Needs, No};
        let (url, secret_url, token, to, own) = match self {
            Self::Slack | Self::Discord | Self::Teams => (No, Needs, No, (No, 0), No),
            Self::Telegram => (May, No, Needs, (Needs, 1), No),
            Self::Ntfy => (May, No, May, (Needs, 1), No),
            Self::Matrix => (Needs, No, Needs, (Needs, 1), No),
            Self::Pagerduty | Self::Opsgenie => (May, No, Needs, (No, 0), No),
            Self::Alertmanager => (Needs, No, May, (No, 0), No),
            Self::Http => (May, May, May, (No, 0), May),
            Self::Email => (No, No, No, (Needs, 100), No),
        };
        Shape { url, secret_url, token, to, own }
    }

    /// Its address where none is given.
    pub(super) fn usual_url(self) -> Option<&'static str> {
        match self {
            Self::Telegram => Some("https://api.telegram.org"),
            Self::Ntfy => Some("https://ntfy.sh"),
            Self::Pagerduty => Some("https://events.pagerduty.com"),
            Self::Opsgenie => Some("https://api.opsgenie.com"),
            _ => None,
        }
    }
}

impl ChannelSettings {
    /// One of a kind, with nothing else.
    pub fn new(kind: ChannelKind) -> Self {
        Self {
            kind,
            url: None,
            url_env: None,
            url_file: None,
            token_env: None,
            token_file: None,
            to: OneOrMany::default(),
            title: None,
            text: None,
            method: None,
            headers: BTreeMap::new(),
            body: None,
        }
    }

    /// What is wrong with it, each with its key.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let (shape, kind) = (self.kind.shape(), self.kind);
        let mut faults = Vec::new();
        let secret_url = self.url_env.is_some() || self.url_file.is_some();
        let token = self.token_env.is_some() || self.token_file.is_some();
        if self.url.is_some() && shape.url == Takes::No && shape.secret_url == Takes::Needs {
            let wrong = format!(
                "everyone who knows the address of a {kind} webhook may write there; name its variable in `url_env`, or a file in `url_file`"
            );
            faults.push(("url", wrong));
        } else {
            self.taken(
                &mut faults,
                "url",
                self.url.is_some(),
                shape.url,
                "the address of the server, such as `https://example.com`",
            );
            self.taken(
                &mut faults,
                "url_env",
                secret_url,
                shape.secret_url,
                "the variable that holds the address, or a file in `url_file`",
            );
        }
        if kind == ChannelKind::Http && self.url.is_none() && !secret_url {
            faults.push(("url", "is missing; write the address, or name its variable in `url_env`".to_owned()));
        }
        if self.url.is_some() && secret_url {
            faults.push(("url", "stands beside `url_env` or `url_file`; give only one of them".to_owned()));
        }
        if self.url_env.is_some() && self.url_file.is_some() {
            faults.push(("url_file", "stands beside `url_env`; give only one of them".to_owned()));
        }
        if self.token_env.is_some() && self.token_file.is_some() {
            faults.push(("token_file", "stands beside `token_env`; give only one of them".to_owned()));
        }
        self.taken(
            &mut faults,
            "token_env",
            token,
            shape.token,
            "the variable that holds the token, or a file in `token_file`",
        );
        self.taken(&mut faults, "to", !self.to.is_empty(), shape.to.0, self.whom());
        if self.to.as_slice().len() > shape.to.1 && shape.to.0 != Takes::No {
            faults.push((
                "to",
                format!("names {}; a channel of kind `{kind}` has at most {}", self.to.as_slice().len(), shape.to.1),
            ));
        }
        for (key, given) in
            [("method", self.method.is_some()), ("headers", !self.headers.is_empty()), ("body", self.body.is_some())]
        {
            self.taken(&mut faults, key, given, shape.own, "");
        }
        self.request_faults(&mut faults);
        self.template_faults(&mut faults);
        faults
    }

    fn whom(&self) -> &'static str {
        match self.kind {
            ChannelKind::Telegram => "the id of the chat, such as `-1001234567890`",
            ChannelKind::Ntfy => "the topic",
            ChannelKind::Matrix => "the id of the room, such as `!abc:example.com`",
            _ => "the addresses",
        }
    }

    fn taken(
        &self,
        faults: &mut Vec<(&'static str, String)>,
        key: &'static str,
        given: bool,
        takes: Takes,
        right: &str,
    ) {
        let kind = self.kind;
        match takes {
            Takes::Needs if !given => {
                faults.push((key, format!("is missing; a channel of kind `{kind}` needs {right}")))
            }
            Takes::No if given => {
                faults.push((key, format!("means nothing to a channel of kind `{kind}`; take it out")))
            }
            Takes::Needs | Takes::May | Takes::No => {}
        }
    }

    fn request_faults(&self, faults: &mut Vec<(&'static str, String)>) {
        if let Some(url) = &self.url
            && let Err(wrong) = address(url)
        {
            faults.push(("url", wrong));
        }
        if let Some(method) = &self.method
            && ![Method::POST, Method::PUT, Method::PATCH].iter().any(|known| known.as_str() == method)
        {
            faults.push(("method", format!("`{method}` is not one of POST, PUT, PATCH")));
        }
        for (name, value) in &self.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                faults.push(("headers", format!("`{name}` is not the name of a header")));
            } else if HeaderValue::from_str(value).is_err() {
                faults
                    .push(("headers", format!("the value of `{name}` holds a line end or another control character")));
            } else if name.eq_ignore_ascii_case("authorization") {
                faults.push((
                    "headers",
                    "`Authorization` is made of the token; name its variable in `token_env`".to_owned(),
                ));
            }
        }
    }

    fn template_faults(&self, faults: &mut Vec<(&'static str, String)>) {
        for (key, template) in [("title", &self.title), ("text", &self.text), ("body", &self.body)] {
            if let Some(Err(wrong)) = template.as_ref().map(|template| Words::check(template)) {
                faults.push((key, wrong));
            }
        }
    }

    /// The address and the token, read now, so that one can be changed in a file without a restart. `key` is the
    /// channel's, such as `notify.ops`.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or is no address: a text that names the key, never the content.
    pub fn secrets(&self, key: &str) -> Result<super::Secrets, String> {
        let secret_url = secret::read(&format!("{key}.url"), self.url_env.as_deref(), self.url_file.as_deref())?;
        let secret = secret_url.is_some();
        let url = secret_url.or_else(|| self.url.clone()).or_else(|| self.kind.usual_url().map(str::to_owned));
        let url = url.unwrap_or_default();
        if self.kind != ChannelKind::Email {
            address(&url).map_err(|wrong| match secret {
                true => {
                    format!("what `{key}.url_env` or `{key}.url_file` names is no address: it begins with `https://`")
                }
                false => format!("`{key}.url`: {wrong}"),
            })?;
        }
        let token = secret::read(&format!("{key}.token"), self.token_env.as_deref(), self.token_file.as_deref())?;
        Ok(super::Secrets { url, url_is_secret: secret, token })
    }
}

/// Whether this is an address that can be called. An operator may name any: a relay on the same machine, too.
fn address(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            match url.username().is_empty() && url.password().is_none() {
                true => Ok(()),
                false => Err("holds a name or a password; put it into a token instead".to_owned()),
            }
        }
        _ => Err("is not a URL; write one such as `https://example.com`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(settings: Value) -> Vec<(&'static str, String)> {
        serde_json::from_value::<ChannelSettings>(settings).expect("settings").faults()
    }

    #[test]
    fn each_kind_is_fine_with_what_it_needs() {
        for fine in [
            json!({ "kind": "slack", "url_env": "OPS" }),
            json!({ "kind": "discord", "url_file": "/run/secrets/discord" }),
            json!({ "kind": "teams", "url_env": "OPS", "title": "{{ title | upper }}" }),
            json!({ "kind": "telegram", "token_env": "BOT", "to": "-100123" }),
            json!({ "kind": "ntfy", "to": "nightly" }),
            json!({ "kind": "matrix", "url": "https://m.example", "token_env": "T", "to": "!a:m.example" }),
            json!({ "kind": "pagerduty", "token_env": "KEY" }),
            json!({ "kind": "opsgenie", "token_env": "KEY", "url": "https://api.eu.opsgenie.com" }),
            json!({ "kind": "alertmanager", "url": "http://127.0.0.1:9093" }),
            json!({ "kind": "http", "url": "https://a.example/in", "method": "PUT", "headers": { "x-team": "ops" }, "body": "{{ title | tojson }}" }),
            json!({ "kind": "email", "to": ["a@example.com", "b@example.com"] }),
        ] {
            assert_eq!(faults(fine.clone()), [], "{fine}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_key_and_what_would_be_right() {
        for (wrong, key, words) in [
            (json!({ "kind": "slack" }), "url_env", "is missing"),
            (json!({ "kind": "slack", "url": "https://hooks.slack.com/services/T/B/x" }), "url", "`url_env`"),
            (json!({ "kind": "slack", "url_env": "A", "url_file": "b" }), "url_file", "only one"),
            (json!({ "kind": "telegram", "to": "1" }), "token_env", "is missing"),
            (json!({ "kind": "telegram", "token_env": "A" }), "to", "id of the chat"),
            (json!({ "kind": "ntfy", "to": ["a", "b"] }), "to", "at most 1"),
            (json!({ "kind": "matrix", "token_env": "A", "to": "!a:b" }), "url", "address of the server"),
            (json!({ "kind": "pagerduty", "token_env": "A", "to": "x" }), "to", "means nothing"),
            (json!({ "kind": "pagerduty", "token_env": "A", "body": "x" }), "body", "means nothing"),
            (json!({ "kind": "http" }), "url", "is missing"),
            (json!({ "kind": "http", "url": "ftp://x" }), "url", "not a URL"),
            (json!({ "kind": "http", "url": "https://u:p@x.example" }), "url", "password"),
            (json!({ "kind": "http", "url": "https://x.example", "method": "GET" }), "method", "POST, PUT, PATCH"),
            (
                json!({ "kind": "http", "url": "https://x.example", "headers": { "Authorization": "x" } }),
                "headers",
                "`token_env`",
            ),
            (
                json!({ "kind": "http", "url": "https://x.example", "headers": { "a b": "x" } }),
                "headers",
                "not the name",
            ),
            (json!({ "kind": "http", "url": "https://x.example", "body": "{{ titel }}" }), "body", "there is type"),
            (json!({ "kind": "http", "url": "https://x.example", "body": "{{ title" }), "body", "template"),
        ] {
            let found = faults(wrong.clone());
            assert!(found.iter().any(|(at, said)| *at == key && said.contains(words)), "{wrong}: {found:?}");
        }
    }

    #[test]
    fn a_secret_is_never_part_of_what_is_said_of_it() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hooks.slack.com/services/T0/B0/hunter2").expect("written");
        let channel = ChannelSettings {
            url_file: Some(file.path().display().to_string()),
            ..ChannelSettings::new(ChannelKind::Slack)
        };
        let said = channel.secrets("notify.ops").expect_err("no scheme");
        assert!(said.contains("notify.ops.url_file") && !said.contains("hunter2"), "{said}");
    }
}
