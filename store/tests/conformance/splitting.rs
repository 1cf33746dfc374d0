//! Chunks whose workers die are narrowed down to the item that kills; chunks are split by hand.

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkPayload, ChunkResult, SetAside, Slice};
use gristmill_core::id::JobId;
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, Completion, StoreError};
use serde_json::json;

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_dead_chunk_is_split_by_hand,
    a_dead_chunk_of_an_ended_batch_is_split_into_its_next_generation,
    a_chunk_that_waits_is_split_and_the_batch_never_seems_done,
    what_cannot_be_split_is_refused,
    a_dry_split_changes_nothing,
    two_splits_at_once_make_two_halves;
    databases only, "rows are changed by SQL":
    one_item_that_kills_its_workers_is_found_and_the_rest_goes_through,
    a_chunk_that_loses_its_last_attempt_is_replaced_by_its_halves,
    a_chunk_of_an_open_batch_waits_for_its_plan,
    a_condemned_item_that_kills_even_its_reader_is_dead,
    what_runs_out_of_time_is_not_split,
}

/// The positions of a chunk's items.
fn positions(chunk: &ClaimedJob) -> std::ops::Range<u64> {
    let payload: ChunkPayload = serde_json::from_value(chunk.payload.clone()).expect("a payload");
    payload.first..payload.first + payload.items
}

fn condemned(chunk: &ClaimedJob) -> Option<String> {
    serde_json::from_value::<ChunkPayload>(chunk.payload.clone()).expect("a payload").condemned
}

/// Makes every job run now that waits for a time.
async fn hurry(store: &TestStore) {
    let due = if store.embedded() { "run_at = 1" } else { "run_at = now() - interval '1 second'" };
    store.tamper(&format!("UPDATE job SET {due} WHERE state IN ('scheduled', 'retry')")).await;
    store.promote(1_000).await.expect("promoted");
}

/// Makes a waiting job be claimed by a worker that dies at once.
async fn lose(store: &TestStore) -> ClaimedJob {
    hurry(store).await;
    let lost = claim(store, testing::worker_id(), 1).await.remove(0);
    store.rescue(100).await.expect("rescued");
    lost
}

async fn one_item_that_kills_its_workers_is_found_and_the_rest_goes_through(store: TestStore) {
    let id = testing::sealed(&store, 2, 11).await;
    let (culprit, mut deaths, mut seen) = (14, 0, Vec::new());
    let worker = enter(&store).await;
    // One job at a time: a worker that gets the culprit dies, any other one completes its job.
    loop {
        hurry(&store).await;
        let Some(chunk) = claim(&store, worker, 1).await.pop() else { break };
        if chunk.kind == "aggregate" {
            break;
        }
        let items = positions(&chunk);
        if let Some(reason) = condemned(&chunk) {
            assert_eq!(items, culprit..culprit + 1);
            assert!(reason.contains("died 3 times"), "{reason}");
            let item = SetAside { position: culprit, line: None, stage: "process".to_owned(), reason, item: json!({}) };
            let result = ChunkResult { quarantined: 1, set_aside: vec![item], ..ChunkResult::default() };
            complete(&store, &[Completion { chunk: Some(result), ..testing::done(&chunk) }]).await;
        } else if items.contains(&culprit) {
            // Its worker no longer exists.
            deaths += 1;
            store.tamper("UPDATE worker SET state = 'lost'").await;
            store.rescue(100).await.expect("rescued");
            store.tamper("UPDATE worker SET state = 'alive'").await;
        } else {
            let count = items.end - items.start;
            seen.extend(items);
            complete(&store, &[testing::chunk_done(&chunk, count)]).await;
        }
        assert_reconciled(&store).await;
    }
    // 3 attempts of the whole, 3 halves with one loss each (11, 6 or 5, 3 or 2, …), 3 attempts of the one alone.
    assert!(deaths <= 3 + 3 + 3, "{deaths} workers died");
    seen.sort_unstable();
    assert_eq!(seen, (0..22).filter(|position| *position != culprit).collect::<Vec<_>>(), "each once");
    let now = batch(&store, id).await;
    assert_eq!((now.state, counts(&now.counts)), (BatchState::Aggregating, [22, 21, 0, 1, 0]));
    assert_eq!((now.chunks_dead, now.counts.pending(), aggregates(&store, id).await), (0, 0, 1));
}

async fn a_chunk_that_loses_its_last_attempt_is_replaced_by_its_halves(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let first = lose(&store).await;
    assert_eq!(state(&store, first.fence.job).await, JobState::Queued, "at once: it may be innocent");
    lose(&store).await;
    assert_eq!(state(&store, first.fence.job).await, JobState::Retry, "later: not beside the same neighbours");
    hurry(&store).await;
    let last = claim(&store, testing::worker_id(), 1).await.remove(0);
    assert_eq!((last.fence.job, last.fence.attempt), (first.fence.job, 3));
    let report = store.rescue(100).await.expect("rescued");
    assert_eq!((report.split, report.requeued, report.dead), (1, 0, 0));
    let parent = job(&store, first.fence.job).await;
    assert_eq!(
        (parent.state, parent.items, parent.output),
        (JobState::Cancelled, 0, Some(json!({ "split_into": [1, 2] })))
    );
    assert_eq!(parent.attempts.len(), 3);
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks, seen.remaining, seen.retries, counts(&seen.counts)), (3, 2, 1, [10, 0, 0, 0, 0]));
    assert_reconciled(&store).await;
    let late = store.complete(&[testing::chunk_done(&last, 10)]).await.expect("asked");
    assert_eq!(late.fenced, [last.fence], "a worker that was only stalled comes too late");
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 10).await, [], "the halves wait, each for a time of its own");
    hurry(&store).await;
    let halves = claim(&store, worker, 10).await;
    let mut found: Vec<_> = halves.iter().map(positions).collect();
    found.sort_by_key(|items| items.start);
    assert_eq!(found, [0..5, 5..10]);
    complete(&store, &halves.iter().map(|half| testing::chunk_done(half, 5)).collect::<Vec<_>>()).await;
    let results = store.chunk_results(id, -1, 10).await.expect("read");
    assert_eq!(results.iter().map(|result| result.seq).collect::<Vec<_>>(), [1, 2], "nothing of the whole");
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
    assert_reconciled(&store).await;
}

async fn a_chunk_of_an_open_batch_waits_for_its_plan(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(1, 10)).await.expect("added");
    let mut chunk = lose(&store).await;
    for _ in 0..4 {
        chunk = lose(&store).await;
    }
    assert_eq!(state(&store, chunk.fence.job).await, JobState::Retry);
    // The planner's next number is 1, and it gets it.
    store.add_chunks(new.id, &[testing::chunk(1, 10)]).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.chunks, seen.remaining, counts(&seen.counts)), (2, 2, [20, 0, 0, 0, 0]));
    let worker = enter(&store).await;
    let other = claim(&store, worker, 1).await.remove(0);
    assert_eq!(positions(&other), 10..20);
    assert_eq!(lose(&store).await.fence.job, chunk.fence.job);
    assert_eq!(job(&store, chunk.fence.job).await.output, Some(json!({ "split_into": [2, 3] })));
    assert_reconciled(&store).await;
}

async fn a_condemned_item_that_kills_even_its_reader_is_dead(store: TestStore) {
    let id = testing::sealed(&store, 1, 1).await;
    for _ in 0..3 {
        lose(&store).await;
    }
    hurry(&store).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    assert!(condemned(&chunk).is_some() && chunk.fence.attempt == 4);
    store.tamper("UPDATE worker SET state = 'lost'").await;
    store.rescue(100).await.expect("rescued");
    lose(&store).await;
    let chunk = lose(&store).await;
    assert_eq!((chunk.fence.attempt, state(&store, chunk.fence.job).await), (6, JobState::Dead));
    assert_eq!(counts(&batch(&store, id).await.counts), [1, 0, 0, 1, 0]);
    assert_reconciled(&store).await;
}

async fn what_runs_out_of_time_is_not_split(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    for _ in 0..3 {
        hurry(&store).await;
        claim_one(&store, worker).await;
        let past = if store.embedded() { "1" } else { "now() - interval '1 second'" };
        store.tamper(&format!("UPDATE job SET deadline = {past} WHERE state = 'running'")).await;
        store.rescue(100).await.expect("rescued");
    }
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks, seen.chunks_dead, counts(&seen.counts)), (1, 1, [10, 0, 0, 10, 0]));
}

/// A sealed batch of two chunks of ten items, the first of which is dead.
async fn with_dead(store: &TestStore) -> (gristmill_core::id::BatchId, ClaimedJob) {
    let id = testing::sealed(store, 2, 10).await;
    let worker = enter(store).await;
    let chunk = claim(store, worker, 1).await.remove(0);
    complete(store, &[testing::dead(&chunk)]).await;
    (id, chunk)
}

async fn a_dead_chunk_is_split_by_hand(store: TestStore) {
    let (id, dead) = with_dead(&store).await;
    let control_report = store.split_chunk(TENANT, dead.fence.job, false).await.expect("split");
    assert_eq!(control_report.dispatched.moved, 3, "the chunk and its halves");
    assert_eq!((control_report.affected, control_report.samples.len(), control_report.generation), (2, 2, None));
    assert_eq!(control_report.dispatched.dispatches.iter().map(|row| row.jobs.len()).sum::<usize>(), 2);
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks, seen.remaining, seen.chunks_dead), (4, 3, 0));
    assert_eq!(counts(&seen.counts), [20, 0, 0, 0, 0]);
    let half: JobId = control_report.samples[0].parse().expect("an id");
    let half = job(&store, half).await;
    assert_eq!((half.state, half.items, half.seq, half.max_attempts), (JobState::Queued, 5, Some(2), 3));
    let payload: ChunkPayload = serde_json::from_value(half.payload).expect("a payload");
    assert!(matches!(payload.slice, Slice::Part { items: 10, skip: 0, .. }), "{payload:?}");
    assert_reconciled(&store).await;
    let error = store.split_chunk(TENANT, dead.fence.job, false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "after an unknown commit result nothing happens twice");
}

async fn a_dead_chunk_of_an_ended_batch_is_split_into_its_next_generation(store: TestStore) {
    let (id, dead) = with_dead(&store).await;
    let worker = enter(&store).await;
    let other = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&other, 10)]).await;
    let refused = store.split_chunk(TENANT, dead.fence.job, false).await.expect_err("it aggregates");
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let aggregate = claim_one(&store, worker).await;
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Complete, result: json!(1), reason: None };
    complete(&store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    let control_report = store.split_chunk(TENANT, dead.fence.job, false).await.expect("split");
    assert_eq!(control_report.generation, Some(1));
    let halves = claim(&store, worker, 10).await;
    assert_eq!(halves.iter().map(|half| half.generation).collect::<Vec<_>>(), [1, 1]);
    complete(&store, &halves.iter().map(|half| testing::chunk_done(half, 5)).collect::<Vec<_>>()).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.generation, counts(&seen.counts)), (BatchState::Aggregating, 1, [20, 20, 0, 0, 0]));
    assert_reconciled(&store).await;
}

async fn a_chunk_that_waits_is_split_and_the_batch_never_seems_done(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&chunk, std::time::Duration::from_secs(600))]).await;
    store.split_chunk(TENANT, chunk.fence.job, false).await.expect("split");
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.chunks, seen.remaining), (BatchState::Sealed, 3, 2));
    assert_eq!(aggregates(&store, id).await, 0);
    assert_reconciled(&store).await;
}

async fn what_cannot_be_split_is_refused(store: TestStore) {
    let plain = testing::job();
    store.enqueue(std::slice::from_ref(&plain)).await.expect("enqueued");
    let worker = enter(&store).await;
    claim_one(&store, worker).await;
    testing::sealed(&store, 2, 1).await;
    let chunks = claim(&store, worker, 1).await;
    let filter =
        gristmill_store::JobFilter { tenant: TENANT.to_owned(), states: vec![JobState::Queued], ..Default::default() };
    let single = store.jobs(&filter, &gristmill_store::Page::default()).await.expect("listed").remove(0).id;
    for (id, says) in [
        (plain.id, "no chunk"),
        (chunks[0].fence.job, "is running"),
        (single, "one item"),
        (testing::job_id(), "no job"),
    ] {
        let error = store.split_chunk(TENANT, id, false).await.expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(store.split_chunk("somebody else", single, false).await.is_err());
}

async fn a_dry_split_changes_nothing(store: TestStore) {
    let (id, dead) = with_dead(&store).await;
    let before = batch(&store, id).await;
    let control_report = store.split_chunk(TENANT, dead.fence.job, true).await.expect("asked");
    assert_eq!((control_report.affected, control_report.dispatched.dispatches.len()), (2, 0));
    assert_eq!((batch(&store, id).await, state(&store, dead.fence.job).await), (before, JobState::Dead));
}

async fn two_splits_at_once_make_two_halves(store: TestStore) {
    let (id, dead) = with_dead(&store).await;
    let job = dead.fence.job;
    let (one, two) = tokio::join!(store.split_chunk(TENANT, job, false), store.split_chunk(TENANT, job, false));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    assert_eq!(batch(&store, id).await.chunks, 4);
    assert_reconciled(&store).await;
}
