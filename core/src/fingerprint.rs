//! Which errors are the same one: those of a kind whose texts differ only in what varies from job to job.
//!
//! Ids, numbers, addresses and quoted values are replaced; words stay, and so do the numbers that name an error, such as
//! `HTTP 503`. The rule is fixed: the same text has the same fingerprint in every process.

use std::fmt;

use sha2::{Digest, Sha256};

/// The most characters of a message as it is compared and shown.
pub const MESSAGE_CHARS_MAX: usize = 200;

/// The most characters of a class.
const CLASS_CHARS_MAX: usize = 40;

/// The longest quoted name that stays as it is.
const NAME_CHARS_MAX: usize = 32;

/// Words before a number that is the name of an error, and not a value.
const CODES: [&str; 9] = ["http", "status", "code", "error", "errno", "exit", "signal", "sqlstate", "version"];

/// What makes errors of jobs the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint {
    /// The kind of the jobs.
    pub kind: String,
    /// What the message begins with up to its first colon, such as `connection refused`; empty where there is none.
    pub class: String,
    /// The first line of the error, with `#`, `{id}`, `{hex}`, `{address}` and `…` for what varies.
    pub message: String,
}

impl Fingerprint {
    /// The fingerprint of a job's error.
    pub fn of(kind: &str, error: &str) -> Self {
        let line = error.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let message = normalized(line);
        Self { kind: kind.to_owned(), class: class(&message), message }
    }

    /// Its short name: twelve hexadecimal digits of a SHA-256 over its parts, each with its length.
    pub fn id(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.kind, &self.class, &self.message] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// What a message begins with, when that reads like the name of an error.
fn class(message: &str) -> String {
    let Some((first, _)) = message.split_once(": ") else { return String::new() };
    let plain = |c: char| c.is_alphanumeric() || " _-#".contains(c);
    let short = first.chars().count() <= CLASS_CHARS_MAX;
    if short && first.chars().all(plain) { first.to_owned() } else { String::new() }
}

/// A line without what varies.
fn normalized(line: &str) -> String {
    let unquoted = without_values(line);
    let mut last = String::new();
    let words: Vec<String> = unquoted.split_whitespace().map(|word| of_word(word, &mut last)).collect();
    words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect()
}

/// The text with `…` for each quoted value that is not a name.
fn without_values(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find(['`', '"', '\'']) {
        let quote = rest[at..].chars().next().unwrap_or('"');
        let (before, inner) = (&rest[..at], &rest[at + quote.len_utf8()..]);
        out.push_str(before);
        // The apostrophe of `can't` opens nothing.
        let opens = !before.ends_with(char::is_alphanumeric);
        let Some(end) = inner.find(quote).filter(|_| opens) else {
            out.push(quote);
            rest = inner;
            continue;
        };
        out.push(quote);
        out.push_str(if is_name(&inner[..end]) { &inner[..end] } else { "…" });
        out.push(quote);
        rest = &inner[end + quote.len_utf8()..];
    }
    out.push_str(rest);
    out
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphabetic() || "_-./:[]= ".contains(c);
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(fits)
}

/// A word without what varies. `last` is the last run of letters and digits before it.
fn of_word(word: &str, last: &mut String) -> String {
    if let Some(shown) = of_address(word) {
        last.clear();
        return shown;
    }
    let (mut out, mut rest) = (String::with_capacity(word.len()), word);
    while !rest.is_empty() {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        if end == 0 {
            let separator = rest.chars().next().unwrap_or(' ');
            out.push(separator);
            rest = &rest[separator.len_utf8()..];
            continue;
        }
        out.push_str(&of_atom(&rest[..end], last));
        last.clear();
        last.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    collapsed(out)
}

/// What stands for an address of mail, or of the web: of the latter, the host stays.
fn of_address(word: &str) -> Option<String> {
    if let Some((scheme, rest)) = word.split_once("://").filter(|(_, rest)| rest.starts_with(char::is_alphanumeric)) {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = host.trim_end_matches([')', ',', ';', ':', '.', '>', '"', '\'', '`', ']']);
        let numbered = host.chars().all(|c| c.is_ascii_digit() || ".:[]".contains(c));
        return Some(format!("{scheme}://{}", if numbered { "#" } else { host }));
    }
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let (local, domain) = core.split_once('@')?;
    let fits = !local.is_empty() && domain.contains('.');
    fits.then(|| word.replacen(core, "{address}", 1))
}

/// A run of letters, digits and hyphens without what varies.
fn of_atom(atom: &str, last: &str) -> String {
    let digits = atom.chars().filter(char::is_ascii_digit).count();
    if digits == 0 {
        return atom.to_owned();
    }
    let named = digits == atom.len() && digits <= 5 && CODES.iter().any(|code| code.eq_ignore_ascii_case(last));
    if named {
        return atom.to_owned();
    }
    if uuid::Uuid::try_parse(atom).is_ok() {
        return "{id}".to_owned();
    }
    if atom.len() >= 8 && digits < atom.len() && atom.chars().all(|c| c.is_ascii_hexdigit()) {
        return "{hex}".to_owned();
    }
    let mut out = String::with_capacity(atom.len());
    for c in atom.chars() {
        match c {
            c if c.is_ascii_digit() && out.ends_with('#') => {}
            c if c.is_ascii_digit() => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

/// Numbers with dots, colons or hyphens between them, such as addresses and dates, become one.
fn collapsed(mut text: String) -> String {
    for joint in ["#.#", "#:#", "#-#", "#,#"] {
        while text.contains(joint) {
            text = text.replace(joint, "#");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: &str) -> String {
        Fingerprint::of("email", error).message
    }

    #[test]
    fn what_varies_from_job_to_job_is_replaced() {
        for (error, shown) in [
            ("timed out after 31 s", "timed out after # s"),
            ("timed out after 30s", "timed out after #s"),
            ("cannot connect to 10.0.0.7:5432: refused", "cannot connect to #: refused"),
            ("job 0198f9c1-7d3a-7e55-8d6b-0a1b2c3d4e5f is gone", "job {id} is gone"),
            ("object 9f86d081884c7d65 is missing", "object {hex} is missing"),
            ("no mailbox for <ada@example.com>", "no mailbox for <{address}>"),
            ("GET https://u:p@api.example.com/v1/x?y=1 failed", "GET https://api.example.com failed"),
            ("GET http://127.0.0.1:8080/x failed", "GET http://# failed"),
            ("`12 EUR` is not a number", "`…` is not a number"),
            ("the field `price` is missing", "the field `price` is missing"),
            ("plain `http://` is refused; set `[http] plain`", "plain `http://` is refused; set `[http] plain`"),
            ("it can't be read", "it can't be read"),
            ("on 2026-11-30 at 03:04:05", "on # at #"),
        ] {
            assert_eq!(message(error), shown, "{error}");
        }
    }

    #[test]
    fn a_number_that_names_an_error_stays() {
        for error in ["HTTP 503", "exit code 3", "refused (os error 111)", "SQLSTATE 40001"] {
            assert_eq!(message(error), error);
        }
        assert_ne!(Fingerprint::of("http", "HTTP 503").id(), Fingerprint::of("http", "HTTP 404").id());
        assert_eq!(message("HTTP 503 after 17 tries"), "HTTP 503 after # tries");
    }

    #[test]
    fn only_the_first_line_counts_and_it_is_bounded() {
        assert_eq!(message("\n  panicked: boom\n  at line 7"), "panicked: boom");
        assert_eq!(message(""), "");
        assert_eq!(message(&"é".repeat(5_000)).chars().count(), MESSAGE_CHARS_MAX);
    }

    #[test]
    fn the_class_is_what_reads_like_a_name() {
        let class = |error: &str| Fingerprint::of("x", error).class;
        assert_eq!(class("connection refused: tcp connect error"), "connection refused");
        assert_eq!(class("GET https://a.example/: refused"), "");
        assert_eq!(class("boom"), "");
    }

    #[test]
    fn kinds_are_apart_and_the_short_name_stays_the_same() {
        let one = Fingerprint::of("email", "timed out after 3 s");
        assert_eq!(one.id(), Fingerprint::of("email", "timed out after 44 s").id());
        assert_ne!(one.id(), Fingerprint::of("http", "timed out after 3 s").id());
        assert_eq!(one.id().len(), 12);
        assert_eq!(one.to_string(), "email: timed out after # s");
    }

    #[test]
    fn nothing_that_is_said_breaks_it() {
        for odd in ["`", "'''", "\"", "://", "@", "a@b.c@d", "#:#:#", "`é", "\u{202e}x", "{id}", "--", "1-"] {
            let found = Fingerprint::of("x", odd);
            assert_eq!(Fingerprint::of("x", odd), found, "{odd}");
        }
    }
}
