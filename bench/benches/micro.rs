//! The pure pieces that every job or item passes: what one call of each costs. `make bench-micro FILTER=settle` chooses.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use gristmill_core::aggregate::{AggregateSpec, Aggregation, Merger, Partial, decimal};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{NewJob, Priority};
use gristmill_core::limit::{Facts, Group, Key, Limit, LimitSpec, Running, choose};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::{Ending, settle};
use gristmill_jobs::pipeline::Pipeline;
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::process::{BatchContext, ProcessContext, Processors};
use gristmill_jobs::source::Record;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The items of one chunk.
const ITEMS: u64 = 500;

fn main() {
    divan::main();
}

/// What an attempt's end means: of one that succeeded, and of one that is tried again.
#[divan::bench(args = [Ending::Done, Ending::Failed { retry_after: None }, Ending::WorkerLost])]
fn settle_attempt(bencher: Bencher, ending: &Ending) {
    let policy = RetryPolicy::default();
    bencher.bench_local(|| settle(black_box(*ending), black_box(2), 5, &policy, black_box(0.37)));
}

/// The wait before the next attempt.
#[divan::bench(args = [1, 5, 30])]
fn retry_wait(bencher: Bencher, attempt: u32) {
    let policy = RetryPolicy::default();
    bencher.bench_local(|| policy.wait(black_box(attempt), black_box(0.37)));
}

fn measures() -> Aggregation {
    let specs: BTreeMap<String, AggregateSpec> = serde_json::from_value(json!({
        "rows": "count", "revenue": { "sum": "amount" }, "by_country": { "group": "country", "sum": "amount" },
    }))
    .expect("measures");
    Aggregation::compile(&specs).expect("measures that can be taken")
}

fn item(number: u64) -> Value {
    json!({
        "id": number.to_string(), "amount": format!("{}.{:02}", number * 7_919 % 1_000, number % 100),
        "country": format!("country {}", number % 38),
    })
}

fn partial(measures: &Aggregation) -> Partial {
    let mut absorber = measures.absorber();
    (0..ITEMS).for_each(|number| absorber.absorb(&item(number)).expect("it fits"));
    absorber.partial()
}

/// Items into the three measures of a chunk.
#[divan::bench]
fn aggregate_absorb(bencher: Bencher) {
    let (measures, items) = (measures(), (0..ITEMS).map(item).collect::<Vec<_>>());
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| {
        let mut absorber = measures.absorber();
        items.iter().for_each(|item| absorber.absorb(item).expect("it fits"));
        absorber.partial()
    });
}

/// The partial results of 200 chunks into one.
#[divan::bench]
fn aggregate_merge(bencher: Bencher) {
    let part = partial(&measures());
    let parts = || vec![part.clone(); 200];
    bencher.counter(ItemsCount::new(200_u64)).with_inputs(parts).bench_local_values(|parts| {
        let mut merger = Merger::default();
        parts.into_iter().for_each(|part| merger.merge(part).expect("of one definition"));
        merger.finish()
    });
}

/// A chunk's partial result as JSON and back, as it passes through the store.
#[divan::bench]
fn aggregate_through_json(bencher: Bencher) {
    let part = partial(&measures());
    bencher.bench_local(|| {
        let text = serde_json::to_string(black_box(&part)).expect("written");
        serde_json::from_str::<Partial>(&text).expect("read")
    });
}

/// A decimal out of a text and out of a number.
#[divan::bench(args = ["2.55", "-1234567.890123", "12345678901234567890.12345678901234567890"])]
fn parse_decimal(bencher: Bencher, text: &str) {
    let value = Value::from(text);
    bencher.bench_local(|| decimal(black_box(&value)));
}

/// 256 jobs out of so many waiting keys of a fair queue that has a limit for each key.
#[divan::bench(args = [10, 1_000])]
fn choose_by_limits(bencher: Bencher, keys: u32) {
    let key = |number: u32| Key::of("main", Some(&format!("customer-{number}")));
    let group = |number: u32| Group {
        queue: "default".to_owned(),
        priority: Priority::Normal,
        kind: "note".to_owned(),
        key: key(number),
        first: JobId(Uuid::from_u128(u128::from(number))),
    };
    let running = |number: u32| Running {
        queue: "default".to_owned(),
        kind: "note".to_owned(),
        key: key(number),
        jobs: u64::from(number % 5),
    };
    let spec = LimitSpec {
        queues: BTreeSet::from(["default".to_owned()]),
        per_key: true,
        concurrency: Some(5),
        ..LimitSpec::default()
    };
    let facts = Facts {
        now: chrono::DateTime::UNIX_EPOCH,
        limits: vec![Limit { name: "per-customer".to_owned(), spec }],
        running: (0..keys).map(running).collect(),
        buckets: BTreeMap::new(),
        turns: BTreeMap::new(),
        cut: BTreeSet::new(),
    };
    let groups: Vec<Group> = (0..keys).map(group).collect();
    bencher.bench_local(|| choose(black_box(&facts), black_box(&groups), 256));
}

/// A fresh id.
#[divan::bench]
fn job_id() -> JobId {
    JobId(Uuid::now_v7())
}

/// An id as the text in a message, and back.
#[divan::bench]
fn job_id_through_text(bencher: Bencher) {
    let id = JobId(Uuid::from_u128(0x0193_7d2e_0000_7000_8000_0000_0000_0001));
    bencher.bench_local(|| black_box(id).to_string().parse::<JobId>());
}

fn payload() -> Value {
    json!({ "to": ["ada@example.com", "grace@example.com"], "template": "welcome", "data": item(7), "copies": 2 })
}

/// A job made of a payload.
#[divan::bench]
fn new_job(bencher: Bencher) {
    bencher.with_inputs(payload).bench_local_values(|payload| NewJob::new(JobId(Uuid::nil()), "email", payload));
}

/// A payload as JSON and back.
#[divan::bench]
fn payload_through_json(bencher: Bencher) {
    let payload = payload();
    bencher.bench_local(|| {
        let text = serde_json::to_string(black_box(&payload)).expect("written");
        serde_json::from_str::<Value>(&text).expect("read")
    });
}

/// A chunk through validate, parse, transform and aggregate, on one thread.
#[divan::bench(min_time = Duration::from_secs(1))]
fn pipeline(bencher: Bencher) {
    let definition: BatchDefinition = serde_json::from_value(json!({
        "source": { "csv": "a.csv" },
        "validate": { "inline": { "type": "object", "required": ["id", "amount"] } },
        "parse": { "id": "integer", "amount": "decimal" },
        "transform": ".double = decimal_mul(.amount; 2)",
        "aggregate": { "rows": "count", "total": { "sum": "double" } },
    }))
    .expect("a definition");
    let pool = ItemPool::new(1).expect("a thread");
    let compiled = Pipeline::compile("bench", &definition, Path::new("/"), &Processors::default(), &pool);
    let pipeline = Arc::new(compiled.expect("it compiles"));
    let batch = BatchContext { id: BatchId(Uuid::nil()), name: "bench".to_owned(), params: Value::Null };
    let context = ProcessContext {
        idempotency_key: "key".to_owned(),
        trace: None,
        cancel: CancellationToken::new(),
        batch: Arc::new(batch),
    };
    let record = |position| Record { position, line: None, item: Ok(item(position)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let records = || (0..ITEMS).map(record).collect::<Vec<_>>();
    bencher.counter(ItemsCount::new(ITEMS)).with_inputs(records).bench_local_values(|records| {
        let outcome = runtime.block_on(pipeline.run(records, &context, &pool)).expect("it runs");
        assert!(outcome.set_aside.is_empty(), "every item fits");
        outcome
    });
}
