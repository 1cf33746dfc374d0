//! What the values of measures are charged for is the memory that they take. In a process of its own, whose memory no
//! other test changes.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;

use gristmill_core::aggregate::{AggregateSpec, Aggregation, Partial};
use serde_json::{Value, json};

/// What this process has of the machine's memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("what the kernel says");
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4_096
}

fn absorbed(aggregation: &Aggregation, items: impl Iterator<Item = Value>) -> Partial {
    let mut absorber = aggregation.absorber();
    items.for_each(|item| absorber.absorb(&item).expect("it fits"));
    absorber.partial()
}

/// A number that looks random, and is another one for each `n`.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

#[test]
fn what_is_kept_takes_about_as_much_memory_as_it_is_charged_for() {
    let row = json!({ "n": "count", "s": { "sum": "v" }, "mean": { "mean": "v" }, "most": { "max": "v" } });
    let shapes: [(&str, Value, u64); 7] = [
        ("short values", json!({ "distinct": "id" }), 90_000),
        ("groups of one count", json!({ "group": "id", "count": true }), 90_000),
        ("rows of four measures", json!({ "group": "id", "measures": row }), 50_000),
        ("groups of two keys", json!({ "group": ["id", "v"], "measures": { "n": "count" } }), 50_000),
        ("a distinct in each group", json!({ "group": "few", "distinct": "id" }), 200_000),
        ("a median in each group", json!({ "group": "few", "median": "id" }), 200_000),
        ("quantiles of each group", json!({ "group": "many", "quantiles": "id" }), 200_000),
    ];
    let mut kept = Vec::new();
    for (name, spec, items) in shapes {
        let specs: BTreeMap<String, AggregateSpec> = serde_json::from_value(json!({ "m": spec })).expect("a measure");
        let aggregation = Aggregation::compile(&specs).expect("compiles");
        let item =
            |n: u64| json!({ "id": scattered(n) % 1_000_000_007, "v": n % 1000, "few": n % 64, "many": n % 500 });
        let before = resident();
        let partial = absorbed(&aggregation, (0..items).map(item));
        let (took, charged) = (resident() - before, partial.value_bytes());
        eprintln!("{name}: {took} bytes, charged {charged}");
        assert!(took <= charged * 5 / 4 + 512 * 1024, "{name}: {took} bytes, charged only {charged}");
        assert!(charged <= took * 2 + 512 * 1024, "{name}: {took} bytes, charged {charged}");
        kept.push(partial);
    }
}
