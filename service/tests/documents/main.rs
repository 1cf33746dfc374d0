//! The public shape of every document: an accidental change of one fails here.
//!
//! An intended change is accepted with `INSTA_UPDATE=always`, and documented in docs/documents.md and in CHANGELOG.md.

mod accounts;
mod audit;
mod batches;
mod emails;
mod events;
mod history;
mod jobs;
mod operating;
mod operations;
mod retention;
mod schedules;

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_service::documents::{
    AuditEntryDocument, AuditVerifiedDocument, BatchWithResult, CallbackDocument, EmailDocument, EnqueuedManyDocument,
    EnqueuedOneDocument, ErrorDocument, HistoryDocument, JobDocument, JobOnlyDocument, ReportDocument,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

/// A document by its name in docs/documents.md, with every field filled and with as few as there can be.
struct Sample {
    name: &'static str,
    full: Value,
    minimal: Value,
}

fn sample(name: &'static str, full: impl Serialize, minimal: impl Serialize) -> Sample {
    Sample { name, full: json!(full), minimal: json!(minimal) }
}

fn at(second: i64) -> Instant {
    chrono::DateTime::from_timestamp(1_700_000_000 + second, 250_000_000).expect("an instant")
}

fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

fn samples() -> Vec<Sample> {
    let all = [
        accounts::samples(),
        audit::samples(),
        batches::samples(),
        emails::samples(),
        emails::flow(),
        events::samples(),
        history::samples(),
        jobs::samples(),
        operating::samples(),
        operations::samples(),
        retention::samples(),
        schedules::samples(),
    ];
    all.into_iter().flatten().collect()
}

#[test]
fn every_document_has_the_shape_that_was_agreed() {
    for Sample { name, full, minimal } in samples() {
        insta::assert_json_snapshot!(name, json!({ "full": full, "minimal": minimal }));
    }
}

/// A field of a table of docs/documents.md, and whether it may be absent.
struct Field {
    name: String,
    optional: bool,
}

/// The fields of each table of docs/documents.md, by the document's name.
fn documented() -> BTreeMap<String, Vec<Field>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/documents.md");
    let text = std::fs::read_to_string(path).expect("docs/documents.md");
    let mut found: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut document = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### `") {
            document = heading.split('`').next().unwrap_or_default().to_owned();
            found.entry(document.clone()).or_default();
        } else if let Some((name, rest)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | ")) {
            let optional = rest.split('|').next().is_some_and(|kind| kind.contains("absent"));
            found.entry(document.clone()).or_default().push(Field { name: name.to_owned(), optional });
        }
    }
    found
}

#[test]
fn the_documentation_names_every_document_and_every_field_in_its_order() {
    let mut documented = documented();
    for Sample { name, full, minimal } in samples() {
        let fields = documented.remove(name).unwrap_or_else(|| panic!("docs/documents.md has no section `{name}`"));
        for shown in [full, minimal] {
            let shown = shown.as_object().expect("an object");
            let expected = fields.iter().filter(|field| !field.optional || shown.contains_key(&field.name));
            let expected: Vec<&String> = expected.map(|field| &field.name).collect();
            assert_eq!(shown.keys().collect::<Vec<_>>(), expected, "the fields of {name}");
        }
    }
    assert!(documented.is_empty(), "docs/documents.md has sections of no document: {:?}", documented.keys());
}

/// Reads a sample of the documents that clients read, and writes it again.
fn read_back<T: Serialize + DeserializeOwned>(name: &str) {
    let Sample { full, minimal, .. } = samples().into_iter().find(|sample| sample.name == name).expect(name);
    for document in [full, minimal] {
        let read: T = serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(json!(read), document, "{name}");
    }
}

#[test]
fn clients_read_what_was_written() {
    read_back::<AuditEntryDocument>("AuditEntryDocument");
    read_back::<AuditVerifiedDocument>("AuditVerifiedDocument");
    read_back::<BatchWithResult>("BatchWithResult");
    read_back::<CallbackDocument>("CallbackDocument");
    read_back::<EmailDocument>("EmailDocument");
    read_back::<HistoryDocument>("HistoryDocument");
    read_back::<JobDocument>("JobDocument");
    read_back::<JobOnlyDocument>("JobOnlyDocument");
    read_back::<EnqueuedOneDocument>("EnqueuedOneDocument");
    read_back::<EnqueuedManyDocument>("EnqueuedManyDocument");
    read_back::<ReportDocument>("ReportDocument");
    read_back::<ErrorDocument>("ErrorDocument");
}

/// Fields whose content is the user's or another program's, with names of its own.
const FOREIGN: [&str; 10] =
    ["payload", "item", "details", "result", "output", "before", "after", "headers", "params", "about"];

/// Visits every field of a document and of what is in it.
fn fields<'a>(value: &'a Value, each: &mut impl FnMut(&'a str, &'a Value)) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                each(key, value);
                if !FOREIGN.contains(&key.as_str()) {
                    fields(value, each);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_instant_is_in_utc_and_can_be_read() {
    let samples = samples();
    let mut found = Vec::new();
    for sample in &samples {
        fields(&sample.full, &mut |key, value| {
            let named = ["at", "tick", "from", "to", "since"].contains(&key) || key.ends_with("_at");
            found.extend(value.as_str().filter(|_| named));
        });
    }
    assert!(found.len() > 40, "only {} instants", found.len());
    for text in found {
        let read = chrono::DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!((text.ends_with('Z'), read.offset().local_minus_utc()), (true, 0), "{text}");
    }
}

/// Words that had several meanings, and no longer stand for anything.
const RETIRED: [&str; 7] = ["lane", "tolerate", "astray", "unserved", "stamp", "mend", "silent_queues"];

#[test]
fn no_field_has_a_retired_name() {
    for Sample { name, full, .. } in &samples() {
        fields(full, &mut |key, _| {
            let snake = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(!RETIRED.contains(&key) && snake, "{name} has the field `{key}`");
        });
    }
}
