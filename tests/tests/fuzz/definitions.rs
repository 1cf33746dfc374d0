//! Definitions of batches: their shape, and their schemas, programs, patterns and formats.

use gristmill::config::toml_tree::read_toml;
use gristmill_core::definition::BatchDefinition;
use gristmill_jobs::pipeline::Pipeline;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::Processors;
use gristmill_jobs::settings::ExecSettings;
use serde_json::{Value, json};

use crate::mutator::{JSON, hostile_text};
use crate::{Target, in_words};
use gristmill_testkit::Random;

const TEXTS: [&str; 3] = [
    include_str!("../../../examples/exec/config.toml"),
    include_str!("../../../examples/retail/config.toml"),
    include_str!("../../../gristmill/src/cli/demo/config.toml"),
];

fn examples() -> Vec<Value> {
    let trees = TEXTS.iter().map(|text| read_toml("config.toml", text).expect("TOML").0);
    let batches = trees.filter_map(|tree| tree.get("batch").and_then(Value::as_object).cloned());
    batches.flat_map(|batches| batches.into_iter().map(|(_, definition)| definition)).collect()
}

fn hostile_value(random: &mut Random) -> Value {
    match random.index(12) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(0),
        3 => json!(u64::MAX),
        4 => json!(1e308),
        5 => json!([]),
        6 => json!({}),
        7 => json!(""),
        8 => json!("\u{0}"),
        9 => json!("x".repeat(random.index(5_000))),
        10 => json!([[{}], null]),
        _ => json!("((((((((((((((((a+)+)+)+)+)+)+)+)+"),
    }
}

/// Puts something else at one place of a tree: deeper, the longer it goes on.
fn spoil(random: &mut Random, value: &mut Value) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !random.one_in(12) => {
            let key = fields.keys().nth(random.index(fields.len())).cloned().unwrap_or_default();
            match random.index(10) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(format!("{key}x"), hostile_value(random))),
                _ => fields.get_mut(&key).into_iter().for_each(|within| spoil(random, within)),
            }
        }
        Value::Array(list) if !list.is_empty() && !random.one_in(8) => {
            let at = random.index(list.len());
            match random.index(6) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => spoil(random, &mut list[at]),
            }
        }
        Value::String(text) if !random.one_in(4) => *text = hostile_text(random, text, &JSON),
        other => *other = hostile_value(random),
    }
}

#[test]
fn whatever_a_definition_says_it_compiles_or_is_refused_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (examples, pool) = (examples(), ItemPool::new(1).expect("a thread"));
    let exec = ["python3", "sh"].map(|name| format!("/usr/bin/{name}")).to_vec();
    let exec = ExecSettings { programs: exec, ..ExecSettings::default() };
    let processors = Processors::default().with_outside(&exec, &[]);
    assert!(examples.len() > 2, "there are definitions to begin with");
    Target { name: "definitions", ordinary: 300, share: 200 }.feed(|random| {
        let mut spelled = examples[random.index(examples.len())].clone();
        for _ in 0..random.index(3) {
            spoil(random, &mut spelled);
        }
        let definition: BatchDefinition = match serde_json::from_value(spelled.clone()) {
            Ok(definition) => definition,
            Err(error) => return in_words(&error),
        };
        let kept = serde_json::to_value(&definition).map_err(|error| format!("it cannot be kept: {error}"))?;
        match serde_json::from_value::<BatchDefinition>(kept) {
            Ok(again) if again == definition => {}
            other => return Err(format!("it is kept as something else: {spelled}: {other:?}")),
        }
        match Pipeline::compile("fuzzed", &definition, folder.path(), &processors, &pool) {
            Ok(_) => Ok(true),
            Err(error) if error.key.starts_with("batch.fuzzed") => in_words(&error.problem),
            Err(error) => Err(format!("an error without its key: {error:?}")),
        }
    });
}
