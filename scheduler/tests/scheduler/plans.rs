//! Planning: from a definition and an input to a batch that ends, or to nothing at all.

use crate::env::{TestEnv, env};
use gristmill_core::batch::BatchState;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_scheduler::plan::{STALLED_AFTER, resume};
use gristmill_store::{BatchFilter, BatchView, Page};

const DEFINITION: &str = r#"{
    "source": { "csv": "input.csv" },
    "chunk": 2,
    "tolerate": 1,
    "parse": { "amount": { "type": "decimal", "above": "0" } },
    "output": { "jsonl": "out" },
    "aggregate": { "rows": "count", "revenue": { "sum": "amount" } }
}"#;

async fn batches(env: &TestEnv) -> Vec<BatchView> {
    let filter = BatchFilter { tenant: DEFAULT_TENANT.to_owned(), ..BatchFilter::default() };
    env.store.batches(&filter, &Page::default()).await.expect("the store answers")
}

#[tokio::test]
async fn a_batch_goes_from_its_plan_to_its_result() {
    let env = env().await;
    let start = env.start(DEFINITION, "id,amount\n1,10.10\n2,20.20\n3,-1\n4,0.05\n5,1\n");
    let id = env.start_batch(start).await.expect("started");
    let planned = env.store.batch(DEFAULT_TENANT, id).await.expect("answers").expect("is there");
    assert_eq!((planned.state, planned.chunks, planned.counts.input), (BatchState::Sealed, 3, 5));
    env.work().await;
    let batch = env.store.batch(DEFAULT_TENANT, id).await.expect("answers").expect("is there");
    assert_eq!(batch.state, BatchState::Complete);
    assert_eq!((batch.counts.ok, batch.counts.quarantined, batch.counts.pending()), (4, 1, 0));
    let result = batch.result.expect("a result").to_string();
    assert!(result.contains("31.35"), "{result}");
    assert!(env.path().join("out").is_dir(), "relative folders are beside the definition");
}

#[tokio::test]
async fn a_definition_that_makes_no_sense_leaves_nothing_behind() {
    let env = env().await;
    let definition = DEFINITION.replace(r#""chunk": 2"#, r#""chunk": 2, "transform": ".a = (""#);
    let start = env.start(&definition, "id,amount\n1,1\n");
    let error = env.start_batch(start).await.expect_err("no jq").to_string();
    assert!(error.contains("batch.test.transform"), "{error}");
    assert!(batches(&env).await.is_empty());
}

#[tokio::test]
async fn an_input_that_turns_out_wrong_halfway_leaves_nothing_behind() {
    let env = env().await;
    let definition = DEFINITION.replace(r#""input.csv" }"#, r#""input.csv", "ragged": "error" }"#);
    let mut csv = "id,amount\n".to_owned();
    for row in 0..100 {
        csv.push_str(&format!("{row},1\n"));
    }
    csv.push_str("one,field,too,many\n");
    let start = env.start(&definition, &csv);
    let error = env.start_batch(start).await.expect_err("a ragged row").to_string();
    assert!(error.contains("102"), "it names the line: {error}");
    assert!(batches(&env).await.is_empty(), "32 chunks had been added before");
}

#[tokio::test]
async fn an_input_that_is_missing_is_named() {
    let env = env().await;
    let mut start = env.start(DEFINITION, "id,amount\n");
    start.input = Some(gristmill_core::definition::OneOrMany::One("no-such.csv".to_owned()));
    let error = env.start_batch(start).await.expect_err("no file").to_string();
    assert!(error.contains("no-such.csv"), "{error}");
    assert!(batches(&env).await.is_empty());
}

#[tokio::test]
async fn an_empty_input_is_a_batch_that_succeeds() {
    let env = env().await;
    let start = env.start(DEFINITION, "id,amount\n");
    let id = env.start_batch(start).await.expect("started");
    env.work().await;
    let batch = env.store.batch(DEFAULT_TENANT, id).await.expect("answers").expect("is there");
    assert_eq!((batch.state, batch.counts.input), (BatchState::Complete, 0));
}

#[tokio::test]
async fn the_same_key_starts_one_batch() {
    let env = env().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut start = env.start(DEFINITION, "id,amount\n1,1\n");
        start.idempotency_key = Some("monday".to_owned());
        ids.push(env.start_batch(start).await.expect("started"));
    }
    assert_eq!(ids[0], ids[1]);
    let batches = batches(&env).await;
    assert_eq!((batches.len(), batches[0].chunks), (1, 1));
}

#[tokio::test]
async fn a_plan_whose_planner_died_is_taken_back() {
    let env = env().await;
    let start = env.start(DEFINITION, "id,amount\n1,1\n");
    let dead = gristmill_store::NewBatch {
        id: gristmill_core::id::BatchId(uuid::Uuid::now_v7()),
        tenant: DEFAULT_TENANT.to_owned(),
        name: start.name.clone(),
        definition: start.definition.clone(),
        fingerprint: gristmill_core::chunk::SourceFingerprint::default(),
        params: serde_json::Value::Null,
        idempotency_key: None,
        trace: None,
    };
    env.store.create_batch(&dead).await.expect("created");
    let sealed = env.start_batch(start).await.expect("started");
    assert_eq!(resume(&env.store, &env.dispatcher, STALLED_AFTER).await.expect("looked"), 0, "it may still be at work");
    assert_eq!(resume(&env.store, &env.dispatcher, std::time::Duration::ZERO).await.expect("looked"), 1);
    let left: Vec<_> = batches(&env).await.into_iter().map(|batch| batch.id).collect();
    assert_eq!(left, [sealed], "a sealed batch is nobody's business here");
}
