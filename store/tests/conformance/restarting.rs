//! Batches that halted or were cancelled continue.

use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::id::BatchId;
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, Completion, Restart, StoreError};
use serde_json::json;

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_halted_batch_goes_on_with_what_it_had_not_done,
    a_restart_brings_dead_chunks_back_when_asked,
    a_restart_that_would_halt_again_at_once_is_refused,
    a_raised_budget_is_the_batches_own_from_then_on,
    a_cancelled_batch_goes_on_after_its_running_chunks_were_taken_away,
    a_chunk_on_its_last_attempt_has_as_many_again,
    a_late_aggregate_of_the_generation_before_changes_nothing,
    a_batch_cancelled_while_it_aggregated_aggregates_again,
    a_batch_cancelled_before_its_plan_was_complete_cannot_go_on,
    what_is_under_way_or_complete_is_not_restarted,
    two_restarts_at_once_open_one_generation,
    a_dry_restart_changes_nothing,
    another_tenant_restarts_nothing,
}

fn restart(batch: BatchId) -> Restart {
    Restart { batch, failure_budget: None, dead: false }
}

async fn end(store: &TestStore, aggregate: &ClaimedJob, state: BatchState) {
    let batch = aggregate.batch.expect("a batch");
    let reason = (state == BatchState::Halted).then(|| "too many".to_owned());
    let end = BatchEnd { batch, generation: aggregate.generation, state, result: json!(1), reason };
    complete(store, &[Completion { batch_end: Some(end), ..testing::done(aggregate) }]).await;
}

/// A halted batch of four chunks of ten items: one done, one dead, two cancelled. Its budget of 50% holds.
async fn halted(store: &TestStore) -> (BatchId, ClaimedJob, ClaimedJob) {
    let id = testing::sealed(store, 4, 10).await;
    let worker = enter(store).await;
    let mut chunks = claim(store, worker, 2).await;
    complete(store, &[testing::chunk_done(&chunks[0], 10), testing::dead(&chunks[1])]).await;
    store.halt_batch(id, 0, "too many").await.expect("halted");
    let aggregate = claim_one(store, worker).await;
    end(store, &aggregate, BatchState::Halted).await;
    let dead = chunks.remove(1);
    (id, chunks.remove(0), dead)
}

async fn a_halted_batch_goes_on_with_what_it_had_not_done(store: TestStore) {
    let (id, done, _) = halted(&store).await;
    let control_report = store.restart_batch(TENANT, &restart(id), false).await.expect("restarted");
    assert_eq!((control_report.affected, control_report.samples.len(), control_report.generation), (2, 2, Some(1)));
    assert_eq!(control_report.dispatched.dispatches.iter().map(|row| row.jobs.len()).sum::<usize>(), 2);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.generation, seen.remaining), (BatchState::Sealed, 1, 2));
    assert_eq!((seen.reason, seen.result, seen.finished_at), (None, None, None));
    assert_eq!(counts(&seen.counts), [40, 10, 0, 10, 0]);
    assert_reconciled(&store).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 10).await;
    assert_eq!(
        chunks.iter().map(|chunk| (chunk.seq, chunk.generation)).collect::<Vec<_>>(),
        [(Some(2), 1), (Some(3), 1)]
    );
    assert_eq!(job(&store, done.fence.job).await.generation, 0, "what is done is left alone");
    complete(&store, &chunks.iter().map(|chunk| testing::chunk_done(chunk, 10)).collect::<Vec<_>>()).await;
    let aggregate = claim_one(&store, worker).await;
    assert_eq!(aggregate.payload, json!({ "batch": id, "generation": 1 }));
    end(&store, &aggregate, BatchState::Complete).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Complete, [40, 30, 0, 10, 0]));
    assert_eq!((aggregates(&store, id).await, store.chunk_results(id, -1, 10).await.expect("read").len()), (2, 3));
    assert_reconciled(&store).await;
}

async fn a_restart_brings_dead_chunks_back_when_asked(store: TestStore) {
    let (id, _, dead) = halted(&store).await;
    let asked = Restart { dead: true, ..restart(id) };
    assert_eq!(store.restart_batch(TENANT, &asked, false).await.expect("restarted").affected, 3);
    let seen = batch(&store, id).await;
    assert_eq!((seen.remaining, seen.chunks_dead, counts(&seen.counts)), (3, 0, [40, 10, 0, 0, 0]));
    assert_eq!(state(&store, dead.fence.job).await, JobState::Queued);
    assert_reconciled(&store).await;
}

async fn a_restart_that_would_halt_again_at_once_is_refused(store: TestStore) {
    let (id, _, _) = halted(&store).await;
    let strict = Restart { failure_budget: Some(FailureBudget::Count(9)), ..restart(id) };
    let error = store.restart_batch(TENANT, &strict, false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("10 of its 40")), "{error}");
    assert_eq!(batch(&store, id).await.state, BatchState::Halted);
    let asked = Restart { dead: true, ..strict };
    store.restart_batch(TENANT, &asked, false).await.expect("with the dead chunk back it is within");
}

async fn a_raised_budget_is_the_batches_own_from_then_on(store: TestStore) {
    let (id, _, _) = halted(&store).await;
    let asked = Restart { failure_budget: Some(FailureBudget::Percent(90.0)), ..restart(id) };
    store.restart_batch(TENANT, &asked, false).await.expect("restarted");
    assert_eq!(batch(&store, id).await.failure_budget, "90%");
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    let report = complete(&store, &[testing::dead(&chunk)]).await;
    assert_eq!(report.progress[0].failure_budget, FailureBudget::Percent(90.0), "whoever judges it is told");
}

async fn a_cancelled_batch_goes_on_after_its_running_chunks_were_taken_away(store: TestStore) {
    let id = testing::sealed(&store, 3, 10).await;
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 2).await;
    complete(&store, &[testing::chunk_done(&chunks[0], 10)]).await;
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    assert_eq!(store.restart_batch(TENANT, &restart(id), false).await.expect("restarted").affected, 2);
    let report = store.complete(&[testing::chunk_done(&chunks[1], 10)]).await.expect("asked");
    assert_eq!(report.fenced, [chunks[1].fence], "whoever ran it before the cancel comes too late");
    let again = claim(&store, worker, 10).await;
    assert_eq!(again.iter().map(|chunk| chunk.fence.attempt).collect::<Vec<_>>(), [2, 1], "no fence is used twice");
    complete(&store, &again.iter().map(|chunk| testing::chunk_done(chunk, 10)).collect::<Vec<_>>()).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Aggregating, [30, 30, 0, 0, 0]));
    assert_reconciled(&store).await;
}

async fn a_chunk_on_its_last_attempt_has_as_many_again(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    for attempt in 1..=3 {
        let chunk = claim_one(&store, worker).await;
        assert_eq!(chunk.fence.attempt, attempt);
        if attempt < 3 {
            complete(&store, &[testing::retry(&chunk, std::time::Duration::ZERO)]).await;
            store.promote(1).await.expect("promoted");
        }
    }
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    store.restart_batch(TENANT, &restart(id), false).await.expect("restarted");
    let chunk = claim_one(&store, worker).await;
    assert_eq!((chunk.fence.attempt, chunk.max_attempts), (4, 6));
}

async fn a_late_aggregate_of_the_generation_before_changes_nothing(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    let late = claim_one(&store, worker).await;
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    store.restart_batch(TENANT, &restart(id), false).await.expect("restarted");
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Complete, result: json!(0), reason: None };
    let told = gristmill_core::job::NewJob::new(testing::job_id(), "email", json!({}));
    let late = Completion { batch_end: Some(end), follow: vec![told.clone()], ..testing::done(&late) };
    assert_eq!(store.complete(&[late]).await.expect("asked").settled, 0);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.generation, seen.result), (BatchState::Aggregating, 1, None));
    assert!(store.job(TENANT, told.id).await.expect("asked").is_none(), "it tells nobody");
}

async fn a_batch_cancelled_while_it_aggregated_aggregates_again(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    store.cancel_batch(TENANT, id, "not now", false).await.expect("cancelled");
    let control_report = store.restart_batch(TENANT, &restart(id), false).await.expect("restarted");
    assert_eq!((control_report.affected, control_report.generation), (0, Some(1)));
    let aggregate = claim_one(&store, worker).await;
    assert_eq!((aggregate.kind.as_str(), aggregate.generation), ("aggregate", 1));
    end(&store, &aggregate, BatchState::Complete).await;
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
    assert_reconciled(&store).await;
}

async fn a_batch_cancelled_before_its_plan_was_complete_cannot_go_on(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 10)).await.expect("added");
    store.cancel_batch(TENANT, new.id, "no", false).await.expect("cancelled");
    let error = store.restart_batch(TENANT, &restart(new.id), false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("not read to the end")), "{error}");
}

async fn what_is_under_way_or_complete_is_not_restarted(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let refused = async || store.restart_batch(TENANT, &restart(id), false).await.expect_err("refused");
    assert!(matches!(refused().await, StoreError::Conflict(_)));
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 10)]).await;
    assert!(matches!(refused().await, StoreError::Conflict(_)));
    let aggregate = claim_one(&store, worker).await;
    end(&store, &aggregate, BatchState::Complete).await;
    let error = refused().await;
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("complete")), "{error}");
}

async fn two_restarts_at_once_open_one_generation(store: TestStore) {
    let (id, _, _) = halted(&store).await;
    let asked = restart(id);
    let (one, two) =
        tokio::join!(store.restart_batch(TENANT, &asked, false), store.restart_batch(TENANT, &asked, false));
    assert_eq!(one.is_ok() as u8 + two.is_ok() as u8, 1, "{one:?} {two:?}");
    let seen = batch(&store, id).await;
    assert_eq!((seen.generation, seen.remaining, counts(&seen.counts)), (1, 2, [40, 10, 0, 10, 0]));
    assert_reconciled(&store).await;
}

async fn a_dry_restart_changes_nothing(store: TestStore) {
    let (id, _, _) = halted(&store).await;
    let before = batch(&store, id).await;
    let control_report = store.restart_batch(TENANT, &restart(id), true).await.expect("asked");
    assert_eq!(
        (control_report.affected, control_report.generation, control_report.dispatched.dispatches.len()),
        (2, Some(1), 0)
    );
    assert_eq!(batch(&store, id).await, before);
    assert_reconciled(&store).await;
}

async fn another_tenant_restarts_nothing(store: TestStore) {
    let (id, _, _) = halted(&store).await;
    let error = store.restart_batch("somebody else", &restart(id), false).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}
