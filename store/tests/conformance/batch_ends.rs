//! Ends of batches that no aggregate declares: its aggregate died, or the batch was cancelled.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, WorkerId};
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_store::testing::{self, TestStore, eventually};
use gristmill_store::{BatchEnd, Completion, JobFilter, NewBatch, Page, Restart, StoreError};
use serde_json::{Value, json};

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, enter, job, state};

conformance! {
    a_batch_ends_with_its_dead_aggregate,
    a_rescue_that_ends_an_aggregate_ends_its_batch,
    an_aggregate_is_tried_as_its_definition_says,
    a_batch_without_its_aggregate_is_restarted,
    a_dead_aggregate_is_redriven_into_the_next_generation,
    a_dead_aggregate_and_a_dead_chunk_are_redriven_together,
    a_dead_chunk_takes_the_dead_aggregate_along,
    the_aggregate_of_an_earlier_generation_is_not_redriven,
    what_halted_a_batch_outlives_the_death_of_its_aggregate,
    a_cancelled_batch_reports_its_cancelling;
    databases only, "rows are changed by SQL":
    a_batch_that_waits_for_a_dead_aggregate_is_found_and_halted,
    a_batch_that_only_lacks_its_aggregate_needs_no_input,
}

fn reporting() -> NewBatch {
    let to = |name: &str| json!([{ "webhook": format!("https://example.com/{name}") }]);
    let on = json!({
        "success": to("success"), "halted": to("halted"), "settled": to("settled"), "cancelled": to("cancelled"),
    });
    let spelled = json!({
        "source": { "jsonl": "-" }, "tolerate": "90%", "on": on,
        "aggregate_job": { "max_attempts": 1, "timeout": "90s", "retry": { "fixed": "7s" } },
    });
    NewBatch { definition: testing::definition(spelled), ..testing::batch() }
}

async fn sealed(store: &TestStore, chunks: i64) -> BatchId {
    let new = reporting();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(chunks, 10)).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    new.id
}

/// A batch of one chunk that is done, and its aggregate.
async fn aggregating(store: &TestStore) -> (BatchId, WorkerId, ClaimedJob) {
    let id = sealed(store, 1).await;
    let worker = enter(store).await;
    let chunk = claim_one(store, worker).await;
    complete(store, &[testing::chunk_done(&chunk, 10)]).await;
    (id, worker, claim_one(store, worker).await)
}

fn ended(aggregate: &ClaimedJob, state: BatchState) -> Completion {
    let batch = aggregate.batch.expect("a batch");
    let end = BatchEnd { batch, generation: aggregate.generation, state, result: json!(1), reason: None };
    Completion { batch_end: Some(end), ..testing::done(aggregate) }
}

/// Where the batch's webhooks go and what they are about, in the order of their making.
async fn reports(store: &TestStore, id: BatchId) -> Vec<(String, u64, Value)> {
    let filter = JobFilter {
        tenant: TENANT.to_owned(),
        kind: Some("webhook".to_owned()),
        batch: Some(id),
        ..JobFilter::default()
    };
    let mut reports = Vec::new();
    for listed in store.jobs(&filter, &Page::default()).await.expect("listed").into_iter().rev() {
        let payload = job(store, listed.id).await.payload;
        let to = payload["url"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or_default().to_owned();
        let generation = payload["data"]["batch"]["generation"].as_u64().expect("a generation");
        reports.push((to, generation, payload["data"]["batch"].clone()));
    }
    reports
}

async fn names(store: &TestStore, id: BatchId) -> Vec<(String, u64)> {
    reports(store, id).await.into_iter().map(|(to, generation, _)| (to, generation)).collect()
}

fn report(to: &str, generation: u64) -> (String, u64) {
    (to.to_owned(), generation)
}

async fn a_batch_ends_with_its_dead_aggregate(store: TestStore) {
    let (id, worker, aggregate) = aggregating(&store).await;
    let error = Some("no space left on device".to_owned());
    complete(&store, &[Completion { error, ..testing::dead(&aggregate) }]).await;
    let seen = batch(&store, id).await;
    assert_eq!(seen.state, BatchState::Halted);
    assert_eq!(seen.reason.as_deref(), Some("its aggregate died: no space left on device"));
    assert!(seen.finished_at.is_some() && seen.result.is_none());
    let sent = reports(&store, id).await;
    let to: Vec<&str> = sent.iter().map(|(to, ..)| to.as_str()).collect();
    assert_eq!(to, ["halted", "settled"]);
    for (_, _, about) in &sent {
        assert_eq!((&about["state"], &about["reason"]), (&json!("halted"), &json!(seen.reason)));
    }
    assert_eq!(claim(&store, worker, 10).await.len(), 2, "its reports can be claimed");
    assert_reconciled(&store).await;
}

async fn a_rescue_that_ends_an_aggregate_ends_its_batch(store: TestStore) {
    let id = sealed(&store, 1).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    let short = testing::worker(Duration::from_millis(1));
    store.register_worker(&short).await.expect("entered");
    claim_one(&store, short.id).await;
    let rescued = || async {
        let report = store.rescue(10).await.expect("rescued");
        (report.dead > 0).then_some(())
    };
    eventually("a rescue", rescued).await;
    let seen = batch(&store, id).await;
    assert_eq!(seen.state, BatchState::Halted);
    assert!(seen.reason.is_some_and(|reason| reason.starts_with("its aggregate died: ")));
    assert_eq!(names(&store, id).await, [report("halted", 0), report("settled", 0)]);
    assert_reconciled(&store).await;
}

async fn an_aggregate_is_tried_as_its_definition_says(store: TestStore) {
    let (_, _, aggregate) = aggregating(&store).await;
    assert_eq!((aggregate.max_attempts, aggregate.timeout), (1, Duration::from_secs(90)));
    let id = testing::sealed(&store, 0, 0).await;
    let worker = enter(&store).await;
    let plain = claim_one(&store, worker).await;
    assert_eq!((plain.batch, plain.max_attempts, plain.timeout), (Some(id), 5, Duration::from_secs(3_600)));
}

async fn a_batch_without_its_aggregate_is_restarted(store: TestStore) {
    let (id, worker, aggregate) = aggregating(&store).await;
    complete(&store, &[testing::dead(&aggregate)]).await;
    claim(&store, worker, 10).await;
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    assert_eq!(store.restart_batch(TENANT, &restart, false).await.expect("restarted").generation, Some(1));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.generation, seen.reason), (BatchState::Aggregating, 1, None));
    assert_eq!(state(&store, aggregate.fence.job).await, JobState::Cancelled, "it is superseded");
    let again = claim_one(&store, worker).await;
    assert_eq!((again.kind.as_str(), again.generation), ("aggregate", 1));
    complete(&store, &[ended(&again, BatchState::Complete)]).await;
    assert_eq!((batch(&store, id).await.state, batch(&store, id).await.reason), (BatchState::Complete, None));
    assert_reconciled(&store).await;
}

async fn a_dead_aggregate_is_redriven_into_the_next_generation(store: TestStore) {
    let (id, worker, aggregate) = aggregating(&store).await;
    complete(&store, &[testing::dead(&aggregate)]).await;
    claim(&store, worker, 10).await;
    let dead = [aggregate.fence.job];
    let dry = store.redrive_dead(TENANT, &dead, true).await.expect("asked");
    assert_eq!((dry.affected, dry.generation), (1, Some(1)));
    assert_eq!(batch(&store, id).await.state, BatchState::Halted);
    let redriven = store.redrive_dead(TENANT, &dead, false).await.expect("redriven");
    assert_eq!((redriven.affected, redriven.generation, redriven.samples), (1, Some(1), vec![dead[0].to_string()]));
    assert_eq!(state(&store, dead[0]).await, JobState::Cancelled);
    let again = claim_one(&store, worker).await;
    assert_ne!(again.fence.job, dead[0]);
    complete(&store, &[testing::dead(&again)]).await;
    let sent = names(&store, id).await;
    assert_eq!(sent[2..], [report("halted", 1), report("settled", 1)], "each generation reports its own end");
    assert_reconciled(&store).await;
}

/// A batch of a dead chunk and one that is done, whose aggregate died.
async fn with_a_dead_chunk(store: &TestStore) -> (BatchId, WorkerId, ClaimedJob, ClaimedJob) {
    let id = sealed(store, 2).await;
    let worker = enter(store).await;
    let chunks = claim(store, worker, 2).await;
    complete(store, &[testing::dead(&chunks[0]), testing::chunk_done(&chunks[1], 10)]).await;
    let aggregate = claim_one(store, worker).await;
    complete(store, &[testing::dead(&aggregate)]).await;
    claim(store, worker, 10).await;
    (id, worker, chunks[0].clone(), aggregate)
}

async fn a_dead_aggregate_and_a_dead_chunk_are_redriven_together(store: TestStore) {
    let (id, worker, chunk, aggregate) = with_a_dead_chunk(&store).await;
    let both = [chunk.fence.job, aggregate.fence.job];
    let redriven = store.redrive_dead(TENANT, &both, false).await.expect("redriven");
    assert_eq!((redriven.affected, redriven.generation), (2, Some(1)));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining), (BatchState::Sealed, 1));
    assert_eq!(aggregates(&store, id).await, 1, "the next one waits for the chunk");
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    assert_eq!(claim_one(&store, worker).await.generation, 1);
    assert_reconciled(&store).await;
}

async fn a_dead_chunk_takes_the_dead_aggregate_along(store: TestStore) {
    let (id, worker, chunk, aggregate) = with_a_dead_chunk(&store).await;
    store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    assert_eq!(state(&store, aggregate.fence.job).await, JobState::Cancelled);
    let again = claim_one(&store, worker).await;
    assert_eq!((again.fence.job, batch(&store, id).await.generation), (chunk.fence.job, 1));
    assert_reconciled(&store).await;
}

async fn the_aggregate_of_an_earlier_generation_is_not_redriven(store: TestStore) {
    let (id, worker, aggregate) = aggregating(&store).await;
    complete(&store, &[testing::dead(&aggregate)]).await;
    claim(&store, worker, 10).await;
    let dead = [aggregate.fence.job];
    store.redrive_dead(TENANT, &dead, false).await.expect("redriven");
    assert_eq!(store.redrive_dead(TENANT, &dead, false).await.expect("asked").affected, 0, "it is dead no longer");
    store.cancel_batch(TENANT, id, "no", false).await.expect("cancelled");
    assert_eq!(store.redrive_dead(TENANT, &dead, false).await.expect("asked").affected, 0);
    assert_reconciled(&store).await;
}

async fn what_halted_a_batch_outlives_the_death_of_its_aggregate(store: TestStore) {
    let id = sealed(&store, 2).await;
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::dead(&chunk)]).await;
    store.halt_batch(id, 0, "too much is wrong").await.expect("halted");
    let aggregate = claim_one(&store, worker).await;
    let error = Some("disk full".to_owned());
    complete(&store, &[Completion { error, ..testing::dead(&aggregate) }]).await;
    let reason = batch(&store, id).await.reason;
    assert_eq!(reason.as_deref(), Some("too much is wrong; its aggregate died: disk full"));
    claim(&store, worker, 10).await;
    store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    assert_eq!(batch(&store, id).await.reason.as_deref(), Some("too much is wrong"), "what was cancelled stays so");
    assert_reconciled(&store).await;
}

async fn a_cancelled_batch_reports_its_cancelling(store: TestStore) {
    let id = sealed(&store, 3).await;
    store.cancel_batch(TENANT, id, "not today", true).await.expect("asked");
    assert_eq!(names(&store, id).await, []);
    store.cancel_batch(TENANT, id, "not today", false).await.expect("cancelled");
    store.cancel_batch(TENANT, id, "not today", false).await.expect("it is cancelled already");
    let sent = reports(&store, id).await;
    assert_eq!(sent.len(), 1);
    let (to, _, about) = &sent[0];
    assert_eq!((to.as_str(), &about["state"]), ("cancelled", &json!("cancelled")));
    assert_eq!((&about["reason"], &about["counts"]["cancelled"]), (&json!("not today"), &json!(30)));
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.kind, "webhook");
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    store.restart_batch(TENANT, &restart, false).await.expect("restarted");
    store.cancel_batch(TENANT, id, "nor tomorrow", false).await.expect("cancelled");
    assert_eq!(names(&store, id).await, [report("cancelled", 0), report("cancelled", 1)]);
    assert_reconciled(&store).await;
}

/// As an earlier version has left it.
async fn a_batch_that_waits_for_a_dead_aggregate_is_found_and_halted(store: TestStore) {
    let (id, _, aggregate) = aggregating(&store).await;
    let error = Some("disk full".to_owned());
    complete(&store, &[Completion { error, ..testing::dead(&aggregate) }]).await;
    store.tamper("UPDATE batch SET state = 'aggregating', finished_at = NULL, aggregate_error = NULL").await;
    let refused = store.redrive_dead(TENANT, &[aggregate.fence.job], false).await.expect_err("refused");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let found = store.reconcile(true).await.expect("compared").findings;
    assert_eq!(found, [format!("batch {id} was aggregating, but the job that does it is dead; halted now")]);
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating, "a dry run changes nothing");
    store.reconcile(false).await.expect("repaired");
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.reason.as_deref()), (BatchState::Halted, Some("its aggregate died: disk full")));
    assert_reconciled(&store).await;
}

async fn a_batch_that_only_lacks_its_aggregate_needs_no_input(store: TestStore) {
    let (id, worker, aggregate) = aggregating(&store).await;
    complete(&store, &[testing::dead(&aggregate)]).await;
    claim(&store, worker, 10).await;
    store.tamper("UPDATE batch SET spool = 'gone'").await;
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    store.restart_batch(TENANT, &restart, false).await.expect("restarted");
    assert_eq!(claim_one(&store, worker).await.kind, "aggregate");
}
