//! Stage `format`: which fields are written, in which order, under which names.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::definition::FormatSpec;
use serde_json::{Map, Value};

use super::{Refusal, field};

/// A checked format.
#[derive(Debug, Clone)]
pub struct Format {
    fields: Option<Vec<String>>,
    rename: BTreeMap<String, String>,
}

impl Format {
    /// Checks that no two fields get the same name and that every renaming has an effect.
    ///
    /// # Errors
    ///
    /// The problem.
    pub fn compile(spec: &FormatSpec) -> Result<Self, String> {
        let format = Self { fields: spec.fields.clone(), rename: spec.rename.clone() };
        let Some(fields) = &format.fields else { return Ok(format) };
        if fields.is_empty() {
            return Err("`fields` is empty; name at least one, or leave it out to write all".to_owned());
        }
        let names = format.columns().unwrap_or_default();
        for (place, name) in names.iter().enumerate() {
            if names[..place].contains(name) {
                return Err(format!("two fields would be written as `{name}`; give one of them another name"));
            }
        }
        match format.rename.keys().find(|old| !fields.contains(old)) {
            Some(old) => Err(format!("`rename` names `{old}`, which is not one of `fields`; add it there")),
            None => Ok(format),
        }
    }

    /// The names under which the fields are written, when they are fixed.
    pub fn columns(&self) -> Option<Vec<String>> {
        self.fields.as_ref().map(|fields| fields.iter().map(|old| self.name(old).to_owned()).collect())
    }

    /// Returns the item as it is written.
    ///
    /// # Errors
    ///
    /// When a field is missing, or a new name is already taken.
    pub fn apply(&self, item: &Value) -> Result<Value, Refusal> {
        let mut written = Map::new();
        if let Some(fields) = &self.fields {
            for old in fields {
                let value = field::get(item, old).ok_or_else(|| {
                    Refusal::new(
                        "format",
                        format!("the item has no field `{old}`, which `format.fields` names; a field that may be missing must be set to null before"),
                    )
                })?;
                written.insert(self.name(old).to_owned(), value.clone());
            }
            return Ok(Value::Object(written));
        }
        for (old, value) in item.as_object().into_iter().flatten() {
            if written.insert(self.name(old).to_owned(), value.clone()).is_some() {
                return Err(Refusal::new(
                    "format",
                    format!("two fields of the item would be written as `{}`", self.name(old)),
                ));
            }
        }
        Ok(Value::Object(written))
    }

    /// The fields of a row as they are written, from those that it has, with their places. `None`: a field is missing, or
    /// a new name is already taken.
    pub(crate) fn layout<'n>(&self, fields: impl Iterator<Item = (&'n str, usize)>) -> Option<Vec<(String, usize)>> {
        let there: Vec<(&str, usize)> = fields.collect();
        let Some(chosen) = &self.fields else {
            let renamed: Vec<_> = there.iter().map(|(old, place)| (self.name(old).to_owned(), *place)).collect();
            let unique = renamed.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len() == renamed.len();
            return unique.then_some(renamed);
        };
        let place = |old: &String| there.iter().find(|(name, _)| name == old).map(|(_, place)| *place);
        chosen.iter().map(|old| Some((self.name(old).to_owned(), place(old)?))).collect()
    }

    fn name<'a>(&'a self, old: &'a str) -> &'a str {
        self.rename.get(old).map_or(old, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: Value) -> FormatSpec {
        serde_json::from_value(value).expect("a format")
    }

    #[test]
    fn fields_are_chosen_ordered_and_renamed() {
        let format = Format::compile(&spec(json!({ "fields": ["b", "a"], "rename": { "a": "first" } }))).expect("good");
        assert_eq!(format.columns(), Some(vec!["b".to_owned(), "first".to_owned()]));
        let written = format.apply(&json!({ "a": 1, "b": 2, "c": 3 })).expect("written");
        assert_eq!(serde_json::to_string(&written).expect("JSON"), r#"{"b":2,"first":1}"#);
        let missing = format.apply(&json!({ "b": 2 })).expect_err("no a");
        assert!(missing.reason.contains("`a`"), "{missing:?}");
    }

    #[test]
    fn two_fields_never_share_a_name() {
        let bad = Format::compile(&spec(json!({ "fields": ["a", "b"], "rename": { "a": "b" } }))).expect_err("clash");
        assert!(bad.contains("written as `b`"), "{bad}");
        let late = Format::compile(&spec(json!({ "rename": { "a": "b" } }))).expect("not known yet");
        assert!(late.apply(&json!({ "a": 1, "b": 2 })).is_err());
        assert!(Format::compile(&spec(json!({ "fields": ["a"], "rename": { "x": "y" } }))).is_err());
    }
}
