//! What an attempt says while it runs: lines, of which the first and the last are kept.
//!
//! A program that says more than is kept loses what lies in the middle: the beginning shows what it was about to do, and
//! the end what became of it. Each line has its number, so that what is missing is seen.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::str::Chars;

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
    words: Kept,
    /// What a program writes on its standard output. It may turn out to be something else than words: until then it pushes
    /// none of the others out.
    output: Kept,
}

/// The first and the last of some lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
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
        bounds.have_room(self.lines.len(), self.bytes + bytes)
    }

    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
    }
}

impl AttemptLog {
    /// One in which nothing has been said.
    pub fn new(bounds: LogBounds) -> Self {
        Self { bounds, said: 0, words: Kept::default(), output: Kept::default() }
    }

    /// Adds what was said: a line for each of its lines, without control characters. Returns whether anything was added.
    pub fn say(&mut self, at: Instant, from: LogSource, level: Option<LogLevel>, text: &str) -> bool {
        if self.bounds.lines == 0 {
            return false;
        }
        let before = self.said;
        for line in text.lines() {
            let text = shortened(plain(line));
            if !text.is_empty() {
                self.said += 1;
                let kept = if from == LogSource::Stdout { &mut self.output } else { &mut self.words };
                kept.add(LogLine { number: self.said, at, source: from, level, text }, self.bounds);
            }
        }
        self.said > before
    }

    /// Takes back what a program has written on its standard output: it turned out to be something else.
    pub fn take_back_output(&mut self) {
        self.output = Kept::default();
    }

    /// How many lines were said.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// The lines that are kept, in order.
    pub fn lines(&self) -> Vec<&LogLine> {
        let mut all: Vec<&LogLine> = self.words.lines().chain(self.output.lines()).collect();
        all.sort_by_key(|line| line.number);
        self.bounds.cut(all)
    }
}

impl Kept {
    fn add(&mut self, line: LogLine, bounds: LogBounds) {
        let half = bounds.half();
        if !self.is_cut && self.last.lines.is_empty() && self.first.has_room(line.text.len(), half) {
            return self.first.push(line);
        }
        let rest = bounds.without(self.first.lines.len(), self.first.bytes);
        while !self.last.has_room(line.text.len(), rest) {
            self.is_cut = true;
            let Some(gone) = self.last.lines.pop_front() else { return };
            self.last.bytes -= gone.text.len();
        }
        self.last.push(line);
    }

    fn lines(&self) -> impl Iterator<Item = &LogLine> {
        self.first.lines.iter().chain(&self.last.lines)
    }
}

impl LogBounds {
    fn half(self) -> Self {
        Self { lines: self.lines.div_ceil(2), bytes: self.bytes.div_ceil(2) }
    }

    fn without(self, lines: usize, bytes: usize) -> Self {
        Self { lines: self.lines.saturating_sub(lines), bytes: self.bytes.saturating_sub(bytes) }
    }

    /// Whether another line is within them, with which there are so many bytes.
    fn have_room(self, lines: usize, bytes: usize) -> bool {
        lines < self.lines && bytes <= self.bytes
    }

    /// The first and the last of these lines, as many as are within the bounds.
    fn cut(self, mut all: Vec<&LogLine>) -> Vec<&LogLine> {
        let bytes: usize = all.iter().map(|line| line.text.len()).sum();
        if all.len() <= self.lines && bytes <= self.bytes {
            return all;
        }
        let (first, bytes) = self.half().hold(all.iter());
        let (last, _) = self.without(first, bytes).hold(all[first..].iter().rev());
        all.drain(first..all.len() - last);
        all
    }

    /// How many of these lines, one after the other, are within the bounds, and how many bytes that is.
    fn hold<'l>(self, lines: impl Iterator<Item = &'l &'l LogLine>) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for line in lines {
            if !self.have_room(count, bytes + line.text.len()) {
                break;
            }
            (count, bytes) = (count + 1, bytes + line.text.len());
        }
        (count, bytes)
    }
}

/// How many lines are missing between one and the next.
pub fn missing_between(one: &LogLine, next: &LogLine) -> u64 {
    next.number.saturating_sub(one.number + 1)
}

/// A line without control characters, and without the sequences by which a terminal is given colours, titles, links and
/// character sets. What is left has none: the function changes it no further.
pub fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\u{9b}' => skip_parameters(&mut chars),
            '\t' => text.push(c),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Skips what belongs to an escape character (ECMA-48).
fn skip_sequence(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek().copied() {
        Some('[') => {
            chars.next();
            skip_parameters(chars);
        }
        // A text for the terminal, such as a title or the address of a link, up to the bell or `ESC \`.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || c == '\u{9c}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    return;
                }
            }
        }
        // A character set: some signs, and a last one.
        Some(' '..='/') => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
        _ => {
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Skips a sequence of parameters: it ends with a letter or one of a few signs.
fn skip_parameters(chars: &mut Peekable<Chars<'_>>) {
    while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
}

/// A line that is not longer than is kept.
fn shortened(mut text: String) -> String {
    if text.len() > LINE_BYTES_MAX {
        let end = text.floor_char_boundary(LINE_BYTES_MAX - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
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
        log.lines().iter().map(|line| line.number).collect()
    }

    #[test]
    fn what_is_too_much_is_cut_out_of_the_middle() {
        let mut by_lines = log(5, 1_000);
        for number in 1..=9 {
            assert!(by_lines.say(AT, LogSource::Handler, Some(LogLevel::Info), &format!("line {number}")));
        }
        assert_eq!((numbers(&by_lines), by_lines.said()), (vec![1, 2, 3, 8, 9], 9));
        let lines = by_lines.lines();
        assert_eq!((missing_between(lines[2], lines[3]), missing_between(lines[3], lines[4])), (4, 0));

        let mut by_bytes = log(100, 40);
        for _ in 0..9 {
            by_bytes.say(AT, LogSource::Stderr, None, "ten bytes!");
        }
        assert_eq!(numbers(&by_bytes), [1, 2, 8, 9]);
        assert!(by_bytes.lines().iter().map(|line| line.text.len()).sum::<usize>() <= 40);
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
        let texts: Vec<&str> = all.lines().iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["red\tand plain", "last"]);
        all.say(AT, LogSource::Stdout, None, &"ä".repeat(LINE_BYTES_MAX));
        let longest = all.lines().pop().expect("a line");
        assert!(longest.text.len() <= LINE_BYTES_MAX && longest.text.ends_with("ä…"));
    }

    #[test]
    fn what_turned_out_to_be_the_output_is_taken_back() {
        let mut both = log(9, 1_000);
        both.say(AT, LogSource::Stdout, None, "{\"a\": 1}");
        both.say(AT, LogSource::Stderr, None, "a warning");
        both.take_back_output();
        assert_eq!(numbers(&both), [2]);
    }

    #[test]
    fn an_output_that_is_taken_back_has_pushed_nothing_out() {
        let mut both = log(6, 1_000);
        for number in 1..=6 {
            both.say(AT, LogSource::Stderr, None, &format!("warning {number}"));
            for row in 1..=3 {
                both.say(AT, LogSource::Stdout, None, &format!("row {row} of {number}"));
            }
        }
        assert_eq!(numbers(&both), [1, 2, 3, 22, 23, 24], "the bounds are those of both together");
        both.take_back_output();
        assert_eq!((numbers(&both), both.said()), (vec![1, 5, 9, 13, 17, 21], 24));
    }

    #[test]
    fn the_bounds_hold_for_both_together() {
        let mut both = log(100, 40);
        for from in [LogSource::Stderr, LogSource::Stdout].into_iter().cycle().take(9) {
            both.say(AT, from, None, "ten bytes!");
        }
        assert_eq!(numbers(&both), [1, 2, 8, 9]);
    }

    #[test]
    fn what_is_for_a_terminal_is_left_out() {
        for (line, shown) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("a\u{1b}(Bb\u{1b}[mc", "abc"),
            ("\u{1b}]8;;https://h.example\u{1b}\\link\u{1b}]8;;\u{7}s", "links"),
            ("\u{1b}]0;a title\u{7}text", "text"),
            ("a\u{9b}31mb\u{1b}7c\u{1b}", "abc"),
            ("a\u{8}b\rc", "abc"),
            ("never ends \u{1b}]0;a title", "never ends"),
        ] {
            assert_eq!(plain(line), shown, "{line:?}");
            assert_eq!(plain(shown), shown, "nothing is left to be done");
        }
    }
}
