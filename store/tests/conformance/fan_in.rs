//! The fan-in: the change that leaves nothing remaining fires the aggregate, exactly once.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{ClaimedJob, JobState};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{BatchEnd, Completion};
use serde_json::json;
use tokio::sync::Barrier;

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    the_last_chunk_fires_the_aggregate_in_its_own_transaction,
    many_completers_at_once_fire_the_aggregate_exactly_once,
    a_seal_and_a_completion_at_once_fire_exactly_once,
    a_dead_chunk_counts_its_items_as_quarantined,
    a_cancelled_chunk_counts_its_items_as_cancelled,
    the_last_chunk_may_be_cancelled_by_hand,
    an_aggregate_completes_its_batch,
    an_aggregate_of_another_generation_ends_nothing,
    effects_follow_from_the_aggregates_own_transaction,
    an_aggregate_of_another_generation_sends_no_effects,
    the_second_ending_in_one_group_sends_no_effects,
    jobs_of_a_batch_that_are_no_chunks_do_not_count,
    batches_completed_in_one_group_each_fire;
    databases only, "rows are changed by SQL":
    an_aggregate_of_a_cancelled_batch_sends_no_effects,
}

async fn the_last_chunk_fires_the_aggregate_in_its_own_transaction(store: TestStore) {
    let id = testing::sealed(&store, 2, 5).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    let first = complete(&store, &[testing::chunk_done(&claimed[0], 5)]).await;
    assert_eq!((first.progress[0].state, first.progress[0].remaining), (BatchState::Sealed, 1));
    assert_eq!(aggregates(&store, id).await, 0);
    let last = complete(&store, &[testing::chunk_done(&claimed[1], 5)]).await;
    assert_eq!((last.progress[0].state, last.progress[0].remaining), (BatchState::Aggregating, 0));
    let aggregate = claim_one(&store, worker).await;
    assert_eq!(last.dispatched.dispatches[0].jobs, [aggregate.fence.job]);
    assert_eq!((aggregate.kind.as_str(), aggregate.batch), ("aggregate", Some(id)));
    assert_reconciled(&store).await;
}

/// Completes each group in a task of its own, all at the same moment.
async fn at_once(store: &TestStore, groups: Vec<Vec<ClaimedJob>>, seal: Option<BatchId>) {
    let barrier = Arc::new(Barrier::new(groups.len() + usize::from(seal.is_some())));
    let mut tasks: Vec<_> = groups
        .into_iter()
        .map(|group| {
            let (store, barrier) = (store.handle(), barrier.clone());
            tokio::spawn(async move {
                let all: Vec<_> = group.iter().map(|job| testing::chunk_done(job, 1)).collect();
                barrier.wait().await;
                let report = store.complete(&all).await.expect("completed");
                assert_eq!(report.settled, all.len() as u64);
            })
        })
        .collect();
    if let Some(batch) = seal {
        let (store, barrier) = (store.handle(), barrier.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            store.seal(batch).await.expect("sealed");
        }));
    }
    for task in tasks {
        task.await.expect("a task ends");
    }
}

async fn many_completers_at_once_fire_the_aggregate_exactly_once(store: TestStore) {
    let worker = enter(&store).await;
    for round in 0..10 {
        let id = testing::sealed(&store, 24, 1).await;
        let claimed = claim(&store, worker, 24).await;
        let groups = claimed.chunks(if round % 2 == 0 { 3 } else { 1 }).map(<[ClaimedJob]>::to_vec).collect();
        at_once(&store, groups, None).await;
        let seen = batch(&store, id).await;
        assert_eq!((seen.state, seen.remaining, seen.counts.ok), (BatchState::Aggregating, 0, 24), "round {round}");
        assert_eq!(aggregates(&store, id).await, 1, "round {round}");
        let aggregate = claim_one(&store, worker).await;
        let batch_end = end(id, 0, BatchState::Complete);
        complete(&store, &[Completion { batch_end, ..testing::done(&aggregate) }]).await;
    }
    assert_reconciled(&store).await;
}

async fn a_seal_and_a_completion_at_once_fire_exactly_once(store: TestStore) {
    let worker = enter(&store).await;
    for round in 0..15 {
        let new = testing::batch();
        store.create_batch(&new).await.expect("created");
        store.add_chunks(new.id, &testing::chunks(2, 1)).await.expect("added");
        let claimed = claim(&store, worker, 2).await;
        let groups = claimed.into_iter().map(|job| vec![job]).collect();
        at_once(&store, groups, Some(new.id)).await;
        assert_eq!(batch(&store, new.id).await.state, BatchState::Aggregating, "round {round}");
        let aggregate = claim_one(&store, worker).await;
        complete(&store, &[testing::done(&aggregate)]).await;
    }
}

async fn a_dead_chunk_counts_its_items_as_quarantined(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::dead(&claimed[0]), testing::chunk_done(&claimed[1], 10)]).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.chunks_dead, counts(&seen.counts)), (BatchState::Aggregating, 1, [20, 10, 0, 10, 0]));
    assert_eq!(store.chunk_results(id, -1, 10).await.expect("read").len(), 1);
}

async fn a_cancelled_chunk_counts_its_items_as_cancelled(store: TestStore) {
    let id = testing::sealed(&store, 3, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await.remove(0);
    let control_report = store.cancel_job(TENANT, claimed.fence.job, "no", false).await.expect("cancelled");
    assert_eq!(control_report.affected, 1);
    let seen = batch(&store, id).await;
    assert_eq!((seen.remaining, counts(&seen.counts)), (2, [30, 0, 0, 0, 10]));
    assert_reconciled(&store).await;
}

async fn the_last_chunk_may_be_cancelled_by_hand(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let control_report = store.cancel_job(TENANT, claimed.fence.job, "no", false).await.expect("cancelled");
    assert_eq!(control_report.dispatched.dispatches.len(), 1, "the aggregate is on the way");
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
}

/// Runs a batch of one chunk up to its aggregate.
async fn aggregating(store: &TestStore) -> (BatchId, ClaimedJob) {
    let id = testing::sealed(store, 1, 10).await;
    let worker = enter(store).await;
    let chunk = claim_one(store, worker).await;
    complete(store, &[testing::chunk_done(&chunk, 10)]).await;
    (id, claim_one(store, worker).await)
}

fn end(batch: BatchId, generation: u32, state: BatchState) -> Option<BatchEnd> {
    let result = json!({ "rows": 10, "name": "nul \u{0}" });
    Some(BatchEnd { batch, generation, state, result, reason: Some("over \u{0} budget".to_owned()) })
}

async fn an_aggregate_completes_its_batch(store: TestStore) {
    for to in [BatchState::Complete, BatchState::Halted] {
        let (id, aggregate) = aggregating(&store).await;
        let completion = Completion { batch_end: end(id, 0, to), ..testing::done(&aggregate) };
        let report = complete(&store, &[completion]).await;
        assert_eq!((report.progress.len(), report.progress[0].state), (1, to));
        let seen = batch(&store, id).await;
        assert_eq!((seen.state, seen.reason.as_deref()), (to, Some("over \u{FFFD} budget")));
        assert_eq!(seen.result, Some(json!({ "rows": 10, "name": "nul \u{0}" })));
        assert!(seen.finished_at.is_some());
    }
    assert_reconciled(&store).await;
}

async fn an_aggregate_of_another_generation_ends_nothing(store: TestStore) {
    let (id, aggregate) = aggregating(&store).await;
    let completion = Completion { batch_end: end(id, 1, BatchState::Complete), ..testing::done(&aggregate) };
    complete(&store, &[completion]).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.result, seen.finished_at), (BatchState::Aggregating, None, None));
}

async fn effects_follow_from_the_aggregates_own_transaction(store: TestStore) {
    let (id, aggregate) = aggregating(&store).await;
    let mut callback = testing::job();
    callback.kind = "email".to_owned();
    callback.batch = Some(id);
    let batch_end = end(id, 0, BatchState::Complete);
    complete(&store, &[Completion { batch_end, follow: vec![callback.clone()], ..testing::done(&aggregate) }]).await;
    assert_eq!(job(&store, callback.id).await.batch, Some(id));
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    assert_eq!(state(&store, callback.id).await, JobState::Done);
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
}

/// An aggregate's completion with one follow-up email, and that email's id.
fn with_effect(aggregate: &ClaimedJob, batch_end: Option<BatchEnd>) -> (Completion, JobId) {
    let mut callback = testing::job();
    callback.kind = "email".to_owned();
    callback.batch = aggregate.batch;
    let id = callback.id;
    (Completion { batch_end, follow: vec![callback], ..testing::done(aggregate) }, id)
}

async fn an_aggregate_of_a_cancelled_batch_sends_no_effects(store: TestStore) {
    let (id, aggregate) = aggregating(&store).await;
    // As if the batch had been cancelled while its aggregate was not: the batch's own guard alone decides.
    store.tamper("UPDATE batch SET state = 'cancelled', finished_at = created_at").await;
    let (completion, callback) = with_effect(&aggregate, end(id, 0, BatchState::Complete));
    let report = complete(&store, &[completion]).await;
    assert_eq!((report.progress.len(), report.dispatched.dispatches.len()), (0, 0));
    assert_eq!(store.job(TENANT, callback).await.expect("asked"), None);
    assert_eq!(batch(&store, id).await.state, BatchState::Cancelled);
    assert_eq!(state(&store, aggregate.fence.job).await, JobState::Done);
}

async fn an_aggregate_of_another_generation_sends_no_effects(store: TestStore) {
    let (id, aggregate) = aggregating(&store).await;
    let (completion, callback) = with_effect(&aggregate, end(id, 1, BatchState::Complete));
    let report = complete(&store, &[completion]).await;
    assert_eq!((report.progress.len(), report.dispatched.dispatches.len()), (0, 0));
    assert_eq!(store.job(TENANT, callback).await.expect("asked"), None);
}

async fn the_second_ending_in_one_group_sends_no_effects(store: TestStore) {
    let (id, aggregate) = aggregating(&store).await;
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let other = claim_one(&store, worker).await;
    let (first, sent) = with_effect(&aggregate, end(id, 0, BatchState::Complete));
    let (second, unsent) = with_effect(&other, end(id, 0, BatchState::Halted));
    complete(&store, &[first, second]).await;
    assert_eq!(state(&store, sent).await, JobState::Queued);
    assert_eq!(store.job(TENANT, unsent).await.expect("asked"), None);
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
}

async fn jobs_of_a_batch_that_are_no_chunks_do_not_count(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let mut early = testing::job();
    early.batch = Some(id);
    early.priority = gristmill_core::job::Priority::High;
    store.enqueue(&[early]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    complete(&store, &[testing::dead(&claimed[0])]).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, seen.chunks_dead), (BatchState::Sealed, 1, 0));
    assert_reconciled(&store).await;
}

async fn batches_completed_in_one_group_each_fire(store: TestStore) {
    let ids =
        [testing::sealed(&store, 1, 1).await, testing::sealed(&store, 1, 1).await, testing::sealed(&store, 1, 1).await];
    let worker = enter(&store).await;
    let all: Vec<_> = claim(&store, worker, 3).await.iter().map(|job| testing::chunk_done(job, 1)).collect();
    let report = store.complete(&all).await.expect("completed");
    assert_eq!(
        report.progress.iter().map(|progress| progress.batch).collect::<Vec<_>>(),
        ids,
        "in the order of their ids"
    );
    assert_eq!(claim_as_many_aggregates(&store, worker).await, 3);
}

async fn claim_as_many_aggregates(store: &TestStore, worker: gristmill_core::id::WorkerId) -> usize {
    let claimed = store.claim_next(&claim_as(worker, 10)).await.expect("claimed");
    claimed.iter().filter(|job| job.kind == "aggregate").count()
}
