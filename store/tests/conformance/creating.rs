//! Create and seal: jobs and batches are created.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::job::{JobState, NewJob, PAYLOAD_BYTES_MAX, Priority, RunAt};
use gristmill_core::unique::Unique;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{JobFilter, NewBatch, Page, Purpose, StoreError};
use serde_json::json;

use crate::{
    LONG, TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state,
};

conformance! {
    an_enqueued_job_is_queued_and_its_id_is_on_the_way,
    the_same_idempotency_key_gives_the_first_job,
    the_same_call_again_makes_nothing,
    a_unique_key_is_held_until_its_job_is_final,
    two_of_the_same_key_in_one_call_make_one_job,
    a_key_of_another_tenant_is_another_key,
    one_bad_job_refuses_the_whole_group,
    a_payload_of_one_mebibyte_with_nul_comes_back_the_same,
    a_payload_over_the_limit_is_refused,
    a_key_of_aggregates_is_refused,
    a_group_over_the_limit_is_refused,
    a_job_for_later_is_scheduled_and_one_for_the_past_is_queued,
    an_outbox_row_holds_one_queue_and_lane,
    a_job_of_an_unknown_batch_is_refused,
    a_batch_begins_open_and_empty,
    the_same_idempotency_key_gives_the_first_batch,
    adding_the_same_chunks_again_changes_nothing,
    chunks_cannot_be_added_to_a_sealed_batch,
    chunks_cannot_be_added_to_a_batch_that_is_not_there,
    sealing_an_empty_batch_fires_its_aggregate,
    sealing_twice_fires_once,
    chunks_that_finish_before_the_seal_are_counted_by_it,
    a_discarded_batch_leaves_nothing,
    a_batch_whose_chunk_was_claimed_is_not_discarded,
    a_sealed_batch_is_not_discarded,
    chunks_take_what_the_definition_says,
    the_same_id_twice_in_one_call_is_the_first_of_them,
    a_chunk_id_twice_in_one_call_is_refused,
    a_batch_created_again_is_itself_whoever_has_its_key,
}

async fn an_enqueued_job_is_queued_and_its_id_is_on_the_way(store: TestStore) {
    let asked = testing::job();
    let report = store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    assert!(report.jobs[0].created && report.jobs[0].id == asked.id);
    assert_eq!(report.dispatched.moved, 1);
    let [dispatch] = &report.dispatched.dispatches[..] else { panic!("one outbox row") };
    assert_eq!(
        (dispatch.purpose, dispatch.priority, &dispatch.jobs[..]),
        (Purpose::Dispatch, Priority::Normal, &[asked.id][..])
    );
    let seen = job(&store, asked.id).await;
    assert_eq!(
        (seen.state, seen.attempt, seen.max_attempts, seen.payload),
        (JobState::Queued, 0, 5, json!({ "n": 1 }))
    );
    assert_reconciled(&store).await;
}

async fn the_same_idempotency_key_gives_the_first_job(store: TestStore) {
    let mut first = testing::job();
    first.idempotency_key = Some("order-7".to_owned());
    let mut second = testing::job();
    second.idempotency_key = first.idempotency_key.clone();
    store.enqueue(std::slice::from_ref(&first)).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    // The key lasts for ever, even when its job has ended.
    let report = store.enqueue(&[second]).await.expect("enqueued");
    assert_eq!((report.jobs[0].id, report.jobs[0].created), (first.id, false));
    assert!(report.dispatched.dispatches.is_empty() && report.dispatched.moved == 0);
}

async fn the_same_call_again_makes_nothing(store: TestStore) {
    let asked = testing::jobs(3);
    store.enqueue(&asked).await.expect("enqueued");
    let again = store.enqueue(&asked).await.expect("enqueued again");
    assert!(again.jobs.iter().zip(&asked).all(|(got, asked)| got.id == asked.id && !got.created));
    assert_eq!(again.dispatched.moved, 0);
    assert_reconciled(&store).await;
}

async fn a_unique_key_is_held_until_its_job_is_final(store: TestStore) {
    let unique = || {
        let mut job = testing::job();
        job.unique = Some(Unique::new("the only one"));
        job
    };
    let (first, second, third) = (unique(), unique(), unique());
    store.enqueue(std::slice::from_ref(&first)).await.expect("enqueued");
    let report = store.enqueue(&[second]).await.expect("enqueued");
    assert_eq!((report.jobs[0].id, report.jobs[0].created), (first.id, false));
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    let report = store.enqueue(std::slice::from_ref(&third)).await.expect("enqueued");
    assert_eq!((report.jobs[0].id, report.jobs[0].created), (third.id, true));
}

async fn two_of_the_same_key_in_one_call_make_one_job(store: TestStore) {
    let mut asked = testing::jobs(2);
    for job in &mut asked {
        job.idempotency_key = Some("twice".to_owned());
    }
    let report = store.enqueue(&asked).await.expect("enqueued");
    assert_eq!((report.jobs[0].id, report.jobs[0].created), (asked[0].id, true));
    assert_eq!((report.jobs[1].id, report.jobs[1].created), (asked[0].id, false));
    assert_reconciled(&store).await;
}

async fn a_key_of_another_tenant_is_another_key(store: TestStore) {
    let mut asked = testing::jobs(2);
    for job in &mut asked {
        job.idempotency_key = Some("mine".to_owned());
    }
    asked[1].tenant = "other".to_owned();
    let report = store.enqueue(&asked).await.expect("enqueued");
    assert!(report.jobs.iter().all(|job| job.created));
    assert!(store.job(TENANT, asked[1].id).await.expect("asked").is_none(), "it is somebody else's");
}

async fn one_bad_job_refuses_the_whole_group(store: TestStore) {
    let mut asked = testing::jobs(3);
    asked[2].max_attempts = 0;
    let error = store.enqueue(&asked).await.expect_err("refused");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    let filter = JobFilter { tenant: TENANT.to_owned(), ..JobFilter::default() };
    assert!(store.jobs(&filter, &Page::default()).await.expect("listed").is_empty());
}

async fn a_payload_of_one_mebibyte_with_nul_comes_back_the_same(store: TestStore) {
    let mut asked = testing::job();
    asked.payload = json!({ "nul": "a\u{0}b", "emoji": "🦀", "long": "x".repeat(PAYLOAD_BYTES_MAX - 100) });
    asked.trace = Some("with a \u{0} in it".to_owned());
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let worker = enter(&store).await;
    assert_eq!(claim_one(&store, worker).await.payload, asked.payload);
    assert_eq!(job(&store, asked.id).await.payload, asked.payload);
}

async fn a_payload_over_the_limit_is_refused(store: TestStore) {
    let mut asked = testing::job();
    asked.payload = json!("x".repeat(PAYLOAD_BYTES_MAX));
    let error = store.enqueue(&[asked]).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("1048576")), "{error}");
}

async fn a_key_of_aggregates_is_refused(store: TestStore) {
    let mut asked = testing::job();
    asked.idempotency_key = Some(format!("agg:{}:0", asked.id));
    let error = store.enqueue(&[asked]).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("choose another")), "{error}");
}

async fn a_group_over_the_limit_is_refused(store: TestStore) {
    let error = store.enqueue(&testing::jobs(1_001)).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("1000")), "{error}");
    let report = store.enqueue(&testing::jobs(1_000)).await.expect("as many as may be");
    assert_eq!(report.dispatched.dispatches.len(), 1, "one outbox row for a group");
    assert!(store.enqueue(&[]).await.expect("nothing at all").jobs.is_empty());
}

async fn a_job_for_later_is_scheduled_and_one_for_the_past_is_queued(store: TestStore) {
    let now = store.now().await.expect("a clock");
    let mut asked = testing::jobs(3);
    asked[0].run = RunAt::In(Duration::from_secs(60));
    asked[1].run = RunAt::At(now + Duration::from_secs(60));
    asked[2].run = RunAt::At(now - Duration::from_secs(60));
    let report = store.enqueue(&asked).await.expect("enqueued");
    let waiting = job(&store, asked[0].id).await;
    assert_eq!(waiting.state, JobState::Scheduled);
    assert!(waiting.run_at.expect("a time") >= now + Duration::from_secs(60));
    assert_eq!(state(&store, asked[1].id).await, JobState::Scheduled);
    assert_eq!(state(&store, asked[2].id).await, JobState::Queued);
    assert_eq!(report.dispatched.dispatches[0].jobs, [asked[2].id], "only what may run is put on the road");
}

async fn an_outbox_row_holds_one_queue_and_lane(store: TestStore) {
    let mut asked = testing::jobs(4);
    asked[1].priority = Priority::High;
    asked[2].queue = "mail".to_owned();
    let report = store.enqueue(&asked).await.expect("enqueued");
    let mut rows: Vec<_> =
        report.dispatched.dispatches.iter().map(|d| (d.queue.as_str(), d.priority, d.jobs.len())).collect();
    rows.sort_unstable();
    assert_eq!(rows, [("default", Priority::High, 1), ("default", Priority::Normal, 2), ("mail", Priority::Normal, 1)]);
}

async fn a_job_of_an_unknown_batch_is_refused(store: TestStore) {
    let mut asked = testing::job();
    asked.batch = Some(testing::batch().id);
    let error = store.enqueue(&[asked]).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}

async fn a_batch_begins_open_and_empty(store: TestStore) {
    let mut new = testing::batch();
    new.params = json!({ "day": "2026-01-01" });
    assert!(store.create_batch(&new).await.expect("created").created);
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.state, seen.generation, seen.chunks, seen.remaining), (BatchState::Open, 0, 0, 0));
    assert_eq!((counts(&seen.counts), seen.failure_budget.as_str()), ([0; 5], "50%"));
    let plan = store.batch_plan(new.id).await.expect("asked").expect("there");
    assert_eq!((plan.definition, plan.fingerprint, plan.params), (new.definition, new.fingerprint, new.params));
}

async fn the_same_idempotency_key_gives_the_first_batch(store: TestStore) {
    let mut first = testing::batch();
    first.idempotency_key = Some("night of the 1st".to_owned());
    let mut second = testing::batch();
    second.idempotency_key = first.idempotency_key.clone();
    store.create_batch(&first).await.expect("created");
    for again in [&second, &first] {
        let created = store.create_batch(again).await.expect("created");
        assert_eq!((created.id, created.created), (first.id, false));
    }
}

async fn adding_the_same_chunks_again_changes_nothing(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let chunks = testing::chunks(3, 10);
    let first = store.add_chunks(new.id, &chunks).await.expect("added");
    assert_eq!((first.moved, first.dispatches.len()), (3, 1));
    // A planner that starts over makes new ids for the same numbers, and continues where it had stopped.
    let mut again = testing::chunks(4, 10);
    again[0] = chunks[0].clone();
    let second = store.add_chunks(new.id, &again).await.expect("added again");
    assert_eq!(second.moved, 1);
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.chunks, seen.remaining, seen.counts.input), (4, 4, 40));
    assert_reconciled(&store).await;
}

async fn chunks_cannot_be_added_to_a_sealed_batch(store: TestStore) {
    let id = testing::sealed(&store, 1, 1).await;
    let error = store.add_chunks(id, &[testing::chunk(1, 1)]).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn chunks_cannot_be_added_to_a_batch_that_is_not_there(store: TestStore) {
    let id = testing::batch().id;
    for error in [
        store.add_chunks(id, &[testing::chunk(0, 1)]).await.expect_err("refused"),
        store.seal(id).await.expect_err("refused"),
    ] {
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    }
}

async fn sealing_an_empty_batch_fires_its_aggregate(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    assert_eq!((aggregate.kind.as_str(), aggregate.priority, aggregate.seq), ("aggregate", Priority::High, None));
    assert_eq!(aggregate.payload, json!({ "batch": id, "generation": 0 }));
    assert_eq!(aggregate.batch, Some(id));
}

async fn sealing_twice_fires_once(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    let again = store.seal(id).await.expect("a no-op");
    assert_eq!((again.moved, again.dispatches.len()), (0, 0));
    assert_eq!(aggregates(&store, id).await, 1);
}

async fn chunks_that_finish_before_the_seal_are_counted_by_it(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 5)).await.expect("added");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 10).await;
    complete(&store, &[testing::chunk_done(&claimed[0], 5), testing::chunk_done(&claimed[1], 5)]).await;
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.state, seen.remaining), (BatchState::Open, 0), "more chunks may come");
    let sealed = store.seal(new.id).await.expect("sealed");
    assert_eq!((sealed.moved, sealed.dispatches.len()), (1, 1), "the aggregate is on the way");
    assert_eq!(batch(&store, new.id).await.state, BatchState::Aggregating);
}

async fn a_discarded_batch_leaves_nothing(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let chunks = testing::chunks(2, 5);
    store.add_chunks(new.id, &chunks).await.expect("added");
    let beside = NewJob { batch: Some(new.id), ..testing::job() };
    store.enqueue(std::slice::from_ref(&beside)).await.expect("a job of the batch that is no chunk");
    store.discard_batch(new.id).await.expect("taken back");
    assert!(store.job(TENANT, beside.id).await.expect("asked").is_none());
    assert!(store.batch(TENANT, new.id).await.expect("asked").is_none());
    assert!(store.job(TENANT, chunks[0].id).await.expect("asked").is_none());
    store.discard_batch(new.id).await.expect("again, after an unknown commit result");
    assert_reconciled(&store).await;
}

async fn a_batch_whose_chunk_was_claimed_is_not_discarded(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 5)).await.expect("added");
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 1).await.len(), 1);
    store.retire_worker(worker).await.expect("retired");
    let error = store.discard_batch(new.id).await.expect_err("it has begun");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn a_sealed_batch_is_not_discarded(store: TestStore) {
    let id = testing::sealed(&store, 1, 1).await;
    let error = store.discard_batch(id).await.expect_err("it counts already");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn chunks_take_what_the_definition_says(store: TestStore) {
    let mut new = testing::batch();
    let spelled = json!({ "source": { "jsonl": "-" }, "queue": "big", "lane": "low", "max_attempts": 7, "timeout": "90s",
                          "retry": { "fixed": "3s" } });
    new.definition = testing::definition(spelled);
    new.trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &[testing::chunk(0, 4)]).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    assert_eq!((chunk.queue.as_str(), chunk.priority, chunk.max_attempts), ("big", Priority::Low, 7));
    assert_eq!(
        (chunk.timeout, &chunk.retry, &chunk.trace),
        (Duration::from_secs(90), &new.definition.retry, &new.trace)
    );
    complete(&store, &[testing::chunk_done(&chunk, 4)]).await;
    let aggregate = claim_one(&store, worker).await;
    assert_eq!((aggregate.queue.as_str(), aggregate.priority, &aggregate.trace), ("big", Priority::High, &new.trace));
}

async fn the_same_id_twice_in_one_call_is_the_first_of_them(store: TestStore) {
    let first = testing::job();
    let later = NewJob { queue: "other".to_owned(), run: RunAt::In(LONG), priority: Priority::Low, ..first.clone() };
    let report = store.enqueue(&[first.clone(), later]).await.expect("enqueued");
    assert_eq!(
        report.jobs.iter().map(|job| (job.id, job.created)).collect::<Vec<_>>(),
        [(first.id, true), (first.id, false)]
    );
    assert_eq!((report.dispatched.moved, state(&store, first.id).await), (1, JobState::Queued));
    // If the first creates nothing, because another job has its key, the second creates nothing either.
    let holder = NewJob { idempotency_key: Some("key".to_owned()), ..testing::job() };
    store.enqueue(std::slice::from_ref(&holder)).await.expect("enqueued");
    let refused = NewJob { idempotency_key: Some("key".to_owned()), ..testing::job() };
    let again = NewJob { idempotency_key: None, run: RunAt::In(LONG), ..refused.clone() };
    let report = store.enqueue(&[refused.clone(), again]).await.expect("enqueued");
    assert!(report.jobs.iter().all(|job| job.id == holder.id && !job.created), "{:?}", report.jobs);
    assert_eq!(report.dispatched, Default::default());
    assert_reconciled(&store).await;
}

async fn a_chunk_id_twice_in_one_call_is_refused(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let mut chunks = testing::chunks(2, 3);
    chunks[1].id = chunks[0].id;
    let error = store.add_chunks(new.id, &chunks).await.expect_err("refused");
    assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    assert_eq!(batch(&store, new.id).await.chunks, 0);
    assert_reconciled(&store).await;
}

async fn a_batch_created_again_is_itself_whoever_has_its_key(store: TestStore) {
    let first = NewBatch { idempotency_key: Some("key".to_owned()), ..testing::batch() };
    let second = testing::batch();
    for new in [&first, &second] {
        store.create_batch(new).await.expect("created");
    }
    let again = NewBatch { idempotency_key: first.idempotency_key.clone(), ..second.clone() };
    let created = store.create_batch(&again).await.expect("asked");
    assert_eq!((created.id, created.created), (second.id, false));
}
