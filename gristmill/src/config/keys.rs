//! The keys of settings: dotted paths, and the variables of the environment that stand for them.

use serde_json::Value;

/// The dotted path of a key below another.
pub fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The variable that sets a key: `store.url` is `GRISTMILL_STORE_URL`.
pub fn variable_of(key: &str) -> String {
    format!("GRISTMILL_{}", key.replace(['.', '-'], "_").to_uppercase())
}

/// The leaves below a value, each by its dotted path. Lists are leaves.
pub fn flatten(path: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(&join(path, key), value, leaves);
            }
        }
        leaf => leaves.push((path.to_owned(), leaf.clone())),
    }
}
