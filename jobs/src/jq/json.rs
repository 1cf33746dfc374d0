//! Values as JSON texts, and back.

use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::{Map as JsonMap, Value};

use super::meter;
use super::number::Num;
use super::value::{Dict, List, Map, Text, Val};

/// The deepest nesting that is read from a text, and that a result may have.
pub(super) const DEPTH_MAX: usize = 64;

/// The price of a part of a result: what is shared among values is not shared in an item.
const PART_STEPS: usize = 8;

/// Writes a value as JSON in one line.
pub(super) fn written(value: &Val) -> String {
    let mut out = String::new();
    write(value, &mut out, usize::MAX);
    out
}

/// Writes the beginning of a value: about so many bytes.
pub(super) fn beginning(value: &Val, most: usize) -> String {
    let mut out = String::new();
    write(value, &mut out, most);
    out
}

fn write(value: &Val, out: &mut String, most: usize) {
    if out.len() > most {
        return;
    }
    meter::term();
    match value {
        Val::Null => out.push_str("null"),
        Val::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        // Writing to a String cannot fail.
        Val::Num(number) => drop(write!(out, "{number}")),
        Val::Str(text) if text.len() > most => {
            write_text(text.char_indices().nth(most).map_or(&**text, |(at, _)| &text[..at]), out);
        }
        Val::Str(text) => write_text(text, out),
        Val::Arr(list) => write_list(list, out, most),
        Val::Obj(dict) => write_object(dict, out, most),
    }
    meter::reserve(out.len());
}

fn write_list(list: &Rc<List>, out: &mut String, most: usize) {
    out.push('[');
    for (place, value) in list.iter().enumerate() {
        if out.len() > most {
            return;
        }
        if place > 0 {
            out.push(',');
        }
        write(value, out, most);
    }
    out.push(']');
}

fn write_object(dict: &Rc<Dict>, out: &mut String, most: usize) {
    out.push('{');
    for (place, (key, value)) in dict.iter().enumerate() {
        if out.len() > most {
            return;
        }
        if place > 0 {
            out.push(',');
        }
        write_text(key, out);
        out.push(':');
        write(value, out, most);
    }
    out.push('}');
}

fn write_text(text: &str, out: &mut String) {
    meter::touch(text.len());
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' || control == '\u{7f}' => drop(write!(out, "\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

/// Makes a value of an item.
pub(super) fn from_item(item: &Value) -> Val {
    match item {
        Value::Null => Val::Null,
        Value::Bool(truth) => Val::Bool(*truth),
        Value::Number(number) => Val::Num(Num::from_json(number)),
        Value::String(text) => Val::text(text.as_str()),
        Value::Array(items) => Val::list(items.iter().map(from_item).collect()),
        Value::Object(object) => {
            Val::dict(object.iter().map(|(key, value)| (Text::new(key.as_str()), from_item(value))).collect())
        }
    }
}

/// Makes an item of a value.
///
/// # Errors
///
/// When JSON cannot say it: numbers beyond what is exact, too many levels.
pub(super) fn to_item(value: &Val, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("the result is nested deeper than {DEPTH_MAX} levels"));
    }
    // A part of an item needs some hundred bytes.
    meter::work(PART_STEPS);
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(truth) => Value::Bool(*truth),
        Val::Num(number) => Value::Number(number.to_json()?),
        Val::Str(text) => {
            meter::touch(text.len());
            Value::String(text.to_string())
        }
        Val::Arr(list) => Value::Array(list.iter().map(|value| to_item(value, depth + 1)).collect::<Result<_, _>>()?),
        Val::Obj(dict) => Value::Object(
            dict.iter()
                .map(|(key, value)| Ok((key.to_string(), to_item(value, depth + 1)?)))
                .collect::<Result<JsonMap<_, _>, String>>()?,
        ),
    })
}

/// Reads one JSON text.
///
/// # Errors
///
/// What is wrong, and where.
pub(super) fn read(text: &str) -> Result<Val, String> {
    meter::touch(text.len());
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(1)?;
    reader.space();
    if reader.at < text.len() { Err(reader.problem("more text after the value")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn problem(&self, what: &str) -> String {
        format!("{what} at byte {} of {}", self.at + 1, super::quoted(self.text))
    }

    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Result<Val, String> {
        meter::work(1);
        if depth > DEPTH_MAX {
            return Err(self.problem(&format!("nested deeper than {DEPTH_MAX} levels")));
        }
        match self.peek() {
            None => Err(self.problem("a value was expected")),
            Some(b'"') => Ok(Val::Str(Text::new(self.string()?))),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(_) => self.word(),
        }
    }

    /// `null`, `true`, `false`, or a number.
    fn word(&mut self) -> Result<Val, String> {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.')).unwrap_or(rest.len());
        let value = match &rest[..end] {
            "null" => Val::Null,
            "true" => Val::Bool(true),
            "false" => Val::Bool(false),
            word => Val::Num(Num::read(word).ok_or_else(|| self.problem("a value was expected"))?),
        };
        self.at += end;
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Val, String> {
        let mut items = Vec::new();
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Val::list(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Val::list(items));
                }
                _ => return Err(self.problem("`,` or `]` was expected")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Val, String> {
        let mut map = Map::new();
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Val::dict(map));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.problem("a key in double quotes was expected"));
            }
            let key = Text::new(self.string()?);
            if self.peek() != Some(b':') {
                return Err(self.problem("`:` was expected"));
            }
            self.at += 1;
            map.insert(key, self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Val::dict(map));
                }
                _ => return Err(self.problem("`,` or `}` was expected")),
            }
        }
    }

    /// The text in double quotes here, by the rules of JSON.
    fn string(&mut self) -> Result<String, String> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut end = start + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let quoted = self.text.get(start..=end).ok_or_else(|| self.problem("a text that is not closed begins"))?;
        meter::touch(quoted.len());
        let text = serde_json::from_str(quoted).map_err(|_| self.problem("a text with a wrong escape begins"))?;
        self.at = end + 1;
        Ok(text)
    }
}
