//! Batches that are stopped when they have more chunks than one transaction cancels.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_store::testing::{self, STEP_CHUNKS, TestStore};
use gristmill_store::{GROUP_JOBS_MAX, NewChunk, Pause, Restart, StoreError};

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter};

conformance! {
    a_dry_run_counts_what_a_cancel_would_take_in_all_of_its_steps,
    a_cancel_in_steps_leaves_nothing_behind;
    databases only, "the model stops a batch at once":
    nothing_of_a_batch_starts_between_the_steps_of_its_halt,
    a_cancel_that_was_cut_short_goes_on_by_itself,
    a_batch_that_is_being_stopped_neither_goes_on_nor_restarts,
    a_chunk_that_ends_between_the_steps_of_a_halt_fires_the_aggregate,
}

/// A sealed batch of that many chunks with one item each, and their ids.
async fn large(store: &TestStore, chunks: usize) -> (BatchId, Vec<JobId>) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let chunks: Vec<NewChunk> = testing::chunks(i64::try_from(chunks).expect("a number"), 1);
    for group in chunks.chunks(GROUP_JOBS_MAX) {
        store.add_chunks(new.id, group).await.expect("added");
    }
    store.seal(new.id).await.expect("sealed");
    (new.id, chunks.iter().map(|chunk| chunk.id).collect())
}

async fn a_dry_run_counts_what_a_cancel_would_take_in_all_of_its_steps(store: TestStore) {
    let (id, _) = large(&store, STEP_CHUNKS + 2).await;
    let would = store.cancel_batch(TENANT, id, "no", true).await.expect("asked");
    assert_eq!((would.affected, would.samples.len()), (STEP_CHUNKS as u64 + 2, 5));
    assert_eq!(would.dispatched, gristmill_store::Dispatched::default());
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, seen.paused), (BatchState::Sealed, STEP_CHUNKS as u64 + 2, false));
}

async fn a_cancel_in_steps_leaves_nothing_behind(store: TestStore) {
    let (id, chunks) = large(&store, STEP_CHUNKS + 3).await;
    let worker = enter(&store).await;
    let last = store.claim(&testing::claim_as(worker, 10), &chunks[chunks.len() - 1..]).await.expect("asked");
    let cancelled = store.cancel_batch(TENANT, id, "not today", false).await.expect("cancelled");
    let all = STEP_CHUNKS as u64 + 3;
    assert_eq!((cancelled.affected, cancelled.samples.len()), (all, 5));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, counts(&seen.counts)), (BatchState::Cancelled, 0, [all, 0, 0, 0, all]));
    assert_eq!((seen.reason.as_deref(), seen.paused), (Some("not today"), false));
    assert_eq!(crate::job(&store, chunks[STEP_CHUNKS + 1]).await.error.as_deref(), Some("not today"));
    let late = store.complete(&[testing::chunk_done(&last.claimed[0], 1)]).await.expect("asked");
    assert_eq!((late.fenced.len(), aggregates(&store, id).await), (1, 0));
    assert_eq!(store.cancel_batch(TENANT, id, "again", false).await.expect("a no-op").affected, 0);
    assert_eq!(store.continue_stops().await.expect("nothing to do").moved, 0);
    assert_reconciled(&store).await;
    let again = Restart { batch: id, failure_budget: None, dead: false };
    assert_eq!(store.restart_batch(TENANT, &again, true).await.expect("it may go on").affected, all);
}

async fn nothing_of_a_batch_starts_between_the_steps_of_its_halt(store: TestStore) {
    let (id, chunks) = large(&store, STEP_CHUNKS + 3).await;
    let worker = enter(&store).await;
    let first = store.halt_batch(id, 0, "over its budget").await.expect("halted");
    assert_eq!(first.affected, STEP_CHUNKS as u64, "a worker that counts does only the first step");
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining), (BatchState::Sealed, 3));
    assert_eq!(claim(&store, worker, 10).await, []);
    let by_message = store.claim(&testing::claim_as(worker, 10), &chunks[STEP_CHUNKS..]).await.expect("asked");
    assert_eq!(by_message.claimed, []);
    assert_eq!(store.halt_batch(id, 0, "twice").await.expect("a no-op").affected, 0);
    assert_reconciled(&store).await;
    assert_eq!(store.continue_stops().await.expect("continued").moved, 4, "three chunks, and the aggregate");
    let seen = batch(&store, id).await;
    let all = STEP_CHUNKS as u64 + 3;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Aggregating, [all, 0, 0, 0, all]));
    assert_eq!((seen.reason.as_deref(), seen.paused), (Some("over its budget"), false));
    assert_eq!(claim_one(&store, worker).await.kind, "aggregate");
    assert_eq!(store.continue_stops().await.expect("nothing to do").moved, 0);
    assert_reconciled(&store).await;
}

/// As when the process dies: the batch is seen as cancelled after the first step, and the call is given up in the second.
async fn cut_short(store: &TestStore, id: BatchId) {
    let seen_as_cancelled = async {
        while batch(store, id).await.state != BatchState::Cancelled {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = seen_as_cancelled => {}
        done = store.cancel_batch(TENANT, id, "not today", false) => panic!("it was not cut short: {done:?}"),
    }
}

async fn a_cancel_that_was_cut_short_goes_on_by_itself(store: TestStore) {
    let all = 4 * STEP_CHUNKS + 1;
    let (id, _) = large(&store, all).await;
    let worker = enter(&store).await;
    cut_short(&store, id).await;
    assert!(batch(&store, id).await.remaining > 0, "it was cut short");
    assert_eq!(claim(&store, worker, 10).await, [], "nothing of it starts");
    while store.continue_stops().await.expect("continued").moved > 0 {}
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, seen.paused), (BatchState::Cancelled, 0, false));
    assert_eq!((seen.counts.cancelled, aggregates(&store, id).await), (all as u64, 0));
    assert_reconciled(&store).await;
}

async fn a_batch_that_is_being_stopped_neither_goes_on_nor_restarts(store: TestStore) {
    let (id, _) = large(&store, 3 * STEP_CHUNKS).await;
    cut_short(&store, id).await;
    let refused = |error: StoreError| {
        assert!(matches!(&error, StoreError::Conflict(text) if text.contains("being stopped")), "{error}")
    };
    refused(store.pause_batch(TENANT, id, None, false).await.expect_err("it stays paused"));
    let restart = Restart { batch: id, failure_budget: None, dead: false };
    refused(store.restart_batch(TENANT, &restart, false).await.expect_err("it is not over yet"));
    assert!(store.begin_deletion(TENANT, id, None, false).await.is_err(), "it has unfinished chunks");
    // The operator who cancels it once more finishes it.
    let rest = store.cancel_batch(TENANT, id, "again", false).await.expect("finished");
    let seen = batch(&store, id).await;
    assert!(rest.affected > 0);
    assert_eq!((seen.remaining, seen.paused, seen.reason.as_deref()), (0, false, Some("not today")));
    assert_eq!(store.restart_batch(TENANT, &restart, false).await.expect("it goes on").generation, Some(1));
    assert_reconciled(&store).await;
}

async fn a_chunk_that_ends_between_the_steps_of_a_halt_fires_the_aggregate(store: TestStore) {
    let (id, _) = large(&store, STEP_CHUNKS + 1).await;
    let worker = enter(&store).await;
    store.halt_batch(id, 0, "over its budget").await.expect("halted");
    // As when the claim began before the halt, and was committed after its first step.
    store.tamper("UPDATE batch SET paused = FALSE").await;
    let last = claim_one(&store, worker).await;
    store.tamper("UPDATE batch SET paused = TRUE").await;
    complete(&store, &[testing::chunk_done(&last, 1)]).await;
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
    let left = store.continue_stops().await.expect("continued");
    assert_eq!(left.dispatches.len(), 1, "the message of the aggregate may have been dropped meanwhile");
    assert!(!batch(&store, id).await.paused);
    assert_eq!(claim_one(&store, worker).await.kind, "aggregate");
    // What an operator pauses is left to the operator.
    let pause = Pause { by: Some("somebody".to_owned()), reason: None };
    store.pause_batch(TENANT, id, Some(&pause), false).await.expect("paused");
    assert_eq!(store.continue_stops().await.expect("nothing to do").moved, 0);
    assert!(batch(&store, id).await.paused);
    assert_reconciled(&store).await;
}
