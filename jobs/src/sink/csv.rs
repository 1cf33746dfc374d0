//! Parts of CSV (RFC 4180): a header, commas, quotes where they are needed.

use gristmill_core::formula::Formulas;
use serde_json::Value;

/// The bytes of a part. Null is an empty field, a list or an object is its JSON.
pub(super) fn encode(columns: &[String], formulas: Formulas, items: &[Value]) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(header(columns, formulas)?);
    for item in items {
        row(&mut writer, columns, formulas, item)?;
    }
    writer.into_inner().map_err(|error| error.to_string())
}

/// The names of the columns.
pub(crate) fn header(columns: &[String], formulas: Formulas) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = columns.iter().map(|column| formulas.cell(column).into_owned());
    writer.write_record(names).map_err(|error| error.to_string())?;
    writer.into_inner().map_err(|error| error.to_string())
}

/// Appends an item.
pub(crate) fn row(
    writer: &mut csv::Writer<Vec<u8>>,
    columns: &[String],
    formulas: Formulas,
    item: &Value,
) -> Result<(), String> {
    let cells = columns.iter().map(|column| cell(item.get(column), formulas));
    writer.write_record(cells).map_err(|error| error.to_string())
}

fn cell(value: Option<&Value>, formulas: Formulas) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => formulas.cell(text).into_owned(),
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
        let items = [json!({ "b, c": "say \"x\"\n", "a": null }), json!({ "a": [1], "b, c": 1.5 })];
        let bytes = encode(&columns, Formulas::Keep, &items);
        assert_eq!(
            String::from_utf8(bytes.expect("encoded")).expect("UTF-8"),
            "a,\"b, c\"\n,\"say \"\"x\"\"\n\"\n[1],1.5\n"
        );
    }

    #[test]
    fn formulas_are_escaped_where_that_is_asked_for_and_numbers_are_not() {
        let columns = ["=a".to_owned(), "b".to_owned()];
        let items = [json!({ "=a": "=1+1", "b": "-5.00" }), json!({ "=a": "@x", "b": -1e3 })];
        let encoded =
            |formulas| String::from_utf8(encode(&columns, formulas, &items).expect("encoded")).expect("UTF-8");
        assert_eq!(encoded(Formulas::Keep), "=a,b\n=1+1,-5.00\n@x,-1000.0\n");
        assert_eq!(encoded(Formulas::Escape), "'=a,b\n'=1+1,-5.00\n'@x,-1000.0\n");
    }
}
