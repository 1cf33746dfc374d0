//! One message over SMTP, step by step: lettre speaks the commands, but this module sets their order, because the
//! caller must be able to commit "it may now have been sent" between the server's 354 and the data.

use std::sync::Mutex;
use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::mail::delivery::{Delivered, NotDelivered};
use crate::mail::message::Composed;
use crate::secret;
use crate::settings::{MailSettings, StartTls};

/// How long a connection may be idle before it is not reused: servers close it about then.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// How many messages a connection carries before it is not reused: many servers limit them.
const MESSAGES_MAX: u32 = 100;

/// The end of the data may take ten times as long as any other answer (RFC 5321, 4.5.3.2.6, gives it ten minutes):
/// giving up early there creates duplicates.
const PATIENCE_AT_THE_END: u32 = 10;

/// A server that accepts messages, and the connections to it.
#[derive(Debug)]
pub struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    timeout: Duration,
    slots: Semaphore,
    idle: Mutex<Vec<Line>>,
}

enum Security {
    /// TLS from the first byte.
    Wrapped(TlsParameters),
    /// STARTTLS, or nothing is sent.
    Upgraded(TlsParameters),
    /// No TLS.
    Clear,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Wrapped(_) => "Wrapped",
            Self::Upgraded(_) => "Upgraded",
            Self::Clear => "Clear",
        })
    }
}

/// One connection that is ready for a message.
struct Line {
    connection: AsyncSmtpConnection,
    messages: u32,
    used_at: Instant,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Creates one from the settings.
    pub(super) fn from_settings(settings: &MailSettings) -> Result<Self, String> {
        let url = Url::parse(&settings.url).map_err(|error| format!("`mail.url` is not a URL: {error}"))?;
        if url.password().is_some() {
            return Err("`mail.url` holds a password, which anybody who reads the configuration would see; name a variable with `mail.password_env` or a file with `mail.password_file` instead".to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("`mail.url` names no host")?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let wrapped = url.scheme() == "smtps";
        let security = match (wrapped, settings.starttls) {
            (true, _) => Security::Wrapped(tls(&host, settings)?),
            (false, StartTls::Required) => Security::Upgraded(tls(&host, settings)?),
            (false, StartTls::Never) => Security::Clear,
        };
        Ok(Self {
            port: url.port().unwrap_or(if wrapped { 465 } else { 587 }),
            credentials: credentials(&url, settings)?,
            host,
            security,
            timeout: settings.timeout.0,
            slots: Semaphore::new(settings.connections.max(1)),
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Delivers one message: connect or reuse, MAIL, RCPT, DATA, `before_data`, the data.
    pub(super) async fn deliver<F, R>(&self, message: &Composed, before_data: F) -> Result<Delivered, NotDelivered>
    where
        F: FnOnce() -> R + Send,
        R: Future<Output = Result<(), String>> + Send,
    {
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| NotDelivered::CalledOff("the mail transport is closed".to_owned()))?;
        let mut line = self.line().await?;
        self.open(&mut line.connection, message).await?;
        if let Err(reason) = before_data().await {
            // The server waits for data. Only dropping the connection shows it that none will come.
            return Err(NotDelivered::CalledOff(reason));
        }
        let answer = self.send(&mut line.connection, &message.bytes).await?;
        line.messages += 1;
        line.used_at = Instant::now();
        if line.messages < MESSAGES_MAX {
            self.lock().push(line);
        }
        Ok(Delivered { answer })
    }

    /// Sends MAIL, RCPT and DATA. What is refused here has certainly not been sent.
    async fn open(&self, connection: &mut AsyncSmtpConnection, message: &Composed) -> Result<(), NotDelivered> {
        let mut parameters = Vec::new();
        let addresses = message.envelope.from().into_iter().chain(message.envelope.to());
        if !addresses.map(AsRef::<str>::as_ref).all(str::is_ascii) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                return Err(NotDelivered::Refused(
                    "an address is not ASCII and the server does not know SMTPUTF8".to_owned(),
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        self.step(connection, "MAIL FROM", Mail::new(message.envelope.from().cloned(), parameters)).await?;
        for to in message.envelope.to() {
            self.step(connection, "RCPT TO", Rcpt::new(to.clone(), Vec::new())).await?;
        }
        self.step(connection, "DATA", Data).await
    }

    async fn step<C: std::fmt::Display>(
        &self,
        connection: &mut AsyncSmtpConnection,
        name: &str,
        command: C,
    ) -> Result<(), NotDelivered> {
        match tokio::time::timeout(self.timeout, connection.command(command)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(name, &error)),
            Err(_) => Err(later(format!("the mail server has not answered {name} within {:?}", self.timeout))),
        }
    }

    /// Sends the data. Only a reply with a code is certain; anything else leaves the outcome open.
    async fn send(&self, connection: &mut AsyncSmtpConnection, bytes: &[u8]) -> Result<String, NotDelivered> {
        match tokio::time::timeout(self.timeout * PATIENCE_AT_THE_END, connection.message(bytes)).await {
            Ok(Ok(response)) => Ok(format!("{} {}", response.code(), short(response.first_line().unwrap_or_default()))),
            Ok(Err(error)) if error.is_transient() || error.is_permanent() => Err(refusal("the message", &error)),
            Ok(Err(error)) => Err(NotDelivered::Unknown(format!(
                "the connection to the mail server broke off after the message had begun, so that nobody can know whether it was taken: {}",
                short(&error.to_string())
            ))),
            Err(_) => Err(NotDelivered::Unknown(format!(
                "the mail server has not said within {:?} whether it has taken the message",
                self.timeout * PATIENCE_AT_THE_END
            ))),
        }
    }

    /// Returns a connection that has just answered, or a new one.
    async fn line(&self) -> Result<Line, NotDelivered> {
        while let Some(mut line) = self.take_idle() {
            // RSET proves that the server is still there and that no transaction is open.
            if let Ok(Ok(_)) = tokio::time::timeout(self.timeout, line.connection.command(Rset)).await {
                return Ok(line);
            }
        }
        match tokio::time::timeout(self.timeout * 3, self.connect()).await {
            Ok(Ok(connection)) => Ok(Line { connection, messages: 0, used_at: Instant::now() }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(later(format!("the mail server at {}:{} does not answer", self.host, self.port))),
        }
    }

    fn take_idle(&self) -> Option<Line> {
        let mut idle = self.lock();
        idle.retain(|line| line.used_at.elapsed() < IDLE_MAX);
        idle.pop()
    }

    /// Every failure here is ours or the network's, never the recipient's: it is retried, whatever the code.
    async fn connect(&self) -> Result<AsyncSmtpConnection, NotDelivered> {
        let place = format!("the mail server at {}:{}", self.host, self.port);
        let ours = |step: &str, error: &SmtpError| later(format!("{place}, {step}: {}", short(&error.to_string())));
        let hello = ClientId::default();
        let wrapped = match &self.security {
            Security::Wrapped(tls) => Some(tls.clone()),
            Security::Upgraded(_) | Security::Clear => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), &hello, wrapped, None)
            .await
            .map_err(|error| ours("connecting", &error))?;
        if let Security::Upgraded(tls) = &self.security {
            if !connection.can_starttls() {
                return Err(later(format!(
                    "{place} offers no STARTTLS, and `mail.starttls` is `required`; use `smtps://`, or `starttls = \"never\"` for a relay on this machine"
                )));
            }
            connection.starttls(tls.clone(), &hello).await.map_err(|error| ours("STARTTLS", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| {
                later(format!(
                    "{place} refuses our user or password: {}; see `mail.password_env`",
                    short(&error.to_string())
                ))
            })?;
        }
        Ok(connection)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn credentials(url: &Url, settings: &MailSettings) -> Result<Option<Credentials>, String> {
    let password = secret::read("mail.password", settings.password_env.as_deref(), settings.password_file.as_deref())?;
    match (url.username(), password) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err("`mail.url` names no user for the password; write `smtp://USER@HOST`".to_owned()),
        (_, None) => Err("`mail.url` names a user without a password; name a variable with `mail.password_env` or a file with `mail.password_file`".to_owned()),
        (user, Some(password)) => {
            let user = percent_decoded(user)?;
            Ok(Some(Credentials::new(user, password)))
        }
    }
}

/// User names are often addresses, whose `@` a URL must write as `%40`.
fn percent_decoded(user: &str) -> Result<String, String> {
    let bad = || "the user in `mail.url` is not percent-encoded UTF-8".to_owned();
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or_else(bad)?;
        bytes.push(hex::decode(digits).map_err(|_| bad())?[0]);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

fn tls(host: &str, settings: &MailSettings) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("`mail.ca_file`: {path} cannot be read: {error}"))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| format!("`mail.ca_file`: {path} holds no PEM certificates: {error}"))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| format!("TLS for `mail.url` cannot be set up: {error}"))
}

/// Interprets a refusal. The text names the step and the server's words, without any of our addresses that the server
/// repeats.
fn refusal(step: &str, error: &SmtpError) -> NotDelivered {
    let words = error.to_string();
    let message = format!("the mail server refuses {step}: {}", short(&words));
    let code = error.status().map(|code| code.to_string()).unwrap_or_default();
    match code.as_str() {
        // Our fault and not the recipient's: no recipient's mail may be given up for it.
        "530" | "534" | "535" | "538" => later(message),
        _ if error.is_permanent() => NotDelivered::Refused(message),
        _ => NotDelivered::Later { message, after: asked_wait(&words) },
    }
}

fn later(message: String) -> NotDelivered {
    NotDelivered::Later { message, after: None }
}

/// Greylisting servers say `try again in 300 seconds`; a little more is on the safe side.
fn asked_wait(words: &str) -> Option<Duration> {
    let lower = words.to_ascii_lowercase();
    let (_, rest) = lower.split_once(" in ")?;
    let mut parts = rest.split_ascii_whitespace();
    let number: u64 = parts.next()?.parse().ok()?;
    let unit = match parts.next()?.trim_matches(|c: char| !c.is_ascii_alphabetic()) {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit)?.min(86_400) + 1))
}

/// Returns at most 300 characters of what a server said, without anything that looks like an address.
fn short(words: &str) -> String {
    let masked: Vec<&str> =
        words.split_whitespace().map(|word| if word.contains('@') { "(address)" } else { word }).collect();
    masked.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_server_asks_for_is_understood() {
        for (words, seconds) in [
            ("transient error (450): 4.2.0 Greylisted, try again in 300 seconds", Some(301)),
            ("450 please come back in 5 minutes.", Some(301)),
            ("451 try again later", None),
            ("451 error in 12 parts", None),
        ] {
            assert_eq!(asked_wait(words), seconds.map(Duration::from_secs), "{words}");
        }
    }

    #[test]
    fn an_address_in_the_answer_is_masked() {
        assert_eq!(short("550 5.1.1 <jo@example.com>: unknown"), "550 5.1.1 (address) unknown");
    }

    #[test]
    fn a_password_in_the_url_is_refused_without_showing_it() {
        let settings = MailSettings { url: "smtp://u:hunter2@localhost".to_owned(), ..MailSettings::default() };
        let error = Smtp::from_settings(&settings).expect_err("refused");
        assert!(error.contains("password_env") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_user_may_be_an_address() {
        assert_eq!(percent_decoded("jo%40example.com"), Ok("jo@example.com".to_owned()));
        percent_decoded("jo%4").expect_err("cut off");
    }
}
