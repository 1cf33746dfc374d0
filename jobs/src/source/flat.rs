//! A line of JSON as a row: an object whose keys are known and whose values are plain.
//!
//! One pass over the line, which makes no object. Where anything is not as it is for most lines (other keys, values within
//! values, numbers that are not whole), there is no row, and the line is read as an object.

use std::borrow::Cow;

use gristmill_core::aggregate::Datum;
use gristmill_core::json;
use memchr::memchr2;
use serde_json::Value;

use super::csv::COLUMNS_MAX;

/// The most digits of a whole number that is read here.
const DIGITS_MAX: usize = 18;

/// The keys of a line, in their order. `None`: it is no object of plain values, has a key twice, or has more keys than a
/// table has columns: then every row of a chunk would be as wide as its first.
pub(super) fn keys(line: &[u8]) -> Option<Vec<String>> {
    let Ok(Value::Object(object)) = json::read(line.trim_ascii_end()) else { return None };
    if object.len() > COLUMNS_MAX {
        return None;
    }
    let keys: Vec<String> = object.keys().cloned().collect();
    // A key that was there twice has left one behind: then the line is no row by these keys.
    row(line, &keys).map(|_| keys)
}

/// The values of a line that has these keys, in this order. `None`: it is read as an object.
pub(super) fn row<'l>(line: &'l [u8], keys: &[String]) -> Option<Vec<Datum<'l>>> {
    let mut at = Cursor { text: std::str::from_utf8(line).ok()?, at: 0 };
    let mut row = Vec::with_capacity(keys.len() + 4);
    at.sign(b'{')?;
    for (number, key) in keys.iter().enumerate() {
        if number > 0 {
            at.sign(b',')?;
        }
        at.blank();
        if *at.text_between_quotes()? != **key {
            return None;
        }
        at.sign(b':')?;
        at.blank();
        row.push(at.value()?);
    }
    at.sign(b'}')?;
    at.blank();
    (at.at == line.len()).then_some(row)
}

struct Cursor<'l> {
    text: &'l str,
    at: usize,
}

impl<'l> Cursor<'l> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn sign(&mut self, sign: u8) -> Option<()> {
        self.blank();
        (self.next()? == sign).then(|| self.at += 1)
    }

    fn value(&mut self) -> Option<Datum<'l>> {
        match self.next()? {
            b'"' => self.text_between_quotes().map(Datum::Text),
            b'-' | b'0'..=b'9' => self.whole_number().map(Datum::Int),
            b't' => self.word("true", Datum::Bool(true)),
            b'f' => self.word("false", Datum::Bool(false)),
            b'n' => self.word("null", Datum::Null),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, datum: Datum<'l>) -> Option<Datum<'l>> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())?;
        Some(datum)
    }

    fn whole_number(&mut self) -> Option<i64> {
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest.as_bytes()[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let end = sign + digits;
        let plain = (1..=DIGITS_MAX).contains(&digits) && (digits == 1 || rest.as_bytes()[sign] != b'0');
        let goes_on = matches!(rest.as_bytes().get(end), Some(b'.' | b'e' | b'E'));
        if !plain || goes_on || &rest[..end] == "-0" {
            return None;
        }
        self.at += end;
        rest[..end].parse().ok()
    }

    fn text_between_quotes(&mut self) -> Option<Cow<'l, str>> {
        let begin = self.at;
        if self.next()? != b'"' {
            return None;
        }
        let inner = &self.text.as_bytes()[begin + 1..];
        let mut end = memchr2(b'"', b'\\', inner)?;
        let escaped = inner[end] == b'\\';
        while inner[end] == b'\\' {
            end += 2;
            end += memchr2(b'"', b'\\', inner.get(end..)?)?;
        }
        self.at = begin + end + 2;
        if escaped {
            let Ok(Value::String(text)) = json::read(&self.text.as_bytes()[begin..self.at]) else { return None };
            return Some(Cow::Owned(text));
        }
        let text = &self.text[begin + 1..self.at - 1];
        (!text.bytes().any(|byte| byte < b' ')).then_some(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(datum: &Datum<'_>) -> Value {
        match datum {
            Datum::Null => Value::Null,
            Datum::Bool(truth) => json!(truth),
            Datum::Int(number) => json!(number),
            Datum::Decimal(number) => json!(number.to_string()),
            Datum::Text(text) => json!(text),
        }
    }

    #[test]
    fn a_row_is_what_the_reader_of_objects_reads() {
        let values = [
            "1",
            "-3",
            "0",
            "-0",
            "01",
            "1.5",
            "1e3",
            "123456789012345678",
            "1234567890123456789",
            "null",
            "true",
            "false",
            "nul",
            "\"\"",
            "\"a\"",
            "\"\\u00e9\\n\"",
            "\"\u{e9}\"",
            "\"\\\"\"",
            "\"a\\\\\"",
            "\"\t\"",
            "[1]",
            "{}",
            "",
            "\"\\ud800\"",
            "\"open",
        ];
        let keys = ["a".to_owned(), "b c".to_owned()];
        for one in values {
            for two in values {
                for line in
                    [format!("{{\"a\":{one},\"b c\":{two}}}"), format!("{{ \"a\" : {one} , \"b c\" : {two} }}  ")]
                {
                    let Some(row) = row(line.as_bytes(), &keys) else { continue };
                    let right =
                        json::read(line.trim_ascii_end().as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
                    assert_eq!(json!({ "a": value(&row[0]), "b c": value(&row[1]) }), right, "{line}");
                }
            }
        }
        assert!(row(b"{\"a\":1,\"b c\":\"x\"}", &keys).is_some());
    }

    #[test]
    fn a_line_of_more_keys_than_a_table_has_columns_is_no_row() {
        let line = |keys: usize| {
            let pairs: Vec<String> = (0..keys).map(|key| format!("\"k{key}\":{key}")).collect();
            format!("{{{}}}", pairs.join(","))
        };
        assert_eq!(keys(line(COLUMNS_MAX).as_bytes()).map(|keys| keys.len()), Some(COLUMNS_MAX));
        assert_eq!(keys(line(COLUMNS_MAX + 1).as_bytes()), None);
    }

    #[test]
    fn a_line_of_other_keys_is_no_row() {
        let keys = keys(b"{\"a\":1,\"b\":null}").expect("keys");
        assert_eq!(keys, ["a", "b"]);
        for other in ["{\"b\":1,\"a\":2}", "{\"a\":1}", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":1,\"b\":2} x", "[]", ""] {
            assert_eq!(row(other.as_bytes(), &keys), None, "{other}");
        }
        assert_eq!(super::keys(b"{\"a\":1,\"a\":2}"), None);
        assert_eq!(super::keys(b"{\"a\":[]}"), None);
    }
}
