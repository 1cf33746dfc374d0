//! What an attempt says while it runs: lines, of which the first and the last are kept.
//!
//! A program that says more than is kept loses what lies in the middle: the beginning shows what it was about to do, and
//! the end what became of it. Each line has its number, so that what is missing is seen.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Instant;

crate::words! {
    /// Where a line came from.
    pub enum LogSource {
        /// The handler: an event of its log.
        Handler = "handler",
        /// A program's standard output.
        Stdout = "stdout",
        /// A program's standard error.
        Stderr = "stderr",
    }
}

crate::words! {
    /// How much a line matters.
    pub enum LogLevel {
        /// Something failed.
        Error = "error",
        /// Something is odd.
        Warn = "warn",
        /// Something happened.
        Info = "info",
        /// For those who look for a fault.
        Debug = "debug",
        /// For those who look closer.
        Trace = "trace",
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// Its number among all that the attempt said, from 1.
    pub number: u64,
    /// When it was said, by the clock of the worker.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub at: Instant,
    /// Where it came from.
    pub source: LogSource,
    /// How much it matters; `null` for a program's.
    pub level: Option<LogLevel>,
    /// What it says.
    pub text: String,
}

/// How much of what one attempt says is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The most lines; 0 keeps none.
    pub lines: usize,
    /// The most bytes of their texts.
    pub bytes: usize,
}

/// The most bytes of one line.
pub const LINE_BYTES_MAX: usize = 4 * 1024;

/// What an attempt has said, within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    bounds: LogBounds,
    said: u64,
    first: Part,
    last: Part,
    /// Something was cut out: what comes goes behind it.
    is_cut: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Part {
    fn has_room(&self, bytes: usize, bounds: LogBounds) -> bool {
        self.lines.len() < bounds.lines && self.bytes + bytes <= bounds.bytes
    }

    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
    }

    fn keep(&mut self, keeps: impl Fn(&LogLine) -> bool) {
        self.lines.retain(keeps);
        self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
    }
}

impl AttemptLog {
    /// One in which nothing has been said.
    pub fn new(bounds: LogBounds) -> Self {
        Self { bounds, said: 0, first: Part::default(), last: Part::default(), is_cut: false }
    }

    /// Adds what was said: a line for each of its lines, without control characters. Returns whether anything was added.
    pub fn say(&mut self, at: Instant, from: LogSource, level: Option<LogLevel>, text: &str) -> bool {
        if self.bounds.lines == 0 {
            return false;
        }
        let before = self.said;
        for line in text.lines() {
            let text = plain(line);
            if !text.is_empty() {
                self.said += 1;
                self.add(LogLine { number: self.said, at, source: from, level, text });
            }
        }
        self.said > before
    }

    fn add(&mut self, line: LogLine) {
        let LogBounds { lines, bytes } = self.bounds;
        let half = LogBounds { lines: lines.div_ceil(2), bytes: bytes.div_ceil(2) };
        if !self.is_cut && self.last.lines.is_empty() && self.first.has_room(line.text.len(), half) {
            return self.first.push(line);
        }
        let rest = LogBounds { lines: lines - self.first.lines.len(), bytes: bytes.saturating_sub(self.first.bytes) };
        while !self.last.has_room(line.text.len(), rest) {
            self.is_cut = true;
            let Some(gone) = self.last.lines.pop_front() else { return };
            self.last.bytes -= gone.text.len();
        }
        self.last.push(line);
    }

    /// Takes back what came from one source: it turned out to be something else.
    pub fn take_back(&mut self, from: LogSource) {
        self.first.keep(|line| line.source != from);
        self.last.keep(|line| line.source != from);
    }

    /// How many lines were said.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// The lines that are kept, in order.
    pub fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.first.lines.iter().chain(&self.last.lines)
    }
}

/// How many lines are missing between one and the next.
pub fn missing_between(one: &LogLine, next: &LogLine) -> u64 {
    next.number.saturating_sub(one.number + 1)
}

/// A line without control characters and the sequences that colour terminals, and not longer than is kept.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut chars = line.trim_end().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                // The sequence ends with a letter or one of a few signs.
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
            '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
        if text.len() > LINE_BYTES_MAX {
            let end = text.floor_char_boundary(LINE_BYTES_MAX - '…'.len_utf8());
            text.truncate(end);
            text.push('…');
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Instant = Instant::UNIX_EPOCH;

    fn log(lines: usize, bytes: usize) -> AttemptLog {
        AttemptLog::new(LogBounds { lines, bytes })
    }

    fn numbers(log: &AttemptLog) -> Vec<u64> {
        log.lines().map(|line| line.number).collect()
    }

    #[test]
    fn what_is_too_much_is_cut_out_of_the_middle() {
        let mut by_lines = log(5, 1_000);
        for number in 1..=9 {
            assert!(by_lines.say(AT, LogSource::Handler, Some(LogLevel::Info), &format!("line {number}")));
        }
        assert_eq!((numbers(&by_lines), by_lines.said()), (vec![1, 2, 3, 8, 9], 9));
        let lines: Vec<&LogLine> = by_lines.lines().collect();
        assert_eq!((missing_between(lines[2], lines[3]), missing_between(lines[3], lines[4])), (4, 0));

        let mut by_bytes = log(100, 40);
        for _ in 0..9 {
            by_bytes.say(AT, LogSource::Stderr, None, "ten bytes!");
        }
        assert_eq!(numbers(&by_bytes), [1, 2, 8, 9]);
        assert!(by_bytes.lines().map(|line| line.text.len()).sum::<usize>() <= 40);
    }

    #[test]
    fn a_line_that_fits_nowhere_leaves_its_number_alone() {
        let mut small = log(4, 10);
        small.say(AT, LogSource::Handler, None, "far too long for it");
        small.say(AT, LogSource::Handler, None, "short");
        assert_eq!((numbers(&small), small.said()), (vec![2], 2));
    }

    #[test]
    fn nothing_is_kept_where_nothing_may_be() {
        let mut none = log(0, 0);
        assert!(!none.say(AT, LogSource::Handler, None, "hello"));
        assert_eq!((numbers(&none), none.said()), (vec![], 0));
    }

    #[test]
    fn a_line_is_text_and_nothing_else() {
        let mut all = log(9, 100_000);
        all.say(AT, LogSource::Stdout, None, "\u{1b}[31mred\u{1b}[0m\tand\u{0} plain\r\n\n  \nlast");
        let texts: Vec<&str> = all.lines().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["red\tand plain", "last"]);
        all.say(AT, LogSource::Stdout, None, &"ä".repeat(LINE_BYTES_MAX));
        let longest = all.lines().last().expect("a line");
        assert!(longest.text.len() <= LINE_BYTES_MAX && longest.text.ends_with("ä…"));
    }

    #[test]
    fn what_turned_out_to_be_the_output_is_taken_back() {
        let mut both = log(9, 1_000);
        both.say(AT, LogSource::Stdout, None, "{\"a\": 1}");
        both.say(AT, LogSource::Stderr, None, "a warning");
        both.take_back(LogSource::Stdout);
        assert_eq!(numbers(&both), [2]);
    }
}
