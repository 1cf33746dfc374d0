//! What a publisher gives, checked as a whole: every fault is named at once.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::own::is_own;
use super::{ATTRIBUTE_CHARS_MAX, DATA_BYTES_MAX, EXTENSIONS_MAX, OWN_SOURCE, is_type};
use crate::Instant;
use crate::job::PAYLOAD_DEPTH_MAX;
use crate::json::deeper_than;
use crate::trace::TraceContext;

/// The most characters of an extension attribute's name, which has lower-case letters and digits.
const EXTENSION_NAME_CHARS_MAX: usize = 20;

/// An event that a publisher gives.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDraft {
    /// Its id: a source has it once. The same id with the same content is accepted once.
    pub id: String,
    /// What it comes from, such as `shop/eu`.
    pub source: String,
    /// What has happened, such as `order.paid`.
    pub kind: String,
    /// Which version of the data of its type; `None` is the newest in the registry, or 1.
    pub version: Option<u32>,
    /// What it is about.
    pub subject: Option<String>,
    /// The stream in which it keeps its order; by default its subject, or its source.
    pub stream: Option<String>,
    /// When it happened; by default when it is accepted.
    pub time: Option<Instant>,
    /// What there is to say of it.
    pub data: Value,
    /// The W3C trace context of its cause.
    pub trace: Option<String>,
    /// Attributes of the publisher's own: texts, numbers, truth values.
    pub extensions: Map<String, Value>,
}

/// Everything that is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct EventFaults(pub Vec<String>);

impl fmt::Display for EventFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl EventDraft {
    /// An event without data.
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            kind: kind.into(),
            version: None,
            subject: None,
            stream: None,
            time: None,
            data: Value::Null,
            trace: None,
            extensions: Map::new(),
        }
    }

    /// The stream that it is in.
    pub fn stream(&self) -> &str {
        self.stream.as_deref().or(self.subject.as_deref()).unwrap_or(&self.source)
    }

    /// Finds everything that is wrong with it.
    ///
    /// # Errors
    ///
    /// All faults, each in words.
    pub fn check(&self) -> Result<(), EventFaults> {
        let mut faults = Vec::new();
        let attributes = [
            ("id", Some(&self.id)),
            ("source", Some(&self.source)),
            ("subject", self.subject.as_ref()),
            ("stream", self.stream.as_ref()),
        ];
        faults.extend(attributes.into_iter().filter_map(|(name, text)| attribute(name, text?)));
        faults.extend(self.check_type());
        faults.extend(self.check_data());
        if self.version == Some(0) {
            faults.push("`dataversion` is 0; versions are counted from 1".to_owned());
        }
        if let Some(trace) = &self.trace
            && TraceContext::parse(trace).is_none()
        {
            faults.push("`traceparent` is no W3C trace context, such as `00-<32 hex>-<16 hex>-01`".to_owned());
        }
        faults.extend(self.check_extensions());
        if faults.is_empty() { Ok(()) } else { Err(EventFaults(faults)) }
    }

    fn check_type(&self) -> Option<String> {
        let (kind, source) = (&self.kind, &self.source);
        if !is_type(kind) {
            return Some(format!(
                "`type` is `{}`; write segments of letters, digits, `-` and `_` between dots, such as `order.paid`",
                brief(kind)
            ));
        }
        if is_own(kind) {
            return Some(format!("`type` is `{kind}`, which this program alone reports; choose a name of your own"));
        }
        let own = source == OWN_SOURCE || source.starts_with("gristmill/");
        own.then(|| format!("`source` is `{source}`, which stands for this program itself; name your own"))
    }

    fn check_data(&self) -> Option<String> {
        if deeper_than(&self.data, PAYLOAD_DEPTH_MAX) {
            return Some(format!("`data` is nested deeper than {PAYLOAD_DEPTH_MAX} levels"));
        }
        let bytes = serde_json::to_string(&self.data).map_or(usize::MAX, |text| text.len());
        (bytes > DATA_BYTES_MAX).then(|| {
            format!("`data` has {bytes} bytes as JSON, and may have {DATA_BYTES_MAX}; put what is larger into a file")
        })
    }

    fn check_extensions(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.extensions.len() > EXTENSIONS_MAX {
            let found = self.extensions.len();
            faults.push(format!("there are {found} extension attributes; at most {EXTENSIONS_MAX} are kept"));
        }
        for (name, value) in &self.extensions {
            let is_named = (1..=EXTENSION_NAME_CHARS_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if !is_named {
                let name = brief(name);
                faults.push(format!("`{name}` is no name of an attribute: 1 to 20 lower-case letters and digits"));
            }
            match value {
                Value::String(text) => faults.extend(attribute(name, text)),
                Value::Bool(_) | Value::Number(_) => {}
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    faults.push(format!(
                        "`{name}` must be a text, a number or a truth value; the rest belongs into `data`"
                    ));
                }
            }
        }
        faults
    }

    /// The SHA-256 of what it says, in hexadecimal: the same whatever the order of keys.
    pub fn content_hash(&self) -> String {
        let content = json!([
            self.id,
            self.source,
            self.kind,
            self.version,
            self.subject,
            self.stream(),
            self.time.map(super::shown),
            sorted(&self.data),
            sorted(&Value::Object(self.extensions.clone())),
        ]);
        let mut text = String::new();
        for byte in Sha256::digest(content.to_string()) {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// Objects as lists of keys and values in the order of the keys.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, Value)> = fields.iter().map(|(key, value)| (key, sorted(value))).collect();
            fields.sort_by_key(|(key, _)| *key);
            json!({ "fields": fields })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn attribute(name: &str, text: &str) -> Option<String> {
    let chars = text.chars().count();
    if chars == 0 || chars > ATTRIBUTE_CHARS_MAX {
        return Some(format!("`{name}` has {chars} characters; it needs 1 to {ATTRIBUTE_CHARS_MAX}"));
    }
    text.chars().any(char::is_control).then(|| format!("`{name}` has control characters; an attribute is one line"))
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let draft = EventDraft {
            version: Some(0),
            subject: Some(String::new()),
            stream: Some("a\nb".to_owned()),
            trace: Some("00-x".to_owned()),
            extensions: Map::from_iter([("Big".to_owned(), json!([]))]),
            ..EventDraft::new("", "shop", "order paid")
        };
        let EventFaults(faults) = draft.check().expect_err("faults");
        for named in ["`id`", "`type`", "`dataversion`", "`subject`", "`stream`", "`traceparent`", "`Big` is no name"] {
            assert!(faults.iter().any(|fault| fault.contains(named)), "{named} is missing in {faults:?}");
        }
        assert_eq!(faults.len(), 8, "{faults:?}");
    }

    #[test]
    fn no_publisher_speaks_for_this_program() {
        for (source, kind) in [("gristmill", "a.b"), ("gristmill/x", "a.b"), ("shop", "batch.completed")] {
            assert!(EventDraft::new("1", source, kind).check().is_err(), "{source} {kind}");
        }
        assert_eq!(EventDraft::new("1", "gristmills", "batch.packed").check(), Ok(()));
    }

    #[test]
    fn data_has_a_mebibyte_at_most() {
        let of = |bytes: usize| EventDraft { data: json!("x".repeat(bytes)), ..EventDraft::new("1", "shop", "a") };
        assert_eq!(of(DATA_BYTES_MAX - 2).check(), Ok(()));
        assert!(of(DATA_BYTES_MAX - 1).check().is_err());
    }

    #[test]
    fn the_hash_is_that_of_the_content_whatever_the_order_of_keys() {
        let of = |data: &str| {
            let data = crate::json::read(data.as_bytes()).expect("JSON");
            EventDraft { data, ..EventDraft::new("1", "shop", "a") }.content_hash()
        };
        assert_eq!(of(r#"{"a":1,"b":[{"c":2,"d":3}]}"#), of(r#"{"b":[{"d":3,"c":2}],"a":1}"#));
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":"1"}"#));
        let streamed = EventDraft { stream: Some("s".to_owned()), ..EventDraft::new("1", "shop", "a") };
        assert_ne!(streamed.content_hash(), EventDraft::new("1", "shop", "a").content_hash());
    }
}
