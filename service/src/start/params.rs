//! Parameters of a run as they are given on a command line: `KEY=VALUE`.

use gristmill_core::json::{self, Fault};
use serde_json::{Map, Value};

/// A text that is not `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a parameter")]
pub struct BadParam(pub String);

/// Reads `KEY=VALUE`. A value that is JSON is read as JSON: `day=3` is a number, `day=monday` a text; and so is a number
/// with more digits than a JSON number keeps.
///
/// # Errors
///
/// Without a key or without `=`, and for JSON that is nested too deep.
pub fn param(text: &str) -> Result<(String, Value), BadParam> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or_else(|| BadParam(text.to_owned()))?;
    let value = match json::read(value.as_bytes()) {
        Ok(value) => value,
        // As a text it would be accepted, and no operator would see that it is no list.
        Err(error) if error.fault == Fault::Depth => return Err(BadParam(text.to_owned())),
        Err(_) => Value::String(value.to_owned()),
    };
    Ok((key.to_owned(), value))
}

/// Reads all of them into an object, or null when there are none. If a key occurs twice, the last one counts.
///
/// # Errors
///
/// The first text that is not a parameter.
pub fn params(texts: &[String]) -> Result<Value, BadParam> {
    let params = texts.iter().map(|text| param(text)).collect::<Result<Map<_, _>, _>>()?;
    Ok(if params.is_empty() { Value::Null } else { Value::Object(params) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_json_where_they_can_be_and_texts_otherwise() {
        let texts = ["day=3", "shop=north", "tags=[1,2]", "empty=", "day=4"].map(str::to_owned);
        let found = params(&texts).expect("all are parameters");
        assert_eq!(found, json!({ "day": 4, "shop": "north", "tags": [1, 2], "empty": "" }));
        assert_eq!(params(&[]), Ok(Value::Null));
        let deep = format!("deep={}1{}", "[".repeat(65), "]".repeat(65));
        for wrong in ["day", "=3", "", &deep] {
            assert_eq!(param(wrong), Err(BadParam(wrong.to_owned())));
        }
        let long = "123456789012345678901234567890";
        assert_eq!(param(&format!("id={long}")), Ok(("id".to_owned(), json!(long))));
    }
}
