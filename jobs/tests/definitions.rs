//! Every mistake in a definition is reported by its key, with what would be right.

use std::path::Path;

use gristmill_core::definition::BatchDefinition;
use gristmill_jobs::pipeline::{Pipeline, resolve};
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use serde_json::{Value, json};

fn error(extra: Value) -> String {
    let mut definition = json!({ "source": { "csv": "a.csv" } });
    for (key, value) in extra.as_object().expect("a table") {
        definition[key] = value.clone();
    }
    let definition: BatchDefinition = serde_json::from_value(definition).expect("the right shape");
    let pool = ItemPool::new(1).expect("threads");
    let compiled = Pipeline::compile("retail", &definition, Path::new("/nowhere"), &Processors::default(), &pool);
    compiled.expect_err("a mistake").to_string()
}

#[test]
fn each_mistake_is_named_by_its_key() {
    for (extra, key, problem) in [
        (json!({ "chunk": 0 }), "chunk", "must be 1 to 100000"),
        (json!({ "max_attempts": 0 }), "max_attempts", "at least 1"),
        (json!({ "validate": {} }), "validate", "neither `schema` nor `inline`"),
        (json!({ "validate": { "schema": "s.json" } }), "validate.schema", "/nowhere/s.json"),
        (json!({ "validate": { "inline": { "type": "intger" } } }), "validate", "of the schema"),
        (json!({ "parse": { "D": { "type": "date", "format": "%Q" } } }), "parse.D", "not a date format"),
        (json!({ "transform": ".a = fooo(1)" }), "transform", "line 1, column 6"),
        (json!({ "enrich": [{ "on": "a" }] }), "enrich[0]", "neither `file` nor `sql`"),
        (json!({ "enrich": [{ "on": "a", "file": "x.csv" }] }), "enrich[0].file", "cannot read `/nowhere/x.csv`"),
        (json!({ "process": {} }), "process", "asks for nothing"),
        (json!({ "process": { "rust": "till" } }), "process", "no Rust item handler `till`"),
        (json!({ "process": { "rust": "till", "item_attempts": 0 } }), "process.item_attempts", "1 to 100"),
        (json!({ "format": { "fields": [] } }), "format", "is empty"),
        (json!({ "output": {} }), "output", "names no place"),
        (json!({ "output": { "csv": "out" } }), "output", "needs `format.fields`"),
        (json!({ "output": { "csv": "out", "jsonl": "out" } }), "output", "several places"),
        (json!({ "aggregate": { "x": { "group": "a" } } }), "aggregate.x", "no measure"),
    ] {
        let error = error(extra);
        assert!(error.starts_with(&format!("`batch.retail.{key}`: ")) && error.contains(problem), "{error}");
    }
}

#[test]
fn a_resolved_definition_needs_no_file_for_its_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("s.json"), "\u{feff}{\"required\": [\"id\"]}").expect("written");
    let definition = json!({ "source": { "csv": "a.csv" }, "validate": { "schema": "s.json" } });
    let definition: BatchDefinition = serde_json::from_value(definition).expect("a definition");
    let resolved = resolve("retail", &definition, folder.path()).expect("resolved");
    let validate = resolved.validate.expect("a schema");
    assert_eq!((validate.schema, validate.inline), (None, Some(json!({ "required": ["id"] }))));
}
