//! The process's log: what happens, on standard error.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::attempt_log;

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people, coloured when standard error is a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `level` is what `tracing_subscriber` reads: a level such as `info`, and others for single modules,
/// such as `info,gristmill_store=debug`. A log that the process already has stays, which is right in tests.
pub fn start(level: &str, format: Format) {
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        Format::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        Format::Json => log.json().flatten_event(true).boxed(),
    };
    let log = log.with_filter(EnvFilter::new(filter(level)));
    let _ = tracing_subscriber::registry().with(log).with(attempt_log::layer()).try_init();
    if format == Format::Json {
        std::panic::set_hook(Box::new(|panic| panicked(&panic.to_string())));
    }
}

/// A panic is one line of the log as well, whatever its level.
fn panicked(panic: &str) {
    let line = line(Utc::now(), "ERROR", panic, None);
    // Nothing can be said about a message that cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// A message of the process for people, as a line of the log in JSON: with the fields that events of the log have.
pub fn line(at: DateTime<Utc>, level: &str, message: &str, hint: Option<&str>) -> String {
    let timestamp = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = Line { timestamp, level, message, hint, target: "gristmill" };
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    target: &'a str,
}

/// `lapin` reports every closed connection at level error, including those that we close ourselves. Our own supervisor
/// reports those that matter; an operator who wants more names `lapin` in the level.
fn filter(level: &str) -> String {
    if level.contains("lapin") { level.to_owned() } else { format!("{level},lapin=off") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_for_people_is_one_line_with_the_fields_of_an_event() {
        let text = line(DateTime::UNIX_EPOCH, "WARN", "one\ntwo \"three\"", Some("four"));
        assert_eq!(
            text,
            r#"{"timestamp":"1970-01-01T00:00:00.000000Z","level":"WARN","message":"one\ntwo \"three\"","hint":"four","target":"gristmill"}"#
        );
        assert!(!line(Utc::now(), "INFO", "", None).contains("hint"));
    }

    #[test]
    fn the_client_of_the_broker_is_silent_unless_it_is_named() {
        assert_eq!(filter("info"), "info,lapin=off");
        assert_eq!(filter("warn,lapin=debug"), "warn,lapin=debug");
    }
}
