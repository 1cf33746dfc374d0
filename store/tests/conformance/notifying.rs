//! What is reported about a batch under way, and what becomes of the spools of its input.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::id::BatchId;
use gristmill_core::job::ClaimedJob;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, Completion, JobFilter, JobView, NewBatch, Page, PatchRedrive, Restart, StoreError};
use serde_json::{Value, json};

use crate::{TENANT, assert_reconciled, batch, claim, claim_one, complete, enter};

conformance! {
    the_first_item_that_is_set_aside_is_told_once,
    the_first_chunk_that_dies_is_told_once,
    many_failures_at_once_are_told_once,
    of_two_failures_of_one_group_the_first_that_was_given_is_told,
    the_first_failure_of_the_next_generation_is_told_again,
    copies_go_when_nothing_is_left_that_would_read_them,
    copies_of_an_unfinished_batch_are_kept_for_a_while;
    databases only, "rows are changed by SQL":
    a_batch_that_did_not_end_in_time_is_told_once,
    a_batch_that_ended_in_time_is_not_late,
    copies_on_their_way_out_keep_a_batch_from_going_on,
}

fn telling() -> NewBatch {
    let on = json!({
        "first_failure": [{ "webhook": "https://example.com/failure" }],
        "late": [{ "email": { "to": "ops@example.com" } }],
    });
    let spelled = json!({ "source": { "jsonl": "-" }, "tolerate": "90%", "late_after": "1h", "on": on });
    NewBatch { definition: testing::definition(spelled), ..testing::batch() }
}

async fn sealed(store: &TestStore, new: &NewBatch, chunks: i64) -> BatchId {
    store.create_batch(new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(chunks, 10)).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    new.id
}

fn aside(chunk: &ClaimedJob) -> Completion {
    let position = 10 * u64::try_from(chunk.seq.expect("a chunk")).expect("a number");
    let item = SetAside {
        position,
        line: Some(2),
        stage: "parse".to_owned(),
        reason: "no number".to_owned(),
        item: json!({}),
    };
    let result = ChunkResult { ok: 9, quarantined: 1, set_aside: vec![item], ..ChunkResult::default() };
    Completion { chunk: Some(result), ..testing::done(chunk) }
}

/// The reporting jobs of that kind, with their payloads.
async fn told(store: &TestStore, kind: &str) -> Vec<JobView> {
    let filter = JobFilter { tenant: TENANT.to_owned(), kind: Some(kind.to_owned()), ..JobFilter::default() };
    let mut jobs = Vec::new();
    for job in store.jobs(&filter, &Page::default()).await.expect("listed") {
        jobs.push(crate::job(store, job.id).await);
    }
    jobs
}

async fn end(store: &TestStore, aggregate: &ClaimedJob, state: BatchState) {
    let batch = aggregate.batch.expect("a batch");
    let end = BatchEnd { batch, generation: aggregate.generation, state, result: Value::Null, reason: None };
    complete(store, &[Completion { batch_end: Some(end), ..testing::done(aggregate) }]).await;
}

async fn the_first_item_that_is_set_aside_is_told_once(store: TestStore) {
    let id = sealed(&store, &telling(), 3).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 3).await;
    complete(&store, &[testing::chunk_done(&chunks[0], 10)]).await;
    assert_eq!(told(&store, "webhook").await.len(), 0);
    complete(&store, &[aside(&chunks[1])]).await;
    complete(&store, &[aside(&chunks[2])]).await;
    let told = told(&store, "webhook").await;
    let [told] = &told[..] else { panic!("told once: {told:?}") };
    assert_eq!(
        (&told.payload["url"], &told.payload["type"]),
        (&json!("https://example.com/failure"), &json!("batch.first_failure"))
    );
    let failure = json!({ "chunk": 1, "position": 10, "line": 2, "stage": "parse", "reason": "no number" });
    assert_eq!(told.payload["data"]["failure"], failure);
    assert_eq!(told.payload["data"]["batch"]["id"], json!(id));
    assert_eq!(told.payload["data"]["batch"]["counts"]["quarantined"], 1);
    assert_eq!(told.batch, Some(id));
    assert_reconciled(&store).await;
}

async fn the_first_chunk_that_dies_is_told_once(store: TestStore) {
    sealed(&store, &telling(), 2).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 2).await;
    complete(&store, &[testing::dead(&chunks[0])]).await;
    complete(&store, &[aside(&chunks[1])]).await;
    let told = told(&store, "webhook").await;
    assert_eq!(told.len(), 1);
    let failure = &told[0].payload["data"]["failure"];
    assert_eq!(
        (&failure["chunk"], &failure["stage"], &failure["reason"]),
        (&json!(0), &Value::Null, &json!("it will never work"))
    );
}

async fn many_failures_at_once_are_told_once(store: TestStore) {
    sealed(&store, &telling(), 8).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 8).await;
    let all = futures::future::join_all(chunks.iter().map(|chunk| {
        let store = store.handle();
        let one = aside(chunk);
        async move { store.complete(&[one]).await.expect("completed").settled }
    }));
    assert_eq!(all.await.iter().sum::<u64>(), 8);
    assert_eq!(told(&store, "webhook").await.len(), 1);
    assert_reconciled(&store).await;
}

async fn of_two_failures_of_one_group_the_first_that_was_given_is_told(store: TestStore) {
    sealed(&store, &telling(), 2).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 2).await;
    complete(&store, &[aside(&chunks[1]), aside(&chunks[0])]).await;
    let told = told(&store, "webhook").await;
    assert_eq!((told.len(), &told[0].payload["data"]["failure"]["chunk"]), (1, &json!(1)));
}

async fn the_first_failure_of_the_next_generation_is_told_again(store: TestStore) {
    let id = sealed(&store, &telling(), 1).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[aside(&chunk)]).await;
    let only = |mut jobs: Vec<ClaimedJob>| {
        jobs.retain(|job| matches!(job.kind.as_str(), "chunk" | "aggregate"));
        jobs.remove(0)
    };
    let aggregate = only(claim(&store, worker, 10).await);
    end(&store, &aggregate, BatchState::Complete).await;
    store.redrive_patched(TENANT, &PatchRedrive::new(id, 10), false).await.expect("redriven");
    assert_eq!(told(&store, "webhook").await.len(), 1, "a redrive is no failure");
    let again = only(claim(&store, worker, 10).await);
    let item =
        SetAside { position: 0, line: None, stage: "parse".to_owned(), reason: "still".to_owned(), item: json!({}) };
    let result = ChunkResult { quarantined: 1, set_aside: vec![item], ..ChunkResult::default() };
    complete(&store, &[Completion { chunk: Some(result), ..testing::done(&again) }]).await;
    let told = told(&store, "webhook").await;
    assert_eq!(told.len(), 2);
    assert!(told.iter().any(|job| job.payload["data"]["failure"]["reason"] == "still"));
}

/// Moves the deadlines of batches into the past.
async fn overdue(store: &TestStore) {
    let past = if store.embedded() { "1" } else { "now() - interval '1 second'" };
    store.tamper(&format!("UPDATE batch SET late_at = {past} WHERE late_at IS NOT NULL")).await;
}

async fn a_batch_that_did_not_end_in_time_is_told_once(store: TestStore) {
    let id = sealed(&store, &telling(), 1).await;
    store.notify_late(10).await.expect("asked");
    assert_eq!(told(&store, "email").await.len(), 0, "not yet");
    overdue(&store).await;
    let (one, two) = tokio::join!(store.notify_late(10), store.notify_late(10));
    let dispatched = [one.expect("told"), two.expect("told")];
    assert_eq!(dispatched.iter().map(|dispatched| dispatched.dispatches.len()).sum::<usize>(), 1);
    let told = told(&store, "email").await;
    let [told] = &told[..] else { panic!("told once: {told:?}") };
    assert_eq!((&told.payload["to"], &told.payload["template"]), (&json!("ops@example.com"), &json!("batch-late")));
    assert_eq!((&told.payload["data"]["late_after"], &told.payload["data"]["batch"]["id"]), (&json!("1h"), &json!(id)));
}

async fn a_batch_that_ended_in_time_is_not_late(store: TestStore) {
    sealed(&store, &telling(), 0).await;
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    end(&store, &aggregate, BatchState::Complete).await;
    overdue(&store).await;
    assert_eq!(store.notify_late(10).await.expect("asked").moved, 0);
    assert_eq!(told(&store, "email").await.len(), 0);
}

fn copied() -> NewBatch {
    NewBatch { fingerprint: testing::spooled(), ..testing::batch() }
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);

async fn copies_go_when_nothing_is_left_that_would_read_them(store: TestStore) {
    testing::sealed(&store, 0, 0).await;
    let new = copied();
    let id = sealed(&store, &new, 1).await;
    let worker = enter(&store).await;
    assert_eq!(store.spools(Duration::ZERO, 10).await.expect("asked"), [], "it is under way");
    let all = claim(&store, worker, 10).await;
    for job in &all {
        if job.kind == "chunk" {
            complete(&store, &[testing::chunk_done(job, 10)]).await;
        }
    }
    let aggregate = claim_one(&store, worker).await;
    assert_eq!(aggregate.batch, Some(id));
    end(&store, &aggregate, BatchState::Complete).await;
    let given = [(id, new.fingerprint)];
    assert_eq!(store.spools(WEEK, 10).await.expect("asked"), given);
    assert_eq!(store.spools(WEEK, 10).await.expect("asked"), given, "until they are gone");
    store.spools_removed(id).await.expect("said");
    assert_eq!(store.spools(WEEK, 10).await.expect("asked"), []);
}

async fn copies_of_an_unfinished_batch_are_kept_for_a_while(store: TestStore) {
    let id = sealed(&store, &copied(), 1).await;
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    assert_eq!(store.spools(WEEK, 10).await.expect("asked"), []);
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    store.restart_batch(TENANT, &restart, false).await.expect("it can still go on");
    assert_eq!(batch(&store, id).await.state, BatchState::Sealed);
}

async fn copies_on_their_way_out_keep_a_batch_from_going_on(store: TestStore) {
    let id = sealed(&store, &copied(), 1).await;
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    let long_ago = if store.embedded() { "1" } else { "now() - interval '8 days'" };
    store.tamper(&format!("UPDATE batch SET finished_at = {long_ago}")).await;
    assert_eq!(store.spools(WEEK, 10).await.expect("asked").len(), 1);
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    let error = store.restart_batch(TENANT, &restart, false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("copy of its input")), "{error}");
}
