//! The reader of JSON (RFC 8259) itself.

use memchr::memchr2;
use serde_json::{Map, Value};

use super::error::{BadJson, Fault};
use super::number::nearest;

/// How much of a number a message shows.
const NUMBER_SHOWN: usize = 40;

/// What is wrong with a number that would be rounded.
const ROUNDED: &str = " has more digits than a number keeps exactly; write it as a string";

/// Reads one text.
pub(super) struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    depth_max: usize,
    inexact: Inexact,
}

/// What becomes of a number that would have to be rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inexact {
    /// The text is refused.
    Refused,
    /// It becomes the nearest number: what an earlier version has written.
    Nearest,
    /// It becomes a text.
    Text,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, depth_max: usize, inexact: Inexact) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0, depth_max, inexact }
    }

    /// The value that the whole text is.
    pub(super) fn document(mut self) -> Result<Value, BadJson> {
        let value = self.value()?;
        match self.next() {
            None => Ok(value),
            Some(_) => Err(self.wrong("something follows the value")),
        }
    }

    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn value(&mut self) -> Result<Value, BadJson> {
        match self.next() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::fields),
            Some(b'[') => self.nested(Self::elements),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.wrong("a value is expected")),
            None => Err(self.wrong("the text ends where a value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, BadJson> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong("a value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, BadJson>) -> Result<Value, BadJson> {
        if self.depth == self.depth_max {
            return Err(self.refused(Fault::Depth, format!("nested deeper than {} levels", self.depth_max)));
        }
        self.depth += 1;
        self.at += 1;
        let value = inside(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn elements(&mut self) -> Result<Value, BadJson> {
        let mut elements = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.ends(b']', "`,` or `]` is expected")? {
                return Ok(Value::Array(elements));
            }
        }
    }

    /// Of a key that is there twice the last value counts, at the place of the first.
    fn fields(&mut self) -> Result<Value, BadJson> {
        let mut fields = Map::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(fields));
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.wrong("a key in double quotes is expected"));
            }
            let key = self.string()?;
            if self.next() != Some(b':') {
                return Err(self.wrong("`:` is expected"));
            }
            self.at += 1;
            let value = self.value()?;
            fields.insert(key, value);
            if self.ends(b'}', "`,` or `}` is expected")? {
                return Ok(Value::Object(fields));
            }
        }
    }

    /// Whether what is open ends here, rather than goes on after a comma.
    fn ends(&mut self, end: u8, expected: &str) -> Result<bool, BadJson> {
        match self.next() {
            Some(found) if found == end || found == b',' => {
                self.at += 1;
                Ok(found == end)
            }
            _ => Err(self.wrong(expected)),
        }
    }

    fn number(&mut self) -> Result<Value, BadJson> {
        let from = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.bytes[self.at - whole] == b'0' {
            self.at -= whole;
            return Err(self.wrong("a number does not begin with 0"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let written = &self.text[from..self.at];
        match (nearest(written), self.inexact) {
            (Some((number, true)), _) | (Some((number, false)), Inexact::Nearest) => Ok(Value::Number(number)),
            (_, Inexact::Text) => Ok(Value::String(written.to_owned())),
            _ => {
                let shown = &written[..written.len().min(NUMBER_SHOWN)];
                Err(BadJson::at(Fault::Number, format!("the number {shown}"), self.text, from, ROUNDED))
            }
        }
    }

    /// Passes over digits, at least one.
    fn digits(&mut self) -> Result<usize, BadJson> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count == 0 { Err(self.wrong("a digit is expected")) } else { Ok(count) }
    }

    fn string(&mut self) -> Result<String, BadJson> {
        self.at += 1;
        let mut whole = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            if let Some(control) = rest[..plain].iter().position(|byte| *byte < b' ') {
                self.at += control;
                return Err(self.wrong("a control character inside a string must be escaped"));
            }
            whole.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(whole);
                }
                Some(_) => whole.push(self.escaped()?),
                None => return Err(self.wrong("the text ends inside a string")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, BadJson> {
        let character = match self.bytes.get(self.at + 1) {
            Some(b'u') => return self.unicode(),
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(sign @ (b'"' | b'\\' | b'/')) => char::from(*sign),
            _ => return Err(self.wrong("there is no such escape in JSON")),
        };
        self.at += 2;
        Ok(character)
    }

    /// `\u0041`, or a pair such as `\ud83d\ude00`.
    fn unicode(&mut self) -> Result<char, BadJson> {
        let first = self.unit(self.at)?;
        let (code, length) = match first {
            0xD800..=0xDBFF => match self.unit(self.at + 6)? {
                second @ 0xDC00..=0xDFFF => (0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00), 12),
                _ => return Err(self.wrong("half of a surrogate pair is no character")),
            },
            other => (other, 6),
        };
        let character = char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair is no character"))?;
        self.at += length;
        Ok(character)
    }

    /// The four hexadecimal digits after `\u`.
    fn unit(&self, at: usize) -> Result<u32, BadJson> {
        let digits = self.bytes.get(at..at + 6).and_then(|escape| escape.strip_prefix(b"\\u"));
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        code.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| {
            self.wrong("four hexadecimal digits are expected after `\\u`, and the second half of a pair")
        })
    }

    fn wrong(&self, problem: &str) -> BadJson {
        self.refused(Fault::Syntax, problem)
    }

    fn refused(&self, fault: Fault, problem: impl Into<String>) -> BadJson {
        BadJson::at(fault, problem, self.text, self.at, "")
    }
}
