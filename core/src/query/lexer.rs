//! From the text of a query to its terms, each part with its position.

use super::{Fault, QUERY_BYTES_MAX, TERMS_MAX, VALUES_MAX};

/// A term as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawTerm {
    pub(super) negated: bool,
    pub(super) key: Part,
    pub(super) compare: &'static str,
    pub(super) values: Vec<RawValue>,
}

/// A text at a position, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) at: usize,
    pub(super) text: String,
}

/// A value as it is written, without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawValue {
    pub(super) part: Part,
    pub(super) quoted: bool,
    /// Whether a `*` follows.
    pub(super) prefix: bool,
}

/// The longer ones first.
const COMPARES: [&str; 6] = [">=", "<=", ">", "<", ":", "="];

/// Where a reader is.
struct Reader {
    chars: Vec<char>,
    at: usize,
}

/// Reads all terms.
pub(super) fn terms(text: &str) -> Result<Vec<RawTerm>, Fault> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(Fault { at: 1, message: format!("the query has more than {QUERY_BYTES_MAX} bytes") });
    }
    let mut reader = Reader { chars: text.chars().collect(), at: 0 };
    let mut terms = Vec::new();
    while reader.skip_blanks() {
        if terms.len() == TERMS_MAX {
            return Err(reader.fault(format!("this is one term too many: {TERMS_MAX} are the most")));
        }
        terms.push(reader.term()?);
    }
    Ok(terms)
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: self.at + 1, message: message.into() }
    }

    /// Whether anything is left.
    fn skip_blanks(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.at < self.chars.len()
    }

    fn ends(&self) -> bool {
        self.peek().is_none_or(char::is_whitespace)
    }

    fn term(&mut self) -> Result<RawTerm, Fault> {
        let negated = self.peek() == Some('-');
        self.at += usize::from(negated);
        let key = self.key()?;
        let Some(compare) = COMPARES.into_iter().find(|word| self.follows(word)) else {
            let Part { at, text } = key;
            let message = format!("`{text}` has no key; write one before it, such as `kind:{text}` or `error:{text}`");
            return Err(Fault { at, message });
        };
        if compare == "=" {
            return Err(self.fault(format!("`=` compares nothing here; write `{}:`", key.text)));
        }
        self.at += compare.len();
        let mut values = Vec::new();
        loop {
            if values.len() == VALUES_MAX {
                return Err(self.fault(format!("this is one value too many: {VALUES_MAX} are the most")));
            }
            values.push(self.value()?);
            if self.peek() != Some(',') {
                return Ok(RawTerm { negated, key, compare, values });
            }
            self.at += 1;
        }
    }

    fn follows(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(index, letter)| self.chars.get(self.at + index) == Some(&letter))
    }

    fn key(&mut self) -> Result<Part, Fault> {
        let begin = self.at;
        while self.peek().is_some_and(|letter| !letter.is_whitespace() && !":<>=\",".contains(letter)) {
            self.at += 1;
        }
        let text: String = self.chars[begin..self.at].iter().collect();
        match self.peek() {
            Some('"') => Err(self.fault("a text in quotes stands behind a key, such as `error:\"no route\"`")),
            Some(',') => Err(self.fault("a comma stands between values, such as `state:retry,dead`")),
            _ if text.is_empty() => Err(self.fault("a key is missing here, such as `state:` or `kind:`")),
            _ => Ok(Part { at: begin + 1, text }),
        }
    }

    fn value(&mut self) -> Result<RawValue, Fault> {
        let at = self.at + 1;
        let quoted = self.peek() == Some('"');
        let text = if quoted { self.quoted()? } else { self.bare()? };
        let prefix = self.peek() == Some('*');
        self.at += usize::from(prefix);
        if !self.ends() && self.peek() != Some(',') {
            let after =
                if prefix { "a `*` stands at the end of a value" } else { "a blank or a comma is missing here" };
            return Err(self.fault(format!("{after}; put a value that holds other signs into quotes")));
        }
        if text.is_empty() && !quoted && !prefix {
            return Err(self.fault("a value is missing here; `\"\"` is the empty text"));
        }
        Ok(RawValue { part: Part { at, text }, quoted, prefix })
    }

    fn bare(&mut self) -> Result<String, Fault> {
        let begin = self.at;
        while !self.ends() && !self.peek().is_some_and(|letter| ",*\"".contains(letter)) {
            self.at += 1;
        }
        if self.peek() == Some('"') {
            return Err(self.fault("a quote stands at the beginning of a value; put the whole value into quotes"));
        }
        Ok(self.chars[begin..self.at].iter().collect())
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let (open, mut text) = (self.at + 1, String::new());
        self.at += 1;
        while let Some(letter) = self.peek() {
            self.at += 1;
            match letter {
                '"' => return Ok(text),
                '\\' => match self.peek() {
                    Some(escaped @ ('"' | '\\')) => {
                        text.push(escaped);
                        self.at += 1;
                    }
                    _ => return Err(self.fault("`\\` stands before `\"` or `\\`; write `\\\\` for a backslash")),
                },
                letter => text.push(letter),
            }
        }
        Err(Fault { at: open, message: "this quote is not closed".to_owned() })
    }
}
