//! A TOML file as a tree, and the line of each of its keys.

use gristmill_core::json::{self, DEPTH_MAX};
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::join;
use super::origin::{Origin, Origins};

/// Returns a file's content as a tree, and the line of each of its keys.
///
/// # Errors
///
/// When it is not TOML; the error has the line.
pub fn read_toml(file: &str, text: &str) -> Result<(Map<String, Value>, Origins), ConfigError> {
    let lines = Lines::new(file, text);
    let table = DeTable::parse(text).map_err(|error| {
        let origin = error.span().map(|span| lines.at(span.start));
        ConfigError::at(origin, "", format!("not TOML: {}", error.message().trim()))
    })?;
    let mut origins = Origins::new();
    let tree = table_to_json(table.get_ref(), "", &lines, &mut origins)?;
    match tree.iter().find(|(_, value)| json::deeper_than(value, DEPTH_MAX - 1)) {
        Some((key, _)) => {
            let wrong = format!("is nested deeper than {DEPTH_MAX} levels");
            Err(ConfigError::at(origins.get(key).cloned(), key, wrong))
        }
        None => Ok((tree, origins)),
    }
}

struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { file, text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    fn at(&self, byte: usize) -> Origin {
        let line = self.starts.partition_point(|start| *start <= byte);
        let begin = self.starts[line - 1];
        let column = self.text.get(begin..byte).map_or(1, |before| before.chars().count() + 1);
        Origin::File { file: self.file.to_owned(), line, column }
    }
}

fn table_to_json(
    table: &DeTable<'_>,
    parent: &str,
    lines: &Lines<'_>,
    origins: &mut Origins,
) -> Result<Map<String, Value>, ConfigError> {
    let mut map = Map::new();
    let mut entries: Vec<_> = table.iter().collect();
    // As they are written: some tables keep their order.
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let path = join(parent, key.get_ref());
        origins.insert(path.clone(), lines.at(key.span().start));
        map.insert(key.get_ref().to_string(), value_to_json(value, &path, lines, origins)?);
    }
    Ok(map)
}

fn value_to_json(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    lines: &Lines<'_>,
    origins: &mut Origins,
) -> Result<Value, ConfigError> {
    let wrong = |what: String| ConfigError::at(Some(lines.at(value.span().start)), path, what);
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|whole| Value::Number(whole.into()))
            .map_err(|_| wrong(format!("`{number}` is beyond 64 bits")))?,
        DeValue::Float(number) => json::number(number.as_str().trim_start_matches('+'))
            .map(Value::Number)
            .ok_or_else(|| wrong(format!("`{number}` cannot be kept exactly as a number; write it as a text")))?,
        DeValue::Array(array) => {
            let mut list = Vec::new();
            for (index, entry) in array.iter().enumerate() {
                let path = format!("{path}[{index}]");
                origins.insert(path.clone(), lines.at(entry.span().start));
                list.push(value_to_json(entry, &path, lines, origins)?);
            }
            Value::Array(list)
        }
        DeValue::Table(table) => Value::Object(table_to_json(table, path, lines, origins)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::origin::nearest_origin;

    #[test]
    fn every_key_knows_its_line_and_its_column() {
        let text = "[store]\nurl = \"x\"\n\n[batch.a]\nchunk = 1\non.settled = [\n  { webhook = \"u\" },\n]\n";
        let (_, origins) = read_toml("c.toml", text).expect("valid");
        let place = |key: &str| match origins.get(key) {
            Some(Origin::File { line, column, .. }) => (*line, *column),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!((place("store.url"), place("batch.a.chunk")), ((2, 1), (5, 1)));
        assert_eq!(place("batch.a.on.settled[0].webhook"), (7, 5));
        let (_, origins) = read_toml("c.toml", "[a]\n\"ü\" = { \"é\" = 1, b = 2 }\n").expect("valid");
        assert_eq!(origins.get("a.ü.b").map(ToString::to_string).as_deref(), Some("c.toml:2:18"));
    }

    #[test]
    fn what_is_not_toml_is_shown_by_its_line() {
        let error = read_toml("c.toml", "[store]\nurl = \n").expect_err("no value");
        assert!(error.to_string().starts_with("c.toml:2:7: not TOML"), "{error}");
    }

    #[test]
    fn a_key_said_nowhere_is_shown_by_what_is_around_it() {
        let (_, origins) = read_toml("c.toml", "[batch.a]\nchunk = 1\n").expect("valid");
        let around = nearest_origin(&origins, "batch.a.source").expect("around");
        assert_eq!(around.to_string(), "c.toml:1:8");
    }
}
