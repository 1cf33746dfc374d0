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

/// A header of free text, such as the subject.
pub(super) fn text(name: &'static str, value: &str) -> HeaderValue {
    let header = HeaderName::new_from_ascii_str(name);
    if plain(value) {
        return HeaderValue::new(header, value.to_owned());
    }
    let encoded = encoded_words(value, name.len() + ": ".len());
    HeaderValue::dangerous_new_pre_encoded(header, value.to_owned(), encoded)
}

/// A header with one mailbox. `None` where the library's own is right.
pub(super) fn mailbox(name: &'static str, mailbox: &Mailbox) -> Option<HeaderValue> {
    // A name that is not ASCII, or has a `=` or a `?`, is encoded and folded by the library.
    let person = mailbox.name.as_deref().filter(|person| person.is_ascii() && !foldable(person))?;
    let encoded = format!("{}\r\n <{}>", encoded_words(person, name.len() + ": ".len()), mailbox.email);
    Some(HeaderValue::dangerous_new_pre_encoded(HeaderName::new_from_ascii_str(name), mailbox.to_string(), encoded))
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
}
