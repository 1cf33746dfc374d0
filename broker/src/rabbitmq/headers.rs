//! A message's properties and headers as JSON, kept as evidence of poison.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};

/// The most bytes of JSON that are kept of one message's properties and headers: 16 KiB.
const BYTES_MAX: usize = 16 * 1024;

/// How deep tables and lists are followed.
const DEPTH_MAX: usize = 8;

/// The most names that are kept when the headers are too large.
const NAMES_MAX: usize = 50;

/// Everything; when the headers are too large, only their names.
pub(crate) fn as_json(properties: &BasicProperties) -> Value {
    let headers = properties.headers().as_ref();
    let mut whole = plain(properties);
    if let Some(table) = headers {
        whole.insert("headers".to_owned(), of_table(table, 0));
    }
    let whole = Value::Object(whole);
    if whole.to_string().len() <= BYTES_MAX {
        return whole;
    }
    let names: Vec<String> = headers
        .iter()
        .flat_map(|table| table.inner().keys())
        .take(NAMES_MAX)
        .map(|name| name.as_str().chars().take(100).collect())
        .collect();
    json!({ "too_large": whole.to_string().len(), "names": names })
}

/// The properties that are texts or numbers, if the message has them.
fn plain(properties: &BasicProperties) -> Map<String, Value> {
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("message_id", properties.message_id()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
    ];
    let numbers = [
        ("delivery_mode", properties.delivery_mode().map(u64::from)),
        ("priority", properties.priority().map(u64::from)),
        ("timestamp", *properties.timestamp()),
    ];
    let texts =
        texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text.as_ref()?.as_str()))));
    let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name.to_owned(), Value::from(number?))));
    texts.chain(numbers).collect()
}

fn of_table(table: &FieldTable, depth: usize) -> Value {
    if depth >= DEPTH_MAX {
        return Value::from("too deep");
    }
    table.inner().iter().map(|(name, value)| (name.to_string(), of_value(value, depth + 1))).collect()
}

fn of_value(value: &AMQPValue, depth: usize) -> Value {
    match value {
        AMQPValue::Boolean(value) => Value::from(*value),
        AMQPValue::ShortShortInt(value) => Value::from(*value),
        AMQPValue::ShortShortUInt(value) => Value::from(*value),
        AMQPValue::ShortInt(value) => Value::from(*value),
        AMQPValue::ShortUInt(value) => Value::from(*value),
        AMQPValue::LongInt(value) => Value::from(*value),
        AMQPValue::LongUInt(value) => Value::from(*value),
        AMQPValue::LongLongInt(value) => Value::from(*value),
        AMQPValue::Timestamp(value) => Value::from(*value),
        AMQPValue::Float(value) => Value::from(*value),
        AMQPValue::Double(value) => Value::from(*value),
        AMQPValue::DecimalValue(value) => Value::from(format!("{value:?}")),
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Value::from(hex::encode(bytes.as_slice())),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= DEPTH_MAX => Value::from("too deep"),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(|value| of_value(value, depth + 1)).collect(),
        AMQPValue::FieldTable(table) => of_table(table, depth),
        AMQPValue::Void => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::ShortString;

    #[test]
    fn properties_and_headers_are_kept_as_they_came() {
        let mut table = FieldTable::default();
        table.insert("tries".into(), AMQPValue::LongInt(3));
        table.insert("from".into(), AMQPValue::LongString("billing".into()));
        let properties = BasicProperties::default().with_headers(table).with_message_id(ShortString::from("m-1"));
        let expected = json!({ "message_id": "m-1", "headers": { "from": "billing", "tries": 3 } });
        assert_eq!(as_json(&properties), expected);
    }

    #[test]
    fn of_headers_that_are_too_large_the_names_are_kept() {
        let mut table = FieldTable::default();
        table.insert("huge".into(), AMQPValue::LongString("x".repeat(BYTES_MAX).into()));
        let kept = as_json(&BasicProperties::default().with_headers(table));
        assert_eq!(kept["names"], json!(["huge"]));
        assert!(kept.to_string().len() < 100, "{kept}");
    }

    #[test]
    fn what_is_nested_without_end_is_cut_off() {
        let mut table = FieldTable::default();
        for _ in 0..100 {
            let mut outer = FieldTable::default();
            outer.insert("in".into(), AMQPValue::FieldTable(table));
            table = outer;
        }
        let kept = as_json(&BasicProperties::default().with_headers(table)).to_string();
        assert!(kept.contains("too deep") && kept.len() < 1_000, "{kept}");
    }
}
