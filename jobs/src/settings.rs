//! `[mail]`, `[webhook]`, `[exec]` and `[http]` in `config.toml`; [`notify::settings`](crate::notify::settings) has `[notify]`.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::mail_flow::WarmUp;
use serde::{Deserialize, Serialize};

use crate::notify::NotifySettings;

/// All tables together, for building the registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EffectSettings {
    /// `[mail]`.
    pub mail: MailSettings,
    /// `[webhook]`.
    pub webhook: WebhookSettings,
    /// `[notify]`.
    pub notify: NotifySettings,
    /// `[exec]`.
    pub exec: ExecSettings,
    /// `[http]`.
    pub http: HttpSettings,
}

/// How emails are sent: `[mail]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailSettings {
    /// `folder://PATH` writes each message as an `.eml` file into a folder; `smtp://USER@HOST:PORT` (STARTTLS, port 587
    /// by default) and `smtps://USER@HOST:PORT` (TLS from the first byte, port 465 by default) hand it to a server;
    /// `sandbox://` sends nothing, and answers as the recipients' addresses ask. A password in it is refused: see
    /// `password_env`.
    pub url: String,
    /// An address to which every message goes instead of to its recipients, for staging. Its headers name them still.
    pub redirect_to: Option<String>,
    /// Several servers instead of the one of `url`, by name: each takes its share.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relays: BTreeMap<String, RelaySettings>,
    /// How fast recipients' domains may be sent to, by name; `*` is for all that have no entry of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub domains: BTreeMap<String, DomainSettings>,
    /// The sender of the messages: `name@example.com` or `Name <name@example.com>`. Its domain is also that of every
    /// `Message-ID`.
    pub from: String,
    /// For `smtp://`: whether the connection must be encrypted before anything is sent.
    pub starttls: StartTls,
    /// The environment variable that holds the password of the URL's user.
    pub password_env: Option<String>,
    /// A file that holds the password instead; white space at its end is ignored.
    pub password_file: Option<String>,
    /// How long connecting, and each answer of the server, may take.
    pub timeout: Span,
    /// The most connections at once, at least 1.
    pub connections: usize,
    /// What happens to a message that an earlier attempt may already have handed over.
    pub uncertain: Uncertain,
    /// A file of PEM certificates to trust in addition to the system's.
    pub ca_file: Option<String>,
    /// How long nothing is sent to an address of which a server has said that there is no such mailbox.
    pub suppress_bounced: Span,
    /// The address to which refusals go, such as `bounce@example.com`: of each message with a signed addition of its own
    /// (`bounce+…@example.com`), so that what comes back names it. Needs a secret. The sender's own by default.
    pub return_address: Option<String>,
    /// Where this installation's pages are reached from outside: messages of all streams but `transactional` that have one
    /// recipient get a link there by which it takes itself off the stream. Needs a secret.
    pub unsubscribe_url: Option<String>,
    /// The environment variable that holds the secret which signs such addresses and links.
    pub secret_env: Option<String>,
    /// A file that holds it instead; white space at its end is ignored.
    pub secret_file: Option<String>,
    /// A folder whose files may go with messages, by their names.
    pub attachments: Option<String>,
    /// The keys that sign messages (DKIM), by the domain of their sender.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<DkimSettings>,
    /// A folder whose `NAME/subject.txt`, `NAME/text.txt` and `NAME/html.html` take precedence over the built-in
    /// templates.
    pub templates: Option<String>,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            url: "folder://mail".to_owned(),
            redirect_to: None,
            relays: BTreeMap::new(),
            domains: BTreeMap::new(),
            from: "Gristmill <gristmill@localhost>".to_owned(),
            starttls: StartTls::Required,
            password_env: None,
            password_file: None,
            timeout: Span(Duration::from_secs(60)),
            connections: 4,
            uncertain: Uncertain::Resend,
            ca_file: None,
            suppress_bounced: Span(Duration::from_secs(180 * 86_400)),
            return_address: None,
            unsubscribe_url: None,
            secret_env: None,
            secret_file: None,
            attachments: None,
            dkim: Vec::new(),
            templates: None,
        }
    }
}

/// One of several servers: `[mail.relays.NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaySettings {
    /// `smtp://USER@HOST:PORT` or `smtps://USER@HOST:PORT`, as `mail.url`.
    pub url: String,
    /// Those of a higher order are used only while none of a lower one can be.
    pub order: u32,
    /// Its share among those of the same order, at least 1.
    pub weight: u32,
    /// For `smtp://`: whether the connection must be encrypted before anything is sent.
    pub starttls: StartTls,
    /// How to log in.
    pub auth: Auth,
    /// The environment variable that holds the password of the URL's user, or its access token.
    pub password_env: Option<String>,
    /// A file that holds it instead; white space at its end is ignored.
    pub password_file: Option<String>,
    /// A file of PEM certificates to trust in addition to the system's.
    pub ca_file: Option<String>,
    /// How long connecting, and each answer of the server, may take.
    pub timeout: Span,
    /// The most connections of one worker at once, at least 1.
    pub connections: usize,
    /// How many messages a connection carries before another is made, at least 1.
    pub messages_per_connection: u32,
    /// The most messages of all workers together in each period.
    pub rate: Option<u32>,
    /// The period of `rate`.
    pub per: Span,
    /// How many of them may come at one moment after a quiet time.
    pub burst: u32,
    /// For a sender that is new: few messages on its first days.
    pub warm_up: Option<WarmUp>,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            order: 1,
            weight: 1,
            starttls: StartTls::Required,
            auth: Auth::Any,
            password_env: None,
            password_file: None,
            ca_file: None,
            timeout: Span(Duration::from_secs(60)),
            connections: 4,
            messages_per_connection: 100,
            rate: None,
            per: MINUTE,
            burst: 1,
            warm_up: None,
        }
    }
}

const MINUTE: Span = Span(Duration::from_secs(60));

/// How fast a recipients' domain may be sent to: `[mail.domains."example.com"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainSettings {
    /// The most messages of all workers together in each period.
    pub rate: Option<u32>,
    /// The period of `rate`.
    pub per: Span,
    /// How many of them may come at one moment after a quiet time.
    pub burst: u32,
    /// The most messages that one worker sends there at once. Half of its connections unless said.
    pub connections: Option<u32>,
    /// Whether nothing is sent there.
    pub suspended: bool,
}

impl Default for DomainSettings {
    fn default() -> Self {
        Self { rate: None, per: MINUTE, burst: 1, connections: None, suspended: false }
    }
}

/// How to log in to a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// PLAIN, or LOGIN where the server knows nothing else.
    #[default]
    Any,
    /// PLAIN alone.
    Plain,
    /// LOGIN alone.
    Login,
    /// XOAUTH2: the password is an access token.
    Xoauth2,
}

/// A key that signs messages: `[[mail.dkim]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimSettings {
    /// The domain that signs: messages whose sender's address is in it.
    pub domain: String,
    /// Which of the domain's keys this is: its DNS record is `SELECTOR._domainkey.DOMAIN`.
    pub selector: String,
    /// A file with the private key in PEM: RSA of 2048 bits or more, or Ed25519.
    pub key_file: String,
}

/// Whether a plain SMTP connection must be upgraded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// Nothing is sent to a server without STARTTLS.
    #[default]
    Required,
    /// Everything is sent in the clear, including the password: for a relay on the same machine.
    Never,
}

/// What happens to a message whose delivery cannot be known: the connection or the worker was lost after the data had
/// begun (RFC 1047).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uncertain {
    /// It is sent again with the same `Message-ID` and `Date`: at least once.
    #[default]
    Resend,
    /// It is kept back as a dead letter for an operator to decide: at most once.
    Hold,
    /// It counts as sent: at most once, and no operator is asked.
    Accept,
}

/// How signed notifications are sent: `[webhook]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// How long one request may take, including connecting and the answer.
    pub timeout: Span,
    /// The environment variable that holds the secrets, each `whsec_…`, separated by white space. With several, each
    /// request carries a signature by each of them: that is how a secret is rotated.
    pub secret_env: Option<String>,
    /// A file that holds the secrets instead.
    pub secret_file: Option<String>,
    /// Further variables that a webhook's own `secret_env` may name. Those that the callbacks of this configuration name
    /// are allowed in any case.
    pub env: Vec<String>,
    /// Whether private, loopback and link-local addresses and plain `http://` may be called.
    pub allow_private: bool,
    /// How many bytes of an answer are read; the rest is not waited for.
    pub response_bytes_max: usize,
    /// What 429 and 503 with `Retry-After` mean.
    pub retry_after: RetryAfter,
}

/// What it means when the other side asks for a later retry (429 or 503 with `Retry-After`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfter {
    /// The attempt has failed, and the next one waits for the requested time.
    #[default]
    Attempt,
    /// The job is snoozed for the requested time: no attempt is spent, as often as the job may be snoozed.
    Snooze,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            timeout: Span(Duration::from_secs(20)),
            secret_env: None,
            secret_file: None,
            env: Vec::new(),
            allow_private: false,
            response_bytes_max: 16 * 1024,
            retry_after: RetryAfter::Attempt,
        }
    }
}

/// Which programs may run, for jobs of kind `exec` and for `process.exec` of a batch, and with what: `[exec]`. A client
/// chooses among these programs and their arguments, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecSettings {
    /// The programs that may run, by their paths; none by default. A path in a file is relative to that file's folder.
    pub programs: Vec<String>,
    /// The folder that they start in; that of the configuration file by default, else the current one.
    pub dir: Option<String>,
    /// The variables of the worker's environment that they inherit. No other reaches them.
    pub inherit: Vec<String>,
    /// Variables that are set for each of them.
    pub env: BTreeMap<String, String>,
    /// The names of the variables that a job's payload or a batch's definition may set.
    pub payload_env: Vec<String>,
}

impl Default for ExecSettings {
    fn default() -> Self {
        let inherit = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];
        Self {
            programs: Vec::new(),
            dir: None,
            inherit: inherit.map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            payload_env: Vec::new(),
        }
    }
}

/// What jobs of kind `http` may call: `[http]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// How long one request may take, including connecting and the answer.
    pub timeout: Span,
    /// Whether private, loopback and link-local addresses and plain `http://` may be called.
    pub allow_private: bool,
    /// The most bytes of an answer that become the job's output; a longer one is truncated.
    pub response_bytes_max: usize,
    /// The environment variables that a header `env:NAME` of a job may name. Empty means none: otherwise an enqueuer
    /// could send any secret of the worker anywhere.
    pub env: Vec<String>,
    /// What 429 and 503 with `Retry-After` mean.
    pub retry_after: RetryAfter,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            timeout: Span(Duration::from_secs(30)),
            allow_private: false,
            response_bytes_max: 1024 * 1024,
            env: Vec::new(),
            retry_after: RetryAfter::Attempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = serde_json::from_str::<MailSettings>(r#"{"urll": "folder://x"}"#).expect_err("refused").to_string();
        assert!(error.contains("urll"), "{error}");
    }

    #[test]
    fn an_empty_table_is_the_default_everywhere() {
        assert_eq!(serde_json::from_str::<MailSettings>("{}").expect("mail"), MailSettings::default());
        assert_eq!(serde_json::from_str::<WebhookSettings>("{}").expect("webhook"), WebhookSettings::default());
        assert_eq!(serde_json::from_str::<ExecSettings>("{}").expect("exec"), ExecSettings::default());
        assert_eq!(serde_json::from_str::<HttpSettings>("{}").expect("http"), HttpSettings::default());
    }
}
