//! One connection to a server: lettre speaks, encrypts, logs in and reads answers; what was said and what the server
//! offers is kept here, because lettre tells neither.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::Ehlo;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::transcript::Transcript;
use crate::classify::{Phase, Signal};

/// The end of the data may take ten times as long as any other answer (RFC 5321, 4.5.3.2.6, gives it ten minutes):
/// giving up early there creates duplicates.
const PATIENCE_AT_THE_END: u32 = 10;

/// How much of a message is handed over at once.
const PART_BYTES: usize = 64 * 1024;

/// What a server offers, of what a transaction uses (RFC 1870, 2920, 3461, 6152, 6531).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Offers {
    pub(super) dsn: bool,
    pub(super) eight_bit: bool,
    /// Several commands may be sent at once (RFC 2920).
    pub(super) pipelining: bool,
    pub(super) utf8: bool,
    /// `SIZE`: the most bytes of a message, 0 when it does not say.
    pub(super) size: Option<usize>,
}

impl Offers {
    /// Reads the lines of an answer to EHLO; the first is the server's name.
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut offers = Self::default();
        for line in lines.skip(1) {
            let mut words = line.split_whitespace();
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "DSN" => offers.dsn = true,
                "8BITMIME" => offers.eight_bit = true,
                "PIPELINING" => offers.pipelining = true,
                "SMTPUTF8" => offers.utf8 = true,
                "SIZE" => offers.size = Some(words.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(0)),
                _ => {}
            }
        }
        offers
    }
}

/// Something went wrong: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) phase: Phase,
    pub(super) signal: Signal,
}

impl Failed {
    pub(super) fn new(phase: Phase, signal: Signal) -> Self {
        Self { phase, signal }
    }

    /// Whether the connection is of no more use.
    pub(super) fn ends_the_connection(&self) -> bool {
        match &self.signal {
            Signal::Reply { code, .. } => *code == 421,
            _ => true,
        }
    }
}

/// How a connection is made.
pub(super) struct Plan<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) hello: ClientId,
    /// TLS from the first byte.
    pub(super) wrapped: Option<TlsParameters>,
    /// STARTTLS, or nothing is sent.
    pub(super) upgraded: Option<TlsParameters>,
    pub(super) credentials: Option<&'a Credentials>,
    /// The ways to log in that may be used, the best first.
    pub(super) mechanisms: &'a [Mechanism],
    pub(super) timeout: Duration,
}

/// A connection that is ready for a message.
pub(super) struct Connection {
    inner: AsyncSmtpConnection,
    pub(super) offers: Offers,
    pub(super) transcript: Transcript,
    pub(super) messages: u32,
    pub(super) used_at: Instant,
    /// Whether it was idle since its last message: the server may have closed it meanwhile.
    pub(super) was_idle: bool,
    /// Whether the last transaction has ended with a message that was taken, so that nothing of it is left open.
    pub(super) clean: bool,
    timeout: Duration,
}

/// A command that is sent together with others.
pub(super) struct Asked {
    pub(super) phase: Phase,
    pub(super) command: String,
}

impl Asked {
    pub(super) fn new(phase: Phase, command: impl Display) -> Self {
        Self { phase, command: command.to_string() }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, encrypts, logs in, and asks what the server offers.
    pub(super) async fn open(plan: &Plan<'_>) -> Result<Self, (Failed, Transcript)> {
        let mut transcript = Transcript::default();
        let tls = if plan.wrapped.is_some() { ", TLS" } else { "" };
        transcript.note(&format!("connecting to {}:{}{tls}", plan.host, plan.port));
        let made = tokio::time::timeout(plan.timeout * 3, Self::prepared(plan, &mut transcript)).await;
        let inner = match made {
            Ok(Ok(inner)) => inner,
            Ok(Err(failed)) => {
                transcript.note(&describe(&failed.signal));
                return Err((failed, transcript));
            }
            Err(_) => {
                transcript.note("no answer");
                return Err((Failed::new(Phase::Connect, Signal::Silent), transcript));
            }
        };
        let (messages, used_at) = (0, Instant::now());
        let (offers, timeout) = (Offers::default(), plan.timeout);
        let mut line = Self { inner, offers, transcript, messages, used_at, was_idle: false, clean: true, timeout };
        // lettre has asked already, and keeps of the answer only what it knows itself.
        match line.ask(Phase::Hello, "EHLO", Ehlo::new(plan.hello.clone())).await {
            Ok(response) => line.offers = Offers::read(response.message()),
            Err(failed) => return Err((failed, line.transcript)),
        }
        Ok(line)
    }

    async fn prepared(plan: &Plan<'_>, transcript: &mut Transcript) -> Result<AsyncSmtpConnection, Failed> {
        let at = |phase: Phase| move |error: SmtpError| Failed::new(phase, signal(&error));
        let hello = &plan.hello;
        let mut inner = Self::greeted(plan).await?;
        if let Some(tls) = &plan.upgraded {
            if !inner.can_starttls() {
                let why = "the server offers no STARTTLS, and an unencrypted connection is not allowed".to_owned();
                return Err(Failed::new(Phase::Tls, Signal::Insecure { why }));
            }
            transcript.said("STARTTLS");
            inner.starttls(tls.clone(), hello).await.map_err(at(Phase::Tls))?;
            transcript.note("TLS is set up");
        }
        if let Some(credentials) = plan.credentials {
            let Some(mechanism) = inner.server_info().get_auth_mechanism(plan.mechanisms) else {
                let why =
                    format!("the server offers none of the ways to log in that may be used: {:?}", plan.mechanisms);
                return Err(Failed::new(Phase::Auth, Signal::Unfit { why }));
            };
            transcript.said(&format!("AUTH {mechanism} (not shown)"));
            let response = inner.auth(&[mechanism], credentials).await.map_err(at(Phase::Auth))?;
            transcript.heard(&spoken(&response));
        }
        Ok(inner)
    }

    /// Connects and waits for the server to introduce itself.
    async fn greeted(plan: &Plan<'_>) -> Result<AsyncSmtpConnection, Failed> {
        let (address, hello) = ((plan.host, plan.port), &plan.hello);
        let at = |error: SmtpError| Failed::new(Phase::Connect, signal(&error));
        if let Some(tls) = &plan.wrapped {
            let tls = Some(tls.clone());
            let made = AsyncSmtpConnection::connect_tokio1(address, Some(plan.timeout), hello, tls, None);
            return made.await.map_err(at);
        }
        // lettre leaves small packets waiting for the answer to those before them, and the final dot is one.
        let connected = tokio::time::timeout(plan.timeout, TcpStream::connect(address)).await;
        let lost = |why: std::io::Error| Failed::new(Phase::Connect, Signal::Lost { why: why.to_string() });
        let stream = connected.map_err(|_| Failed::new(Phase::Connect, Signal::Silent))?.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello).await.map_err(at)
    }

    /// Begins the transcript of another message on the same connection.
    pub(super) fn reuse(&mut self) {
        self.transcript = Transcript::default();
        self.transcript.note(&format!("a connection that has carried {} messages", self.messages));
    }

    /// Asks something and waits for the answer; an answer that refuses is an error.
    pub(super) async fn ask<C: Display>(&mut self, phase: Phase, name: &str, command: C) -> Result<Response, Failed> {
        let command = command.to_string();
        self.transcript.said(&command);
        let answered = tokio::time::timeout(self.timeout, self.inner.command(command)).await;
        let heard = self.heard(phase, answered);
        if heard.is_err() {
            tracing::debug!(command = name, "the mail server refuses or does not answer");
        }
        heard
    }

    /// Asks several things at once and waits for the answers, one for each. After one that ends the connection all that
    /// follow are the same.
    pub(super) async fn ask_together(&mut self, all: &[Asked]) -> Vec<Result<Response, Failed>> {
        let mut together = String::new();
        for asked in all {
            self.transcript.said(&asked.command);
            together.push_str(&asked.command);
        }
        let mut answers: Vec<Result<Response, Failed>> = Vec::with_capacity(all.len());
        for (place, asked) in all.iter().enumerate() {
            if let Some(Err(over)) = answers.last().filter(|last| last.as_ref().is_err_and(Failed::ends_the_connection))
            {
                answers.push(Err(over.clone()));
                continue;
            }
            let answered = if place == 0 {
                tokio::time::timeout(self.timeout, self.inner.command(&together)).await
            } else {
                tokio::time::timeout(self.timeout, self.inner.read_response()).await
            };
            answers.push(self.heard(asked.phase, answered));
        }
        answers
    }

    /// Notes what was answered.
    fn heard(
        &mut self,
        phase: Phase,
        answered: Result<Result<Response, SmtpError>, Elapsed>,
    ) -> Result<Response, Failed> {
        let failed = match answered {
            Ok(Ok(response)) => {
                self.transcript.heard(&spoken(&response));
                return Ok(response);
            }
            Ok(Err(error)) => signal(&error),
            Err(_) => Signal::Silent,
        };
        self.transcript.heard(&describe(&failed));
        Err(Failed::new(phase, failed))
    }

    /// Hands over the message that the server has agreed to take. The phase of a failure is exact: [`Phase::Body`] as
    /// long as the final dot has not been handed to the system.
    pub(super) async fn message(&mut self, bytes: &[u8]) -> Result<Response, Failed> {
        // lettre writes the line end before the final dot by itself.
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        self.transcript.said(&format!("(the message, {} bytes)", bytes.len()));
        let whole = AtomicBool::new(false);
        let parts = Parts { rest: bytes, whole: &whole };
        let answered = tokio::time::timeout(self.timeout * PATIENCE_AT_THE_END, self.inner.message_iter(parts)).await;
        let dot = whole.load(Ordering::SeqCst);
        if dot {
            self.transcript.said(".");
        }
        let failed = match answered {
            Ok(Ok(response)) => {
                self.transcript.heard(&spoken(&response));
                return Ok(response);
            }
            Ok(Err(error)) => signal(&error),
            Err(_) => Signal::Silent,
        };
        self.transcript.heard(&describe(&failed));
        Err(Failed::new(if dot { Phase::Dot } else { Phase::Body }, failed))
    }
}

/// The message in parts. Its end is noticed before the final dot is written: lettre asks for the next part only when the
/// one before has been handed to the system.
struct Parts<'a> {
    rest: &'a [u8],
    whole: &'a AtomicBool,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            self.whole.store(true, Ordering::SeqCst);
            return None;
        }
        let (part, rest) = self.rest.split_at(self.rest.len().min(PART_BYTES));
        self.rest = rest;
        Some(part)
    }
}

fn spoken(response: &Response) -> String {
    let lines: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), lines.join(" "))
}

/// What an error of the library means on the wire.
fn signal(error: &SmtpError) -> Signal {
    let source = || std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    if let Some(code) = error.status() {
        return Signal::Reply { code: u16::from(code), text: source() };
    }
    if error.is_tls() {
        return Signal::Insecure { why: error.to_string() };
    }
    if error.is_timeout() { Signal::Silent } else { Signal::Lost { why: error.to_string() } }
}

/// A signal in words, as a transcript has it.
pub(super) fn describe(signal: &Signal) -> String {
    match signal {
        Signal::Reply { code, text } => format!("{code} {text}"),
        Signal::Lost { why } => format!("(the connection broke: {why})"),
        Signal::Silent => "(no answer in time)".to_owned(),
        Signal::Insecure { why } => format!("(no encryption: {why})"),
        Signal::Unfit { why } => format!("(not asked: {why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_offers_is_read_from_its_answer() {
        let lines = ["mx.example says hello", "SIZE 1000", "8bitmime", "DSN", "SMTPUTF8", "X-OTHER", "Pipelining"];
        let all = Offers { dsn: true, eight_bit: true, pipelining: true, utf8: true, size: Some(1_000) };
        assert_eq!(Offers::read(lines.into_iter()), all);
        assert_eq!(Offers::read(["DSN", "SIZE"].into_iter()), Offers { size: Some(0), ..Offers::default() });
        assert_eq!(Offers::read(std::iter::empty()), Offers::default());
    }

    #[test]
    fn the_final_dot_is_not_near_before_the_last_part_is_out() {
        let whole = AtomicBool::new(false);
        let bytes = vec![b'x'; PART_BYTES + 1];
        let mut parts = Parts { rest: &bytes, whole: &whole };
        assert_eq!(parts.next().map(<[u8]>::len), Some(PART_BYTES));
        assert_eq!(parts.next().map(<[u8]>::len), Some(1));
        assert!(!whole.load(Ordering::SeqCst));
        assert_eq!(parts.next(), None);
        assert!(whole.load(Ordering::SeqCst));
    }
}
