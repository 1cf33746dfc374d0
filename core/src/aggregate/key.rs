//! The keys under which values are counted and grouped, and the names that people see for them.
//!
//! A text is its own key. Null, truth values and numbers have keys that begin with [`MARK`], so that null and the text
//! `null`, or 1 and the text `1`, are counted apart. Partial results of versions that did not distinguish them have all
//! as texts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::exact::decimal;

/// What a key begins with that is not simply a text. No text file contains it, and both databases store it.
pub(super) const MARK: char = '\u{1}';

/// Returns the key of a value; `None` for lists and objects, which have none.
pub(super) fn of(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Null => Cow::Borrowed("\u{1}null"),
        Value::Bool(true) => Cow::Borrowed("\u{1}true"),
        Value::Bool(false) => Cow::Borrowed("\u{1}false"),
        Value::Number(plain) => Cow::Owned(match decimal(value) {
            Some(decimal) => format!("{MARK}{decimal}"),
            None => format!("{MARK}{plain}"),
        }),
        // No JSON text of a null, truth value or number begins with a quote.
        Value::String(text) if text.starts_with(MARK) => Cow::Owned(format!("{MARK}\"{text}")),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// Returns the value of a key.
pub(super) fn value(key: &str) -> Value {
    match key.strip_prefix(MARK) {
        None => key.into(),
        Some("null") => Value::Null,
        Some("true") => true.into(),
        Some("false") => false.into(),
        Some(rest) => match rest.strip_prefix('"') {
            Some(text) => text.into(),
            None => serde_json::from_str(rest).unwrap_or_else(|_| rest.into()),
        },
    }
}

/// Returns the names of keys, each different from the others: `null`, `true`, `12`, and texts as they are. Only a text
/// whose name is taken, such as `null` beside a real null, is in quotes, as JSON would write it.
pub(super) fn names<'a>(keys: impl Iterator<Item = &'a String> + Clone) -> Vec<Cow<'a, str>> {
    let other = |key: &'a String| key.strip_prefix(MARK).filter(|rest| !rest.starts_with('"'));
    let mut taken: BTreeSet<Cow<'a, str>> = keys.clone().filter_map(other).map(Cow::Borrowed).collect();
    if taken.is_empty() && !keys.clone().any(|key| key.starts_with(MARK)) {
        return keys.map(|key| Cow::Borrowed(key.as_str())).collect();
    }
    let mut name = |key: &'a String| {
        if let Some(name) = other(key) {
            return Cow::Borrowed(name);
        }
        let text = key.strip_prefix(MARK).and_then(|rest| rest.strip_prefix('"')).unwrap_or(key);
        let mut name = Cow::Borrowed(text);
        while !taken.insert(name.clone()) {
            name = Cow::Owned(Value::from(name.into_owned()).to_string());
        }
        name
    };
    keys.map(&mut name).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_different_types_have_different_keys_and_names() {
        let values = [
            json!(null),
            json!("null"),
            json!("\"null\""),
            json!(true),
            json!("true"),
            json!(1),
            json!("1"),
            json!("1.0"),
            json!("\u{1}null"),
            json!("plain"),
        ];
        let keys: BTreeSet<String> = values.iter().map(|value| of(value).expect("a key").into_owned()).collect();
        assert_eq!(keys.len(), values.len());
        let named: BTreeSet<_> = names(keys.iter()).into_iter().collect();
        let right = ["null", "\"null\"", "true", "\"true\"", "1", "\"1\"", "1.0", "plain", "\u{1}null"];
        assert!(named.len() == values.len() && right.iter().all(|name| named.contains(*name)), "{named:?}");
    }

    #[test]
    fn a_value_is_read_back_from_its_key() {
        for right in [json!(null), json!("null"), json!(true), json!(12), json!("12"), json!("\u{1}null"), json!(1.5)] {
            assert_eq!(value(&of(&right).expect("a key")), right);
        }
    }

    #[test]
    fn equal_numbers_have_one_key_and_plain_texts_are_their_own_names() {
        assert_eq!(of(&json!(1)), of(&json!(1.0)));
        assert_eq!(of(&json!(0)), of(&json!(-0.0)));
        let keys = ["France".to_owned(), "null".to_owned()];
        assert_eq!(names(keys.iter()), ["France", "null"]);
    }
}
