//! How a quarantined item is changed before it runs again: not at all, by a JSON Patch, or by replacing it.

use std::collections::BTreeMap;

use json_patch::PatchOperation;
use serde::Deserialize;
use serde_json::Value;

use crate::job::PAYLOAD_BYTES_MAX;
use crate::json::{self, DEPTH_MAX};

/// What is done to items before they are redriven.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ItemPatch {
    /// They run again as they are.
    #[default]
    AsIs,
    /// A JSON Patch (RFC 6902) is applied to each.
    Patch(Patch),
    /// Each is replaced by another, found by the item's number in the quarantine.
    Replace(BTreeMap<i64, Value>),
}

/// A JSON Patch (RFC 6902): `[{"op": "replace", "path": "/Country", "value": "UK"}]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch(json_patch::Patch);

impl Patch {
    /// Reads a patch.
    ///
    /// # Errors
    ///
    /// A text that says what is wrong and shows a valid patch.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!(
                "it is not a JSON Patch (RFC 6902): {error}; write one such as \
                 [{{\"op\": \"replace\", \"path\": \"/Country\", \"value\": \"UK\"}}]"
            )
        };
        // A value stands two levels deep in its patch.
        let read = json::read_around(text.as_bytes(), 2).map_err(|error| wrong(&error))?;
        let (outline, values) = apart(read);
        let mut patch = json_patch::Patch::deserialize(&outline).map_err(|error| wrong(&error))?;
        for (operation, value) in patch.0.iter_mut().zip(values) {
            put(operation, value);
        }
        if patch.0.is_empty() {
            return Err("it is a JSON Patch without operations, which changes nothing".to_owned());
        }
        Ok(Self(patch))
    }
}

/// Takes the values out of the operations. The type of another crate would read them itself, and takes some keys for its
/// own.
fn apart(mut patch: Value) -> (Value, Vec<Value>) {
    let operations = patch.as_array_mut().into_iter().flatten();
    let values = operations.map(|one| one.get_mut("value").map(Value::take).unwrap_or_default()).collect();
    (patch, values)
}

/// Puts the value of an operation in again.
fn put(operation: &mut PatchOperation, value: Value) {
    match operation {
        PatchOperation::Add(add) => add.value = value,
        PatchOperation::Replace(replace) => replace.value = value,
        PatchOperation::Test(test) => test.value = value,
        PatchOperation::Remove(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => {}
    }
}

impl ItemPatch {
    /// Returns the item as it is to run. The original never changes.
    ///
    /// # Errors
    ///
    /// A text that says why this patch cannot repair it: it does not fit the item, its result is not an object, or
    /// there is no replacement for the item.
    pub fn apply(&self, id: i64, item: &Value) -> Result<Value, String> {
        let mended = match self {
            Self::AsIs => return Ok(item.clone()),
            Self::Patch(patch) => {
                let mut mended = item.clone();
                for operation in &patch.0.0 {
                    json_patch::patch(&mut mended, std::slice::from_ref(operation))
                        .map_err(|error| format!("the patch does not fit: {error}"))?;
                    not_too_long(operation, &mended)?;
                }
                mended
            }
            Self::Replace(items) => items.get(&id).cloned().ok_or("nothing is to take its place")?,
        };
        match mended {
            Value::Object(_) if json::deeper_than(&mended, DEPTH_MAX) => {
                Err(format!("it would be nested deeper than {DEPTH_MAX} levels"))
            }
            Value::Object(_) => Ok(mended),
            other => {
                let found = match other {
                    Value::Array(_) => "a list",
                    Value::String(_) => "a text",
                    Value::Null => "null",
                    Value::Bool(_) | Value::Number(_) | Value::Object(_) => "a single value",
                };
                Err(format!("it would be {found}, and an item is an object"))
            }
        }
    }
}

/// A patch that copies the item into itself doubles it each time: a short one could fill any memory.
fn not_too_long(operation: &PatchOperation, item: &Value) -> Result<(), String> {
    let PatchOperation::Copy(_) = operation else { return Ok(()) };
    let bytes = item.to_string().len();
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(format!(
            "the patch makes an item of {bytes} bytes out of it, the most is {PAYLOAD_BYTES_MAX}; copy less"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(operations: Value) -> ItemPatch {
        ItemPatch::Patch(Patch::parse(&operations.to_string()).expect("a patch"))
    }

    #[test]
    fn a_patch_mends_what_it_fits() {
        let mend = patch(json!([
            { "op": "test", "path": "/Country", "value": "EIRE" },
            { "op": "replace", "path": "/Country", "value": "Ireland" },
            { "op": "add", "path": "/mended", "value": true },
            { "op": "remove", "path": "/rubbish" },
        ]));
        let item = json!({ "Country": "EIRE", "rubbish": 1 });
        assert_eq!(mend.apply(1, &item), Ok(json!({ "Country": "Ireland", "mended": true })));
    }

    #[test]
    fn what_a_patch_does_not_fit_is_left_as_it_is() {
        let mend = patch(json!([
            { "op": "add", "path": "/a", "value": 1 },
            { "op": "remove", "path": "/missing" },
        ]));
        let item = json!({ "b": 2 });
        assert!(mend.apply(1, &item).expect_err("refused").contains("does not fit"));
        assert_eq!(item, json!({ "b": 2 }), "nothing half-done");
        assert!(mend.apply(1, &json!("could not even be read")).is_err());
    }

    #[test]
    fn a_patch_that_copies_an_item_into_itself_again_and_again_is_refused_before_it_fills_the_memory() {
        let copies: Vec<Value> =
            (0..60).map(|n| json!({ "op": "copy", "from": "", "path": format!("/{n}") })).collect();
        let error = patch(json!(copies)).apply(1, &json!({ "a": "b" })).expect_err("2^60 items");
        assert!(error.contains("the most is 1048576"), "{error}");
        assert!(patch(json!(copies[..3])).apply(1, &json!({ "a": "b" })).is_ok());
    }

    #[test]
    fn what_comes_out_must_be_an_object() {
        let mend = patch(json!([{ "op": "replace", "path": "", "value": [1] }]));
        assert!(mend.apply(1, &json!({})).expect_err("refused").contains("a list"));
        let mend = patch(json!([{ "op": "replace", "path": "", "value": { "a": 1 } }]));
        assert_eq!(mend.apply(1, &json!("a raw line")), Ok(json!({ "a": 1 })), "so an unreadable one is mended");
    }

    #[test]
    fn only_what_has_something_in_its_place_is_replaced() {
        let mend = ItemPatch::Replace(BTreeMap::from([(7, json!({ "a": 1 }))]));
        assert_eq!(mend.apply(7, &json!(0)), Ok(json!({ "a": 1 })));
        assert!(mend.apply(8, &json!({})).is_err());
    }

    #[test]
    fn a_text_that_is_no_patch_is_refused_with_an_example() {
        for text in ["", "{}", "[{\"op\": \"change\"}]", "[{\"op\": \"replace\", \"path\": \"Country\", \"value\": 1}]"]
        {
            assert!(Patch::parse(text).expect_err(text).contains("/Country"), "{text}");
        }
        assert!(Patch::parse("[]").expect_err("empty").contains("changes nothing"));
    }
}
