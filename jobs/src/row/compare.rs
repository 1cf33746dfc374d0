//! The short way ends where the long way ends, whatever the definition and the file.

use std::sync::Arc;

use gristmill_core::definition::BatchDefinition;
use gristmill_testkit::random::{Random, mix, seed};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::RowPlan;
use crate::pipeline::{ChunkOutcome, Pipeline};
use crate::pool::ItemPool;
use crate::process::{BatchContext, ProcessContext, Processors};
use crate::source::{self, OpenOptions, Rows};

/// How many definitions are tried, each on one file.
const DEFINITIONS: u64 = 200;

/// The names of the columns.
const COLUMNS: [&str; 5] = ["a", "b c", "d", "e.f", "when"];

/// Texts that people write, and that programs stumble over.
const TEXTS: [&str; 30] = [
    "",
    " ",
    "0",
    "-0",
    "7",
    " 12 ",
    "0012",
    "-3",
    "+4",
    "1.50",
    "1.5",
    "-0.00",
    ".5",
    "5.",
    "1e3",
    "1_000",
    "null",
    "true",
    "no",
    "x",
    "Ünï ",
    "say \"hi\"",
    "a,b",
    "line\nbreak",
    "99999999999999999999",
    "0.1234567890123456789012345678",
    "12/01/2011 8:26",
    "2011-01-12",
    "£3.10",
    "\u{1}null",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_takes_the_short_way_to_where_the_long_way_ends() {
    let pool = ItemPool::new(2).expect("threads");
    let (seed, mut short, mut lines) = (seed(), 0, 0);
    for number in 0..DEFINITIONS {
        let mut random = Random::new(mix(seed ^ number));
        let (definition, file) = (definition(&mut random), file(&mut random));
        let case = format!("seed {seed}, definition {number}: {definition}\n{file}");
        short += u64::from(both_ways(&definition, &file, &pool, &case).await);
        let mut definition = definition;
        definition["source"] = json!({ "jsonl": "in.jsonl" });
        let file = json_lines(&mut random);
        let case = format!("seed {seed}, definition {number}: {definition}\n{file}");
        lines += u64::from(both_ways(&definition, &file, &pool, &case).await);
    }
    assert!(short > DEFINITIONS / 2, "seed {seed}: only {short} went the short way");
    assert!(lines > DEFINITIONS / 3, "seed {seed}: only {lines} of lines went the short way");
}

/// Whether there was a short way at all.
async fn both_ways(definition: &Value, file: &str, pool: &ItemPool, case: &str) -> bool {
    let Some((pipeline, rows)) = read(definition, file, pool, case).await else { return false };
    let records = rows.records();
    let long = pipeline.run(records, &context(), pool).await.expect(case);
    let Some(plan) = RowPlan::of(pipeline.stages().expect("no waiting"), rows.columns()) else { return false };
    let short = Arc::new(plan).run(&pipeline, &Arc::new(rows), pool, &CancellationToken::new()).await.expect(case);
    let short = short.expect("nothing went wrong");
    assert_eq!(String::from_utf8_lossy(&short.encoded.bytes), written(&pipeline, &long), "{case}");
    assert_eq!((short.passed(), short.skipped), (long.passed(), long.skipped), "{case}");
    assert_eq!(short.set_aside, long.set_aside, "{case}");
    assert_eq!(json!(short.partial), json!(long.partial), "{case}");
    assert_eq!(short.partial, long.partial, "{case}");
    true
}

/// A definition over a file, and the rows of its only chunk, which are the same as its records.
pub(super) async fn read(definition: &Value, file: &str, pool: &ItemPool, case: &str) -> Option<(Arc<Pipeline>, Rows)> {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["in.csv", "in.jsonl"] {
        std::fs::write(folder.path().join(name), file).expect("written");
    }
    let definition: BatchDefinition = serde_json::from_value(definition.clone()).expect(case);
    let pipeline = Pipeline::compile("b", &definition, folder.path(), &Processors::default(), pool).expect(case);
    let options = OpenOptions {
        spool_dir: folder.path().join("spool"),
        base_dir: folder.path().to_owned(),
        chunk: 1_000.into(),
        spool_bytes_max: 1 << 20,
        stdin: None,
    };
    let mut planner = source::open(&definition.source, options).await.expect(case);
    let payload = planner.next_chunk().await.expect(case).expect("a chunk");
    let rows = source::read_rows(&payload, planner.fingerprint(), &definition.source).await.expect(case)?;
    let records = source::read(&payload, planner.fingerprint(), &definition.source).await.expect(case);
    assert_eq!(rows.records(), records, "{case}");
    Some((Arc::new(pipeline), rows))
}

fn context() -> ProcessContext {
    let batch =
        BatchContext { id: gristmill_core::id::BatchId(uuid::Uuid::nil()), name: "b".to_owned(), params: json!({}) };
    ProcessContext {
        idempotency_key: String::new(),
        trace: None,
        cancel: CancellationToken::new(),
        batch: Arc::new(batch),
        last_attempt: false,
        answers: Default::default(),
        room: Default::default(),
    }
}

/// What the long way writes.
fn written(pipeline: &Pipeline, outcome: &ChunkOutcome) -> String {
    let encoding = pipeline.stages().and_then(|stages| stages.encoding).cloned();
    let bytes = encoding.map_or(Ok(Vec::new()), |encoding| encoding.encode(&outcome.ok)).expect("encoded");
    String::from_utf8(bytes).expect("UTF-8")
}

fn file(random: &mut Random) -> String {
    let mut file = COLUMNS.join(",") + "\n";
    for _ in 0..random.between(1, 60) {
        let columns = if random.one_in(30) { COLUMNS.len() - 1 } else { COLUMNS.len() };
        let row: Vec<String> = (0..columns).map(|_| cell(random)).collect();
        file += &(row.join(",") + if random.one_in(5) { "\r\n" } else { "\n" });
    }
    file
}

/// Lines that mostly have the same keys, with plain values and others.
fn json_lines(random: &mut Random) -> String {
    let mut file = String::new();
    for _ in 0..random.between(1, 60) {
        let mut fields: Vec<String> = COLUMNS.iter().map(|name| format!("{name:?}:{}", json_value(random))).collect();
        if random.one_in(20) {
            fields.reverse();
        }
        if random.one_in(20) {
            fields.pop();
        }
        let space = if random.one_in(4) { " " } else { "" };
        file += &format!(
            "{{{space}{}}}{}",
            fields.join(&format!("{space},{space}")),
            if random.one_in(9) { " \r\n" } else { "\n" }
        );
    }
    file
}

fn json_value(random: &mut Random) -> String {
    match random.below(14) {
        0 => "null".to_owned(),
        1 => "7".to_owned(),
        2 => "-12".to_owned(),
        3 => if random.one_in(2) { "true" } else { "0" }.to_owned(),
        4 => if random.one_in(3) { "1.5" } else { "123456789012345678" }.to_owned(),
        5 if random.one_in(6) => "[1]".to_owned(),
        6 if random.one_in(6) => "01".to_owned(),
        7 if random.one_in(6) => "\"\\u00e9\\n\"".to_owned(),
        _ => Value::from(*random.pick(&TEXTS)).to_string(),
    }
}

fn cell(random: &mut Random) -> String {
    let text = *random.pick(&TEXTS);
    let plain = !text.contains(['"', ',', '\n']);
    if plain && !random.one_in(6) { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn definition(random: &mut Random) -> Value {
    let mut definition = json!({ "source": { "csv": "in.csv" }, "aggregate": measures(random) });
    let mut put = |key: &str, value: Value| definition[key] = value;
    if random.one_in(2) {
        let rules = json!({ "a": { "minLength": random.below(3) }, "d": { "maxLength": 6, "type": "string" } });
        let schema = match random.below(4) {
            0 => json!({ "required": ["a"], "properties": rules }),
            1 => json!({ "properties": { "d": { "enum": ["", "x", "7", "Ünï "] } } }),
            2 => {
                json!({ "type": "object", "properties": { "a": { "pattern": "^[^x]*$" }, "d": { "pattern": random.pick(&["\\S", "^[0-9]*$", "^\\w+$", "a|7", "^.{0,3}$"]) } } })
            }
            _ => json!({ "required": ["a", "nowhere"] }),
        };
        put("validate", json!({ "inline": schema }));
    }
    if random.one_in(2) {
        put("sanitize", json!({ "trim": random.one_in(2), "nfc": random.one_in(2), "control": random.one_in(2) }));
    }
    if random.one_in(3) {
        put("nulls", json!(words(random)));
    }
    if random.percent(70) {
        put("parse", rules(random));
    }
    if random.percent(80) {
        let steps: Vec<String> = (0..random.between(1, 3)).map(|_| step(random)).collect();
        put("transform", json!(steps.join(" | ")));
    }
    match random.below(4) {
        0 => put("format", json!({ "fields": ["d", "a"], "rename": { "a": "first" } })),
        1 => put("format", json!({ "rename": { "b c": "second", "d": if random.one_in(4) { "a" } else { "third" } } })),
        2 => {
            put("format", json!({ "fields": ["a", "b c", "d"] }));
            put("output", json!({ "csv": "out", "formulas": if random.one_in(2) { "keep" } else { "escape" } }));
            return definition;
        }
        _ => {}
    }
    if random.percent(70) {
        put("output", json!({ "jsonl": "out" }));
    }
    definition
}

fn rules(random: &mut Random) -> Value {
    let mut rules = json!({});
    for column in COLUMNS.iter().chain(&["new"]) {
        let rule = match random.below(9) {
            0 => json!({ "type": "integer", "optional": random.one_in(2) }),
            1 => json!({ "type": "decimal", "optional": true, "above": "-1" }),
            2 => json!({ "type": "money", "optional": random.one_in(2) }),
            3 => json!({ "type": "date", "format": ["%d/%m/%Y %H:%M", "%Y-%m-%d"], "optional": true }),
            4 => json!({ "type": "boolean", "optional": true }),
            5 => json!({ "type": "text", "optional": random.one_in(2) }),
            _ => continue,
        };
        rules[column] = rule;
        if random.one_in(4) {
            let words = words(random);
            let optional = !words.is_empty() || rules[column]["optional"] == true;
            rules[column]["optional"] = json!(optional);
            rules[column]["nulls"] = json!(words);
        }
    }
    rules
}

/// Texts that stand for null.
fn words(random: &mut Random) -> Vec<&'static str> {
    ["", "0", "null", "x", "-3", "Ünï"].into_iter().filter(|_| random.one_in(3)).collect()
}

fn measures(random: &mut Random) -> Value {
    let measures = [
        ("n", json!("count")),
        ("filled", json!({ "count": "a" })),
        ("sum", json!({ "sum": "a" })),
        ("groups", json!({ "group": "d", "count": true })),
        ("mean", json!({ "group": "b c", "mean": "a" })),
        ("least", json!({ "min": "d" })),
        ("most", json!({ "group": "e.f", "max": "a" })),
        ("different", json!({ "distinct": "b c" })),
        ("top", json!({ "top": "d", "k": 3 })),
        ("halves", json!({ "quantiles": "a" })),
        ("middle", json!({ "median": "a" })),
        (
            "table",
            json!({ "group": ["d", "e.f"], "measures": { "n": "count", "s": { "sum": "a" }, "k": { "distinct": "b c" } } }),
        ),
        ("one", json!({ "group": "b c", "measures": { "m": { "median": "a" }, "l": { "min": "when" } } })),
    ];
    let chosen = measures.into_iter().filter(|_| random.one_in(4));
    Value::Object(chosen.map(|(name, measure)| (name.to_owned(), measure)).collect())
}

fn step(random: &mut Random) -> String {
    let (field, one, two) = (field(random), expression(random, 2), expression(random, 1));
    match random.below(12) {
        0..=4 => format!("{field} = ({one})"),
        5 => format!("{field} += ({two})"),
        6 => format!("select({one})"),
        7 => format!("del({field})"),
        8 => format!(". + {{ new: ({one}), a: ({two}) }}"),
        9 => format!("{{ a, d, \"b c\": ({one}), \"e.f\": .d, when }}"),
        10 => format!("{field} |= tostring"),
        _ => "with_entries(.)".to_owned(),
    }
}

fn field(random: &mut Random) -> String {
    let name = if random.one_in(8) { "new" } else { *random.pick(&COLUMNS) };
    if name.contains([' ', '.']) { format!(".\"{name}\"") } else { format!(".{name}") }
}

fn expression(random: &mut Random, depth: u32) -> String {
    if depth == 0 || random.one_in(4) {
        return match random.below(7) {
            0 => "7".to_owned(),
            1 => "\"x\\t\"".to_owned(),
            2 => "null".to_owned(),
            3 => "-2".to_owned(),
            _ => field(random),
        };
    }
    let (one, two) = (expression(random, depth - 1), expression(random, depth - 1));
    match random.below(19) {
        0 => format!("({one}) + ({two})"),
        1 => format!("({one}) - ({two})"),
        2 => format!("({one}) * ({two})"),
        3 => format!("({one}) / ({two})"),
        4 => format!("decimal_mul({one}; {two})"),
        5 => format!("decimal_add({one}; 2.50)"),
        6 => format!("decimal_sub({one}; {two})"),
        7 => format!("decimal_round(decimal_mul({one}; 1.175); 2)"),
        8 => format!("({one}) == ({two})"),
        9 => format!("({one}) < ({two})"),
        10 => format!("({one}) >= ({two})"),
        11 => format!("({one}) and ({two})"),
        12 => format!("({one}) or ({two})"),
        13 => format!("({one}) // ({two})"),
        14 => format!("if {one} then {two} else {one} end"),
        15 => format!("\"<\\({one})>\\({two})\""),
        16 => format!("({one}) | ascii_downcase"),
        17 => format!("({one}) | tonumber"),
        _ => format!("({one}) | not"),
    }
}
