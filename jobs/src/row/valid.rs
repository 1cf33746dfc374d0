//! Whether a row of texts plainly satisfies a JSON Schema.
//!
//! Knows only what can be told of texts without doubt. Where it does not know, the schema itself is asked.

use gristmill_core::aggregate::Datum;
use regex::Regex;
use serde_json::Value;

use super::names::Names;

/// What must hold of the texts of a row.
#[derive(Debug, Default)]
pub(super) struct Plainly(Vec<(usize, Holds)>);

#[derive(Debug)]
enum Holds {
    Text,
    MinLength(usize),
    MaxLength(usize),
    OneOf(Vec<String>),
    Pattern(Regex),
}

impl Plainly {
    /// Reads a schema. `None`: it says more than can be told here, or something that no row of these fields satisfies.
    pub(super) fn of(schema: &Value, names: &Names) -> Option<Self> {
        let mut plainly = Self::default();
        for (word, value) in schema.as_object()? {
            match word.as_str() {
                "$schema" | "$id" | "title" | "description" | "$comment" | "examples" | "default" => {}
                "type" if value == "object" => {}
                "required" => {
                    let mut required = value.as_array()?.iter();
                    if !required.all(|name| name.as_str().is_some_and(|name| names.place(name).is_some())) {
                        return None;
                    }
                }
                "properties" => {
                    for (name, rules) in value.as_object()? {
                        if let Some(place) = names.place(name) {
                            plainly.text(place, rules)?;
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(plainly)
    }

    fn text(&mut self, place: usize, rules: &Value) -> Option<()> {
        for (word, value) in rules.as_object()? {
            let length = || value.as_u64().and_then(|length| usize::try_from(length).ok());
            let holds = match word.as_str() {
                "title" | "description" | "$comment" | "examples" | "default" => continue,
                "type" if value == "string" => Holds::Text,
                "minLength" => Holds::MinLength(length()?),
                "maxLength" => Holds::MaxLength(length()?),
                "const" => Holds::OneOf(vec![value.as_str()?.to_owned()]),
                "enum" => {
                    let words = value.as_array()?.iter().filter_map(Value::as_str);
                    Holds::OneOf(words.map(str::to_owned).collect())
                }
                "pattern" => Holds::Pattern(common(value.as_str()?)?),
                _ => return None,
            };
            self.0.push((place, holds));
        }
        Some(())
    }

    /// Whether a row satisfies the schema for certain.
    pub(super) fn admits(&self, row: &[Datum<'_>]) -> bool {
        self.0.iter().all(|(place, holds)| {
            let Some(Datum::Text(text)) = row.get(*place) else { return false };
            let text: &str = text;
            match holds {
                Holds::Text => true,
                Holds::MinLength(least) => at_least(text, *least),
                Holds::MaxLength(most) => !at_least(text, most.saturating_add(1)),
                Holds::OneOf(words) => words.iter().any(|word| word == text),
                Holds::Pattern(pattern) => is_common(text) && pattern.is_match(text),
            }
        })
    }
}

/// A pattern whose meaning for [common](is_common) texts is the same in ECMA-262, which schemas are written in, and here.
fn common(pattern: &str) -> Option<Regex> {
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        let same = match sign {
            '\\' => matches!(signs.next(), Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | '.' | '-' | '/' | '+' | '*' | '?')),
            // Groups may begin something that only one of the two has; `&&`, `~~` and `--` are operators in classes here.
            '(' | ')' | '&' | '~' => false,
            sign => is_common(sign.encode_utf8(&mut [0; 4])),
        };
        if !same {
            return None;
        }
    }
    if pattern.contains("--") || pattern.matches('[').count() != pattern.matches(']').count() {
        return None;
    }
    Regex::new(pattern).ok()
}

/// Whether a text is ASCII that can be seen, and spaces.
fn is_common(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a text has so many characters.
fn at_least(text: &str, characters: usize) -> bool {
    text.len() >= characters && (characters == 0 || text.chars().nth(characters - 1).is_some())
}
