//! The items of simulated batches: what each is worth, and what becomes of it.

use gristmill_core::aggregate::Aggregation;
use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::BatchId;
use gristmill_core::inline;
use gristmill_testkit::random::mix;
use serde_json::{Value, json};

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lot {
    Good,
    Skipped,
    Bad,
}

/// The same for every attempt at a chunk; another for the chunk in which it is redriven.
pub(crate) fn lot(batch: BatchId, seq: i64, position: u64) -> Lot {
    match mix(seed(batch) ^ mix(position) ^ mix(seq as u64 ^ 0x5e9)) % 100 {
        0..=79 => Lot::Good,
        80..=87 => Lot::Skipped,
        _ => Lot::Bad,
    }
}

/// A number to be summed up.
pub(crate) fn value(batch: BatchId, position: u64) -> u128 {
    u128::from(mix(seed(batch) ^ mix(position ^ 0x7a1)) % 1_000)
}

/// A large number that no other item has: the sum of them tells one set of items from another.
pub(crate) fn mark(batch: BatchId, position: u64) -> u128 {
    u128::from(mix(seed(batch) ^ mix(position ^ 0xa5f)))
}

fn seed(batch: BatchId) -> u64 {
    batch.0.as_u64_pair().1
}

/// An item as it goes into the aggregate of an attempt.
pub(crate) fn item(batch: BatchId, position: u64, token: u64) -> Value {
    json!({
        "id": format!("{position:04}"),
        "v": value(batch, position).to_string(),
        "h": mark(batch, position).to_string(),
        "t": token.to_string(),
    })
}

/// The positions of a chunk's items.
pub(crate) fn positions(payload: &Value) -> Vec<u64> {
    let payload: ChunkPayload = serde_json::from_value(payload.clone()).expect("a chunk's payload");
    match &payload.slice {
        Slice::Part { whole, skip, .. } => {
            let skip = usize::try_from(*skip).expect("few items");
            of_slice(whole).into_iter().skip(skip).take(usize::try_from(payload.items).expect("few items")).collect()
        }
        whole => of_slice(whole),
    }
}

/// The positions of what is no part. Its planner counts bytes as if each item had one.
fn of_slice(slice: &Slice) -> Vec<u64> {
    match slice {
        Slice::Inline { zstd } => {
            inline::decode(zstd).expect("what the store packed").into_iter().map(|item| item.position).collect()
        }
        Slice::Bytes { from, to, .. } => (*from..*to).collect(),
        Slice::Keys { .. } | Slice::Part { .. } => panic!("no batch here has such chunks"),
    }
}

/// A definition that tells all that the oracle wants to know.
pub(crate) fn definition(failure_budget: &str, queue: &str, priority: &str, timeout: u64) -> BatchDefinition {
    let to = |name: &str| json!([{ "webhook": format!("https://example.com/{name}") }]);
    serde_json::from_value(json!({
        "source": { "jsonl": "-" },
        "tolerate": failure_budget,
        "queue": queue,
        "lane": priority,
        "max_attempts": 3,
        "timeout": format!("{timeout}s"),
        "retry": { "fixed": "1s" },
        "aggregate": {
            "n": "count",
            "sum": { "sum": "v" },
            "marks": { "sum": "h" },
            "tokens": { "sum": "t" },
            "each": { "group": "id", "count": true },
        },
        "on": {
            "success": to("success"), "halted": to("halted"), "settled": to("settled"), "cancelled": to("cancelled"),
        },
    }))
    .expect("a definition")
}

/// Its measures, compiled.
pub(crate) fn aggregation() -> Aggregation {
    Aggregation::compile(&definition("0", "default", "normal", 1).aggregate).expect("good measures")
}
