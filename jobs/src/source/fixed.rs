//! Lines of fixed width: a field is some characters of its line.

use gristmill_core::definition::SourceSpec;
use serde_json::{Map, Value};

use super::csv::COLUMNS_MAX;
use super::error::SourceError;
use super::record::Unreadable;

/// A field of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// The character it begins with, counted from 0.
    from: usize,
    /// One after its last character.
    to: usize,
}

/// The fields that a definition names, checked. No line has more than `longest` bytes.
pub(super) fn fields(spec: &SourceSpec, longest: u64) -> Result<Vec<Field>, SourceError> {
    let wrong = |problem: String| Err(SourceError::Setting(problem));
    let said = spec.fields.as_deref().unwrap_or_default();
    if said.is_empty() {
        return wrong(
            "`fixed` needs `fields`; write for example `fields = [{ name = \"id\", start = 1, width = 5 }]`".to_owned(),
        );
    }
    if said.len() > COLUMNS_MAX {
        return wrong(format!("`fields` has {} fields, over the limit of {COLUMNS_MAX}", said.len()));
    }
    let mut fields: Vec<Field> = Vec::with_capacity(said.len());
    for field in said {
        let name = &field.name;
        if name.is_empty() {
            return wrong("`fields`: a field has no name".to_owned());
        }
        if fields.iter().any(|other| other.name == *name) {
            return wrong(format!("`fields` names `{name}` twice; every name must be unique"));
        }
        let end = u64::from(field.start) + u64::from(field.width);
        if field.start == 0 || field.width == 0 || end > longest {
            return wrong(format!(
                "`fields`: `{name}` has start {} and width {}; the first character of a line is 1, a field has at least one, and no line has more than {longest}",
                field.start, field.width
            ));
        }
        let from = field.start as usize - 1;
        fields.push(Field { name: name.clone(), from, to: from + field.width as usize });
    }
    Ok(fields)
}

/// The line as an object. A line that ends within a field or before it gives what it has of it, because the spaces at the
/// end of a line are often cut off; one that ends before its first field is none of these lines.
pub(super) fn item(fields: &[Field], line: &[u8]) -> Result<Value, Unreadable> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Err(Unreadable::not_utf8(&error, line)),
    };
    let places = Places::of(text);
    let most = fields.iter().map(|field| field.to).max().unwrap_or(0);
    if let Some(more) = text[places.byte(most)..].find(|sign: char| sign != ' ') {
        let column = most + text[places.byte(most)..][..more].chars().count() + 1;
        return Err(Unreadable::new(
            format!("the line goes on at column {column}, behind its last field, which ends at {most}"),
            line,
        ));
    }
    let mut object = Map::with_capacity(fields.len());
    for field in fields {
        let value = text[places.byte(field.from)..places.byte(field.to)].trim_matches(' ');
        object.insert(field.name.clone(), Value::String(value.to_owned()));
    }
    Ok(Value::Object(object))
}

/// Where the characters of a text begin.
struct Places {
    length: usize,
    /// `None`: each character is one byte.
    starts: Option<Vec<usize>>,
}

impl Places {
    fn of(text: &str) -> Self {
        let starts = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self { length: text.len(), starts }
    }

    /// The byte at which a character begins, or the end.
    fn byte(&self, character: usize) -> usize {
        match &self.starts {
            None => character.min(self.length),
            Some(starts) => starts.get(character).copied().unwrap_or(self.length),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::definition::FixedField;
    use serde_json::json;

    use super::*;

    fn spec(said: &[(&str, u32, u32)]) -> SourceSpec {
        let field = |(name, start, width): &(&str, u32, u32)| FixedField {
            name: (*name).to_owned(),
            start: *start,
            width: *width,
        };
        SourceSpec { fields: Some(said.iter().map(field).collect()), ..SourceSpec::default() }
    }

    #[test]
    fn a_field_is_its_characters_without_the_spaces_around_them() {
        let fields =
            fields(&spec(&[("id", 1, 4), ("name", 5, 6), ("sum", 11, 5), ("part", 1, 2)]), 100).expect("fields");
        let read = |line: &str| item(&fields, line.as_bytes());
        let right = |id: &str, name: &str, sum: &str, part: &str| {
            Ok(json!({ "id": id, "name": name, "sum": sum, "part": part }))
        };
        assert_eq!(read("0007Zo\u{eb}   12.50"), right("0007", "Zo\u{eb}", "12.50", "00"));
        assert_eq!(read(" 7  a b     3   \r"), right("7", "a b", "3", "7"));
        assert_eq!(read("7"), right("7", "", "", "7"));
        assert_eq!(read("\u{65e5}\u{672c}  \u{8a9e}"), right("\u{65e5}\u{672c}", "\u{8a9e}", "", "\u{65e5}\u{672c}"));
        let longer = read("0007Zoe   12.50 9").expect_err("it goes on");
        assert_eq!(longer.reason, "the line goes on at column 17, behind its last field, which ends at 15");
        assert!(item(&fields, b"00\xff7").expect_err("bytes").reason.contains("0xFF"));
    }

    #[test]
    fn fields_that_make_no_sense_are_refused() {
        for (said, problem) in [
            (&[][..], "`fixed` needs `fields`"),
            (&[("", 1, 1)], "has no name"),
            (&[("a", 1, 1), ("a", 2, 1)], "names `a` twice"),
            (&[("a", 0, 1)], "the first character of a line is 1"),
            (&[("a", 1, 0)], "a field has at least one"),
            (&[("a", u32::MAX, u32::MAX)], "no line has more than 16777216"),
        ] {
            let refused = fields(&spec(said), 16_777_216).expect_err(problem).to_string();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
