//! Header lines that hold any text and stay short.
//!
//! The library folds lines between words, and encodes words that are not ASCII. That leaves two texts which a reader
//! would not see as they are: a word that is longer than a line may be (998 characters, RFC 5322, 2.1.1), and one that
//! looks as if it were encoded already (`=?utf-8?q?…?=`), which would be shown decoded. Both are encoded here, as is
//! whatever else is not plain.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue};

/// The most characters of a line of encoded words (RFC 2047, 2).
const LINE: usize = 76;

/// What surrounds an encoded word.
const AROUND: (&str, &str) = ("=?utf-8?b?", "?=");

/// Headers that this room writes itself, or that only servers on the way may write: a sender must not set them by name.
const OURS: [&str; 21] = [
    "from",
    "sender",
    "to",
    "cc",
    "bcc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "auto-submitted",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "dkim-signature",
    "return-path",
    "received",
    "authentication-results",
    "delivered-to",
    "resent-from",
    "resent-to",
    "resent-date",
];

/// The longest name of a header.
const NAME_BYTES_MAX: usize = 76;

/// The longest value of a header.
const VALUE_CHARS_MAX: usize = 10_000;

/// Checks the name of a header that a sender adds, and the length of its value.
///
/// # Errors
///
/// When it is no name, or one that is written from the other parts of a message: a text that says what would be right.
pub(super) fn own(name: &str, value: &str) -> Result<HeaderName, String> {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(NAME_BYTES_MAX).collect();
    let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(token) {
        return Err(format!(
            "the header `{shown}` has no good name; use letters, digits and `-`, such as `X-Campaign`"
        ));
    }
    let lower = name.to_ascii_lowercase();
    if OURS.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("arc-") {
        return Err(format!("the header `{shown}` is written from the message's own parts; leave it out of `headers`"));
    }
    if value.chars().count() > VALUE_CHARS_MAX {
        return Err(format!("the header `{shown}` has more than {VALUE_CHARS_MAX} characters"));
    }
    HeaderName::new_from_ascii(name.to_owned()).map_err(|_| format!("the header `{shown}` has no good name"))
}

/// A header of free text, such as the subject.
pub(super) fn text(header: HeaderName, value: &str) -> HeaderValue {
    if plain(value) {
        return HeaderValue::new(header, value.to_owned());
    }
    let begun = header.len() + ": ".len();
    HeaderValue::dangerous_new_pre_encoded(header, value.to_owned(), encoded_words(value, begun))
}

/// A header of mailboxes. `None` where the library's own is right.
pub(super) fn mailboxes(name: &'static str, mailboxes: &[Mailbox]) -> Option<HeaderValue> {
    // A name that is not ASCII, or has a `=` or a `?`, is encoded and folded by the library.
    let strange = |mailbox: &Mailbox| mailbox.name.as_deref().is_some_and(|name| name.is_ascii() && !foldable(name));
    if !mailboxes.iter().any(strange) {
        return None;
    }
    let one = |mailbox: &Mailbox| match &mailbox.name {
        Some(person) => format!("{}\r\n <{}>", encoded_words(person, name.len() + ": ".len()), mailbox.email),
        None => mailbox.email.to_string(),
    };
    let raw: Vec<String> = mailboxes.iter().map(ToString::to_string).collect();
    let encoded: Vec<String> = mailboxes.iter().map(one).collect();
    let header = HeaderName::new_from_ascii_str(name);
    Some(HeaderValue::dangerous_new_pre_encoded(header, raw.join(", "), encoded.join(",\r\n ")))
}

/// A header whose value is made of URLs in angle brackets, one a line: nothing in it may be encoded.
pub(super) fn urls(name: &'static str, urls: &[String]) -> HeaderValue {
    let bracketed: Vec<String> = urls.iter().map(|url| format!("<{url}>")).collect();
    let header = HeaderName::new_from_ascii_str(name);
    HeaderValue::dangerous_new_pre_encoded(header, bracketed.join(", "), bracketed.join(",\r\n "))
}

/// A header of fixed words.
pub(super) fn fixed(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Whether a text means the same as it stands, and can be folded between its words.
fn plain(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !value.contains("=?") && foldable(value)
}

fn foldable(value: &str) -> bool {
    value.trim() == value && !value.contains("  ") && value.split(' ').all(|word| word.len() < LINE)
}

/// A text as encoded words, a line each. The first line has been begun already.
fn encoded_words(mut value: &str, begun: usize) -> String {
    let mut lines = Vec::new();
    while !value.is_empty() || lines.is_empty() {
        // A folded line begins with a space.
        let before = if lines.is_empty() { begun } else { 1 };
        let room = LINE - before.min(LINE / 2) - AROUND.0.len() - AROUND.1.len();
        let (word, rest) = value.split_at(value.floor_char_boundary((room / 4 * 3).min(value.len())));
        lines.push(format!("{}{}{}", AROUND.0, STANDARD.encode(word), AROUND.1));
        value = rest;
    }
    lines.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoded: &str) -> String {
        let word = |word: &str| {
            let text = word.strip_prefix(AROUND.0).and_then(|word| word.strip_suffix(AROUND.1)).expect("encoded");
            String::from_utf8(STANDARD.decode(text).expect("base64")).expect("whole characters")
        };
        encoded.split("\r\n ").map(word).collect()
    }

    #[test]
    fn any_text_survives_in_short_lines() {
        for text in
            ["y".repeat(5_000), "ü€😀".repeat(700), "=?utf-8?q?Hi?=".to_owned(), " ".repeat(3_000), "é".to_owned()]
        {
            for begun in [4, 9, 60] {
                let encoded = encoded_words(&text, begun);
                assert_eq!(decoded(&encoded), text);
                let longest = encoded.split("\r\n").map(str::len).max().unwrap_or_default();
                assert!(longest <= LINE && encoded.find("\r\n").unwrap_or(encoded.len()) + begun.min(38) <= LINE);
            }
        }
    }

    #[test]
    fn only_what_a_reader_sees_as_it_is_stays_as_it_is() {
        for text in ["Hello, you", "", "100 % = all?", "a = b ?"] {
            assert!(plain(text), "{text}");
        }
        for text in ["=?x?q?y?=", "a=?", "Grüße", " a", "a ", "a  b", &"y".repeat(76)] {
            assert!(!plain(text), "{text}");
        }
    }

    #[test]
    fn a_sender_adds_no_header_that_a_message_has_already_and_none_that_is_no_name() {
        for name in
            ["To", "BCC", "DKIM-Signature", "Content-Type", "content-x", "Received", "", "X Y", "X:", "X\r\nTo", "ü"]
        {
            let error = own(name, "v").expect_err(name);
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        for name in ["X-Campaign", "List-Id", "In-Reply-To", "Feedback-ID"] {
            own(name, "v").expect(name);
        }
        own("X-Long", &"y".repeat(10_001)).expect_err("too long");
    }
}
