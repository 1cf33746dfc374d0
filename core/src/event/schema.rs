//! Whether a new version of a type's schema takes everything that the version before it takes.
//!
//! The comparison is careful: what it cannot see to be compatible is a fault. A property that the old version does not
//! name is taken as one that no publisher has sent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How deep schemas are compared.
const DEPTH_MAX: usize = 64;

/// What says nothing about an instance.
const ANNOTATIONS: [&str; 11] = [
    "$comment",
    "$id",
    "$schema",
    "$anchor",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// What must not rise.
const LOWER: [&str; 6] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"];

/// What must not fall.
const UPPER: [&str; 6] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"];

/// Returns everything that the old schema takes and the new one may not, each with its place. Nothing is compatible.
pub fn incompatibilities(old: &Value, new: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if old == new {
        return faults;
    }
    // What is referred to is compared as a whole.
    for name in ["$defs", "definitions"] {
        if old.get(name) != new.get(name) && (refers(old) || refers(new)) {
            faults.push(format!("`{name}` has changed, and something refers to it"));
        }
    }
    compare(old, new, "", 0, &mut faults);
    faults
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.contains_key("$ref") || fields.values().any(refers),
        Value::Array(values) => values.iter().any(refers),
        _ => false,
    }
}

fn compare(old: &Value, new: &Value, place: &str, depth: usize, faults: &mut Vec<String>) {
    let at = if place.is_empty() { "/" } else { place };
    let (old, new) = match (old, new) {
        (_, Value::Bool(true)) | (Value::Bool(false), _) => return,
        (_, Value::Bool(_)) => return faults.push(format!("`{at}`: nothing is allowed any more")),
        (Value::Object(old), Value::Object(new)) => (old.clone(), new),
        (_, Value::Object(new)) => (Map::new(), new),
        _ => return faults.push(format!("`{at}` is no schema")),
    };
    if depth > DEPTH_MAX {
        return faults.push(format!("`{at}` is nested deeper than {DEPTH_MAX} levels"));
    }
    compare_types(&old, new, at, faults);
    compare_required(&old, new, at, faults);
    compare_values(&old, new, at, faults);
    compare_bounds(&old, new, at, faults);
    compare_properties(&old, new, place, depth, faults);
    if let Some(items) = new.get("items") {
        compare(old.get("items").unwrap_or(&Value::Bool(true)), items, &format!("{place}/items"), depth + 1, faults);
    }
    compare_rest(&old, new, at, faults);
}

fn types(schema: &Map<String, Value>) -> Option<BTreeSet<&str>> {
    match schema.get("type")? {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(many) => Some(many.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

fn compare_types(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let Some(wanted) = types(new) else { return };
    let all = ["array", "boolean", "null", "number", "object", "string"];
    let before = types(old).unwrap_or_else(|| BTreeSet::from(all));
    let is_taken = |kind: &&&str| wanted.contains(**kind) || (**kind == "integer" && wanted.contains("number"));
    let lost: Vec<&str> = before.iter().filter(|kind| !is_taken(kind)).copied().collect();
    if !lost.is_empty() {
        faults.push(format!("`{at}`: {} was allowed, and is not any more", lost.join(", ")));
    }
}

fn compare_required(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let names = |schema: &Map<String, Value>| -> BTreeSet<String> {
        let listed = schema.get("required").and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for name in names(new).difference(&names(old)) {
        faults.push(format!("`{at}`: `{name}` was not required, and is now"));
    }
}

fn compare_values(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let values = |schema: &Map<String, Value>| match (schema.get("const"), schema.get("enum")) {
        (Some(one), _) => Some(vec![one.clone()]),
        (None, Some(Value::Array(many))) => Some(many.clone()),
        _ => None,
    };
    let Some(wanted) = values(new) else { return };
    match values(old) {
        None => faults.push(format!("`{at}`: only some values are allowed now")),
        Some(before) => {
            let lost: Vec<String> =
                before.iter().filter(|value| !wanted.contains(value)).map(Value::to_string).collect();
            if !lost.is_empty() {
                faults.push(format!("`{at}`: {} was allowed, and is not any more", lost.join(", ")));
            }
        }
    }
}

fn compare_bounds(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let number = |schema: &Map<String, Value>, name: &str| schema.get(name).and_then(Value::as_f64);
    for name in LOWER {
        if let Some(bound) = number(new, name)
            && number(old, name).is_none_or(|before| before < bound)
        {
            faults.push(format!("`{at}`: `{name}` is {bound} now, and was less or nothing"));
        }
    }
    for name in UPPER {
        if let Some(bound) = number(new, name)
            && number(old, name).is_none_or(|before| before > bound)
        {
            faults.push(format!("`{at}`: `{name}` is {bound} now, and was more or nothing"));
        }
    }
}

fn compare_properties(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    place: &str,
    depth: usize,
    faults: &mut Vec<String>,
) {
    let of = |schema: &Map<String, Value>| schema.get("properties").and_then(Value::as_object).cloned();
    let (before, after) = (of(old).unwrap_or_default(), of(new).unwrap_or_default());
    let others = new.get("additionalProperties").unwrap_or(&Value::Bool(true));
    for (name, schema) in &before {
        let place = format!("{place}/properties/{name}");
        match after.get(name) {
            Some(now) => compare(schema, now, &place, depth + 1, faults),
            None if *others == Value::Bool(false) => {
                faults.push(format!("`{place}` was allowed, and is not any more"));
            }
            None => compare(schema, others, &place, depth + 1, faults),
        }
    }
    if let Some(others) = new.get("additionalProperties") {
        let before = old.get("additionalProperties").unwrap_or(&Value::Bool(true));
        compare(before, others, &format!("{place}/additionalProperties"), depth + 1, faults);
    }
}

/// Every other word must say what it said; one that is gone allows more.
fn compare_rest(old: &Map<String, Value>, new: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    let compared = ["type", "required", "const", "enum", "properties", "additionalProperties", "items"];
    let apart = ["$defs", "definitions"];
    for (name, value) in new {
        let word = name.as_str();
        let is_compared = compared.contains(&word) || LOWER.contains(&word) || UPPER.contains(&word);
        if is_compared || apart.contains(&word) || ANNOTATIONS.contains(&word) || old.get(name) == Some(value) {
            continue;
        }
        faults.push(format!("`{at}`: `{name}` has changed; whether it takes what was taken cannot be seen"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(old: Value, new: Value) -> Vec<String> {
        incompatibilities(&old, &new)
    }

    fn order() -> Value {
        json!({
            "type": "object", "required": ["id", "total"],
            "properties": {
                "id": { "type": "integer" }, "total": { "type": "string", "maxLength": 20 },
                "state": { "enum": ["open", "paid"] }, "lines": { "items": { "type": "integer" } },
            },
        })
    }

    #[test]
    fn what_takes_more_is_compatible() {
        let wider = json!({
            "title": "an order", "type": ["object", "null"], "required": ["id"],
            "properties": {
                "id": { "type": "number" }, "total": { "type": "string", "maxLength": 40 },
                "state": { "enum": ["open", "paid", "sent"] }, "lines": { "items": { "type": ["integer", "string"] } },
                "note": { "type": "string" },
            },
        });
        assert_eq!(faults(order(), wider), Vec::<String>::new());
        assert_eq!(faults(order(), json!({})), Vec::<String>::new());
        assert_eq!(faults(order(), order()), Vec::<String>::new());
    }

    #[test]
    fn all_that_takes_less_is_named_with_its_place() {
        let narrower = json!({
            "type": "object", "required": ["id", "total", "note"], "additionalProperties": false,
            "properties": {
                "id": { "type": "string" }, "total": { "type": "string", "maxLength": 10, "pattern": "^[0-9]+$" },
                "lines": { "items": { "type": "integer", "minimum": 1 } }, "note": {},
            },
        });
        let found = faults(order(), narrower).join("\n");
        for named in [
            "`/`: `note` was not required",
            "`/properties/id`: integer was allowed",
            "`/properties/total`: `maxLength`",
            "`/properties/total`: `pattern`",
            "`/properties/state` was allowed",
            "`/properties/lines/items`: `minimum`",
            "`/additionalProperties`",
        ] {
            assert!(found.contains(named), "{named} is missing in {found}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_a_fault() {
        assert!(!faults(json!({ "anyOf": [{}] }), json!({ "anyOf": [{ "type": "string" }] })).is_empty());
        let with = |kind: &str| json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": kind } } });
        assert!(!faults(with("string"), with("integer")).is_empty());
        assert_eq!(faults(json!({ "anyOf": [{}] }), json!({})), Vec::<String>::new());
    }
}
