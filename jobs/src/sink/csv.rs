//! Parts of CSV (RFC 4180): a header, commas, quotes where they are needed.

use serde_json::Value;

/// The bytes of a part. Null is an empty field, a list or an object is its JSON.
pub(super) fn encode(columns: &[String], items: &[Value]) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns).map_err(|error| error.to_string())?;
    for item in items {
        writer.write_record(columns.iter().map(|column| cell(item.get(column)))).map_err(|error| error.to_string())?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_needs_quotes_has_them() {
        let columns = ["a".to_owned(), "b, c".to_owned()];
        let bytes = encode(&columns, &[json!({ "b, c": "say \"x\"\n", "a": null }), json!({ "a": [1], "b, c": 1.5 })]);
        assert_eq!(
            String::from_utf8(bytes.expect("encoded")).expect("UTF-8"),
            "a,\"b, c\"\n,\"say \"\"x\"\"\n\"\n[1],1.5\n"
        );
    }
}
