//! The JSON of CloudEvents 1.0: how an event is read, and how it is shown.
//!
//! Beside the attributes of the standard there are some of our own, in the form that it has for extensions: `stream`,
//! `dataversion`, and those that the store gives: `sequence`, `position`, `tenant`, `user`, `correlationid`,
//! `causationid` and `depth`. The data is JSON.

use serde_json::{Map, Value, json};

use super::{Event, EventDraft, EventFaults, shown};
use crate::Instant;
use crate::json::kind_of;

/// What a JSON document with one event is called.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";

/// What a JSON document with several is called.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// What the store alone gives an event.
const GIVEN: [&str; 7] = ["sequence", "position", "tenant", "user", "correlationid", "causationid", "depth"];

/// Reads an event. Its id and source may be left out: `defaults` has them.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read(value: Value, defaults: &EventDraft) -> Result<EventDraft, EventFaults> {
    let mut fields = match value {
        Value::Object(fields) => fields,
        other => return Err(EventFaults(vec![format!("an event is an object; this is {}", kind_of(&other))])),
    };
    let mut faults = Vec::new();
    if let Some(version) = fields.remove("specversion")
        && version != json!("1.0")
    {
        faults.push(format!("`specversion` is {version}; this program reads 1.0"));
    }
    check_content_type(&mut fields, &mut faults);
    for name in GIVEN {
        if fields.remove(name).is_some_and(|value| !value.is_null()) {
            faults.push(format!("`{name}` is given by the store; leave it out"));
        }
    }
    let mut text = |name: &str| take_text(&mut fields, name, &mut faults);
    let id = text("id").unwrap_or_else(|| defaults.id.clone());
    let source = text("source").unwrap_or_else(|| defaults.source.clone());
    let kind = text("type").unwrap_or_else(|| defaults.kind.clone());
    let (subject, stream) = (text("subject"), text("stream"));
    let (trace, time) = (text("traceparent"), text("time"));
    let time = time.and_then(|text| read_time(&text, &mut faults));
    let version = fields.remove("dataversion").filter(|value| !value.is_null());
    let version = version.and_then(|value| read_version(&value, &mut faults));
    // The registry has the schemas, by type and version.
    fields.remove("dataschema");
    let data = fields.remove("data").unwrap_or_default();
    fields.retain(|_, value| !value.is_null());
    let draft = EventDraft { id, source, kind, version, subject, stream, time, data, trace, extensions: fields };
    if let Err(EventFaults(more)) = draft.check() {
        faults.extend(more);
    }
    if faults.is_empty() { Ok(draft) } else { Err(EventFaults(faults)) }
}

fn check_content_type(fields: &mut Map<String, Value>, faults: &mut Vec<String>) {
    if let Some(media) = take_text(fields, "datacontenttype", faults)
        && !is_json(&media)
    {
        faults.push(format!("`datacontenttype` is `{media}`; the data of an event is JSON: `application/json`"));
    }
    if fields.remove("data_base64").is_some() {
        faults.push("`data_base64` is binary data; the data of an event is JSON, in `data`".to_owned());
    }
}

/// Whether a media type is one of JSON.
pub fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media == "text/json" || media.ends_with("+json")
}

fn take_text(fields: &mut Map<String, Value>, name: &str, faults: &mut Vec<String>) -> Option<String> {
    match fields.remove(name)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => {
            faults.push(format!("`{name}` is {}; it is a text", kind_of(&other)));
            None
        }
    }
}

fn read_time(text: &str, faults: &mut Vec<String>) -> Option<Instant> {
    let read = chrono::DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let known = read.ok().filter(|at| (1..=9999).contains(&chrono::Datelike::year(at)));
    if known.is_none() {
        let text: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        faults.push(format!("`time` is `{text}`; write an instant such as `2030-01-31T02:00:00Z`"));
    }
    known
}

fn read_version(value: &Value, faults: &mut Vec<String>) -> Option<u32> {
    // Attributes of the binary form are texts.
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| u32::try_from(number).ok()),
    };
    if number.is_none() {
        faults.push(format!("`dataversion` is {value}; it is a number from 1"));
    }
    number
}

/// An event as JSON.
pub fn show(event: &Event) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    set("specversion", json!("1.0"));
    set("id", json!(event.id));
    set("source", json!(event.source));
    set("type", json!(event.kind));
    set("subject", json!(event.subject));
    set("time", json!(shown(event.time)));
    set("datacontenttype", json!("application/json"));
    set("dataversion", json!(event.version));
    set("traceparent", json!(event.trace));
    set("tenant", json!(event.tenant));
    set("user", json!(event.user));
    set("stream", json!(event.stream));
    set("sequence", json!(event.seq));
    set("position", json!(event.position));
    set("correlationid", json!(event.correlation));
    set("causationid", json!(event.causation));
    set("depth", json!(event.depth));
    for (name, value) in &event.extensions {
        set(name, value.clone());
    }
    fields.insert("data".to_owned(), event.data.clone());
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> EventDraft {
        EventDraft::new("made", "place", "")
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let text = r#"{
            "specversion": "1.0", "type": "com.github.pull_request.opened",
            "source": "https://github.com/cloudevents/spec/pull", "subject": "123", "id": "A234-1234-1234",
            "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value", "comexampleothervalue": 5,
            "datacontenttype": "application/json", "data": {"a": 1}
        }"#;
        let draft = read(crate::json::read(text.as_bytes()).expect("JSON"), &defaults()).expect("an event");
        assert_eq!((draft.id.as_str(), draft.stream()), ("A234-1234-1234", "123"));
        assert_eq!(draft.extensions["comexampleothervalue"], 5);
        assert_eq!(draft.time.map(shown).as_deref(), Some("2018-04-05T17:31:00Z"));
    }

    #[test]
    fn what_is_left_out_comes_from_the_defaults_and_all_faults_are_named() {
        let draft = read(json!({ "type": "a.b", "dataversion": "3" }), &defaults()).expect("an event");
        assert_eq!((draft.id.as_str(), draft.source.as_str(), draft.version), ("made", "place", Some(3)));
        let wrong = json!({
            "specversion": "0.3", "id": 7, "time": "soon", "datacontenttype": "text/xml", "data_base64": "AA==",
            "position": 3, "type": "", "dataversion": -1,
        });
        let EventFaults(faults) = read(wrong, &defaults()).expect_err("faults");
        for name in
            ["specversion", "`id`", "`time`", "datacontenttype", "data_base64", "position", "`type`", "dataversion"]
        {
            assert!(faults.iter().any(|fault| fault.contains(name)), "{name} is missing in {faults:?}");
        }
        assert!(read(json!([]), &defaults()).is_err());
    }
}
