//! What people and scripts see: data on standard output, messages on standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat, Utc};
use gristmill_core::Instant;
use gristmill_core::result_table::{cell, tables};
use serde::Serialize;
use serde_json::Value;

use crate::config::LogFormat;
use crate::exit_code::{CommandError, Exit, Result};

/// Why data could not be written to standard output, of which a process has one.
static LOST: OnceLock<String> = OnceLock::new();

/// How data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON document.
    Json,
    /// Fields separated by tabs, no header, for other programs.
    Plain,
    /// Aligned columns with a header, for people.
    Table,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// How data is shown.
    pub(crate) format: Format,
    /// Whether messages are left out.
    pub(crate) quiet: bool,
    color: bool,
    /// How messages look.
    pub(crate) messages: LogFormat,
}

impl Output {
    /// Decides by the flags and by the type of standard output.
    pub(crate) fn new(json: bool, plain: bool, quiet: bool, color: Color) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let format = match (json, plain || !terminal) {
            (true, _) => Format::Json,
            (false, true) => Format::Plain,
            (false, false) => Format::Table,
        };
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wanted = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR") || std::env::var("TERM").is_ok_and(|term| term == "dumb") => false,
            Color::Auto => set("FORCE_COLOR") || terminal,
        };
        Self { format, quiet, color: wanted && format == Format::Table, messages: LogFormat::Text }
    }

    /// The same with messages in the format of the log.
    pub(crate) fn logging(self, messages: LogFormat) -> Self {
        Self { messages, ..self }
    }

    /// Whether a person watches the messages.
    pub(crate) fn interactive(&self) -> bool {
        std::io::stderr().is_terminal() && !self.quiet && self.messages == LogFormat::Text
    }

    /// Prints one JSON document.
    pub(crate) fn document(&self, document: &impl Serialize) {
        match serde_json::to_string_pretty(document) {
            // Outside its texts JSON has no such characters, and within them this means the same.
            Ok(text) => print(&escaped(&text, json_escape)),
            Err(error) => lost(format!("the result is no JSON: {error}")),
        }
    }

    /// Prints one line of data.
    pub(crate) fn line(&self, text: &str) {
        print(&visible(text));
    }

    /// Prints a message for people, on standard error.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.message("INFO", text, None);
        }
    }

    /// Prints what went wrong without ending the command, which even `--quiet` does not hide.
    pub(crate) fn warning(&self, text: &str) {
        match self.messages {
            LogFormat::Text => self.message("WARN", &format!("warning: {text}"), None),
            LogFormat::Json => self.message("WARN", text, None),
        }
    }

    /// Prints an error, which even `--quiet` does not hide.
    pub(crate) fn error(&self, text: &str) {
        self.message("ERROR", text, None);
    }

    /// Prints why a command failed, and what would be right.
    pub(crate) fn failure(&self, error: &CommandError) {
        match self.messages {
            LogFormat::Text => self.message("ERROR", &format!("error: {}", error.message), error.hint.as_deref()),
            LogFormat::Json => self.message("ERROR", &error.message, error.hint.as_deref()),
        }
    }

    /// A line in the format of the log. Nothing can be said about a message that cannot be written.
    fn message(&self, level: &str, text: &str, hint: Option<&str>) {
        let line = match (self.messages, hint) {
            (LogFormat::Text, None) => text.to_owned(),
            (LogFormat::Text, Some(hint)) => format!("{text}\n  {hint}"),
            (LogFormat::Json, hint) => gristmill_telemetry::log::line(Utc::now(), level, text.trim(), hint),
        };
        let _ = writeln!(std::io::stderr().lock(), "{}", visible(&line));
    }

    /// Prints a list: an array in JSON, lines with tabs when plain, a table for people.
    pub(crate) fn list<T: Serialize>(&self, rows: &[T], columns: &[&str], cells: impl Fn(&T, &Self) -> Vec<String>) {
        match self.format {
            Format::Json => self.document(&rows),
            Format::Plain => {
                for row in rows {
                    let cells: Vec<String> = cells(row, self).iter().map(|cell| one_line(cell)).collect();
                    self.line(&cells.join("\t"));
                }
            }
            Format::Table if rows.is_empty() => self.note("nothing to list"),
            Format::Table => {
                let cells: Vec<Vec<String>> =
                    rows.iter().map(|row| cells(row, self).iter().map(|cell| one_line(cell)).collect()).collect();
                self.table(columns, &cells);
            }
        }
    }

    /// Prints one thing: its JSON, or its fields, one per line.
    pub(crate) fn fields(&self, document: &impl Serialize, fields: &[(&str, String)]) {
        match self.format {
            Format::Json => self.document(document),
            Format::Plain => {
                for (name, value) in fields {
                    self.line(&format!("{name}\t{}", one_line(value)));
                }
            }
            Format::Table => {
                let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                for (name, value) in fields {
                    self.styled_line(&format!("{name:width$}"), &format!("  {value}"));
                }
            }
        }
    }

    /// An instant: RFC 3339 for programs, how long ago for people.
    pub(crate) fn time(&self, at: Instant) -> String {
        match self.format {
            Format::Json | Format::Plain => rfc3339(at),
            Format::Table => relative(at, Utc::now()),
        }
    }

    /// An instant that may be missing.
    pub(crate) fn time_or_dash(&self, at: Option<Instant>) -> String {
        at.map_or("-".to_owned(), |at| self.time(at))
    }

    fn table(&self, columns: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([columns[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let pad = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.styled_line(&pad(columns.to_vec()), "");
        for row in rows {
            self.line(&pad(row.iter().map(String::as_str).collect()));
        }
    }

    /// Prints a line whose beginning is bold. Ours are the only control sequences that reach a terminal.
    fn styled_line(&self, bold: &str, rest: &str) {
        let (bold, rest) = (visible(bold), visible(rest));
        let line = if self.color { format!("\u{1b}[1m{bold}\u{1b}[0m{rest}") } else { format!("{bold}{rest}") };
        print(&line);
    }
}

/// Notes it when data could not be written. A reader that has gone away is not our error.
pub(crate) fn wrote(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        lost(error.to_string());
    }
}

fn lost(why: String) {
    LOST.get_or_init(|| why);
}

/// Returns whether all data has arrived on standard output.
///
/// # Errors
///
/// When some of it could not be written, as on a full disk.
pub(crate) fn arrived() -> Result<()> {
    wrote(std::io::stdout().flush());
    let Some(why) = LOST.get() else { return Ok(()) };
    Err(CommandError::new(Exit::Failed, format!("the result could not be written to standard output: {why}"))
        .hint("what the command did is done; make room, or write the result somewhere else"))
}

/// A text in one line and one column: line ends and tabs are blanks, and what a terminal would obey is shown.
pub(crate) fn one_line(text: &str) -> String {
    let flat: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    visible(&flat).into_owned()
}

/// A text that no terminal obeys: what would move its cursor, change its colours, answer in the user's name or turn the
/// direction of writing is shown as an escape, such as `\u{1b}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c.escape_unicode().to_string())
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_obeyed(c) { escape(c) } else { c.to_string() }).collect())
}

fn json_escape(c: char) -> String {
    format!("\\u{:04x}", u32::from(c))
}

/// Control characters, and those that turn the direction of writing, by which a text looks like another.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Prints a line of data that no terminal obeys.
fn print(text: &str) {
    wrote(writeln!(std::io::stdout().lock(), "{text}"));
}

/// The values of a batch's result by name, for people: a group is a line for each of its values.
pub(crate) fn result_fields(result: &serde_json::Map<String, Value>, format: Format) -> Vec<(&str, String)> {
    let mut fields = Vec::new();
    for (name, value) in result {
        match value {
            Value::Object(group) if format == Format::Table && !group.is_empty() => {
                let width = group.keys().map(|key| key.chars().count()).max().unwrap_or(0);
                let lines = group
                    .iter()
                    .take(GROUP_LINES)
                    .map(|(key, value)| format!("{:width$}  {}", one_line(key), one_line(&spaced(&brief(value)))));
                // The name stands once, before the first of its lines.
                fields.extend(std::iter::once(name.as_str()).chain(std::iter::repeat("")).zip(lines));
                if group.len() > GROUP_LINES {
                    fields.push(("", format!("and {} more: see them with --json", group.len() - GROUP_LINES)));
                }
            }
            Value::Array(rows) if format == Format::Table && rows.iter().any(Value::is_object) => {
                fields.extend(std::iter::once(name.as_str()).chain(std::iter::repeat("")).zip(rows_of(name, value)));
            }
            value if format == Format::Table => fields.push((name, spaced(&brief(value)))),
            value => fields.push((name, brief(value))),
        }
    }
    fields
}

/// The lines of a table: its columns, and its first rows.
fn rows_of(name: &str, value: &Value) -> Vec<String> {
    let result = Value::Object(std::iter::once((name.to_owned(), value.clone())).collect());
    let Some(table) = tables(&result).into_iter().next() else { return Vec::new() };
    let header = table.columns.iter().map(|column| one_line(column)).collect();
    let rows = table
        .rows
        .iter()
        .take(GROUP_LINES)
        .map(|row| row.iter().map(|value| one_line(&spaced(&cell(value)))).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |place: usize| lines.iter().filter_map(|line| line.get(place)).map(|text| text.chars().count()).max();
    let padded = |(place, text): (usize, &String)| {
        let width = width(place).unwrap_or(0);
        if table.is_numeric(place) { format!("{text:>width$}") } else { format!("{text:width$}") }
    };
    let shown = lines
        .iter()
        .map(|line| line.iter().enumerate().map(padded).collect::<Vec<_>>().join("  ").trim_end().to_owned());
    let more = table.rows.len().saturating_sub(GROUP_LINES);
    shown.chain((more > 0).then(|| format!("and {more} more: see them with `batch results`"))).collect()
}

/// The most values of a group that are shown to people.
const GROUP_LINES: usize = 20;

/// A number with its thousands separated, whatever comes after its point; any other text as it is.
fn spaced(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, point) = rest.find('.').map_or((rest, ""), |at| rest.split_at(at));
    let figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match whole.parse() {
        // A text with a leading zero is not a number: it may be an article or a postcode.
        Ok(number)
            if figures(whole)
                && figures(point.trim_start_matches('.'))
                && (whole == "0" || !whole.starts_with('0')) =>
        {
            format!("{sign}{}{point}", grouped(number))
        }
        _ => text.to_owned(),
    }
}

/// A JSON value as one short text.
pub(crate) fn brief(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How long ago, or how far ahead: `3m ago`, `in 2h`.
pub(crate) fn relative(at: Instant, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let span = |seconds: i64| match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    };
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{} ago", span(seconds)),
        _ => format!("in {}", span(-seconds)),
    }
}

/// A number with its thousands separated, for people: `100 000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn times_are_relative_for_people() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        assert_eq!(relative(now - TimeDelta::seconds(61), now), "1m ago");
        assert_eq!(relative(now + TimeDelta::hours(3), now), "in 3h");
        assert_eq!(relative(now, now), "now");
        assert_eq!(rfc3339(now), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)], ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn a_result_is_readable_and_exact() {
        let shown = ["1234567", "-1234567.05", "0.10", "007", "12a", "1.2.3", ""].map(spaced);
        assert_eq!(shown, ["1 234 567", "-1 234 567.05", "0.10", "007", "12a", "1.2.3", ""]);
        let Value::Object(result) = serde_json::json!({ "by": { "FR": "1000.5", "Kenya": 2 }, "rows": 3 }) else {
            panic!("an object")
        };
        let lines = |format| result_fields(&result, format);
        let expected = [("by", "FR     1 000.5"), ("", "Kenya  2"), ("rows", "3")];
        assert_eq!(lines(Format::Table), expected.map(|(name, text)| (name, text.to_owned())));
        assert_eq!(lines(Format::Plain)[0].1, r#"{"FR":"1000.5","Kenya":2}"#);
    }

    #[test]
    fn nothing_hostile_breaks_a_line() {
        assert_eq!(one_line("a\tb\r\n\u{1b}[31mc"), "a b  \\u{1b}[31mc");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_others_have_written() {
        for (text, shown) in [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\u{9b}2J\u{7f}\u{8}\r", "a\\u{9b}2J\\u{7f}\\u{8}\\u{d}"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("two\nlines\tand Grüße, עברית", "two\nlines\tand Grüße, עברית"),
        ] {
            assert_eq!(visible(text), shown);
            let document = serde_json::to_string_pretty(&serde_json::json!({ text: [text] })).expect("JSON");
            let printed = escaped(&document, json_escape).into_owned();
            assert!(!printed.contains(is_obeyed), "{printed}");
            assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), serde_json::json!({ text: [text] }));
        }
    }
}
