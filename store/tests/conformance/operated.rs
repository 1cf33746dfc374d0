//! Operations over quarantined items and over batches.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::ClaimedJob;
use gristmill_core::operation::{OperationState, OperationVerb};
use gristmill_store::testing::{self, TestStore, eventually};
use gristmill_store::{
    BatchEnd, Completion, NewBatch, NewOperation, Page, Pause, QuarantineFilter, QuarantineView, StoreError,
    StoreHandle,
};
use serde_json::json;

use crate::operations::{begin, new, run, selection, view};
use crate::patching::{redriven, with_items};
use crate::{LONG, TENANT, assert_reconciled, batch, claim, complete, counts, enter};

conformance! {
    items_of_several_batches_run_again_each_in_one_generation,
    items_of_a_batch_that_takes_none_are_refused_and_the_others_go_on,
    discarded_items_come_back_as_they_were,
    discarded_items_are_deleted_when_the_time_is_over,
    items_whose_batch_is_being_deleted_do_not_come_back,
    what_is_set_aside_after_the_preview_stays,
    batches_that_match_are_cancelled_and_go_on_again_when_that_is_undone,
    a_batch_that_was_paused_is_paused_again_when_its_cancelling_is_undone,
    a_batch_that_was_restarted_in_between_stays_as_it_is,
    batches_are_paused_resumed_restarted_and_deleted,
    a_batch_that_cannot_be_restarted_is_counted_with_the_reason,
    a_rate_holds_for_batches,
    tenants_do_not_touch_each_others_items_and_batches,
}

async fn items(store: &StoreHandle) -> Vec<QuarantineView> {
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), ..QuarantineFilter::default() };
    store.quarantine(&filter, &Page::default()).await.expect("listed")
}

/// A batch with three items in quarantine, of which `done` says whether the rest of it is done.
async fn with_three(store: &TestStore, done: bool) -> BatchId {
    let aside = |position, stage| (position, stage, "not a number", json!({ "n": position }));
    let (id, _) = with_items(store, vec![aside(3, "parse"), aside(5, "parse"), aside(9, "read")]).await;
    if done {
        end(store, id).await;
    }
    id
}

/// Does what a batch has left, and aggregates it.
async fn end(store: &TestStore, id: BatchId) {
    eventually("the end of the batch", async || {
        let worker = enter(store).await;
        for job in claim(store, worker, 100).await {
            let completion = match job.kind.as_str() {
                "aggregate" => Completion { batch_end: Some(complete_end(&job)), ..testing::done(&job) },
                _ => testing::chunk_done(&job, job.payload["items"].as_u64().expect("a count")),
            };
            complete(store, &[completion]).await;
        }
        (batch(store, id).await.state == BatchState::Complete).then_some(())
    })
    .await;
}

fn complete_end(aggregate: &ClaimedJob) -> BatchEnd {
    let (batch, state) = (aggregate.batch.expect("a batch"), BatchState::Complete);
    BatchEnd { batch, generation: aggregate.generation, state, result: json!(1), reason: None }
}

async fn items_of_several_batches_run_again_each_in_one_generation(store: TestStore) {
    let ended = with_three(&store, true).await;
    let going = with_three(&store, false).await;
    let preview = store.preview_operation(&selection(OperationVerb::RedriveItems, "stage:parse")).await.expect("asked");
    assert_eq!((preview.matches, preview.more, preview.samples.len()), (4, false, 4));
    assert_eq!(batch(&store, ended).await.state, BatchState::Complete, "a preview changes nothing");
    let id = begin(&store, OperationVerb::RedriveItems, "stage:parse").await;
    let over = run(&store, id).await;
    assert_eq!((over.state, over.done, over.failed, over.skipped), (OperationState::Finished, 4, 0, 0));
    assert!(!over.can_be_undone);
    let seen = batch(&store, ended).await;
    assert_eq!((seen.state, seen.generation), (BatchState::Sealed, 1), "it goes on in its next generation");
    assert_eq!(batch(&store, going).await.generation, 0);
    let left: Vec<_> = items(&store).await.into_iter().filter(|item| item.state == "open").collect();
    assert!(left.len() == 2 && left.iter().all(|item| item.stage == "read"), "{left:?}");
    let mut positions: Vec<_> = redriven(&store).await.into_iter().map(|item| item.position).collect();
    positions.sort_unstable();
    assert_eq!(positions, [3, 3, 5, 5], "in their old places");
    assert_reconciled(&store).await;
}

async fn items_of_a_batch_that_takes_none_are_refused_and_the_others_go_on(store: TestStore) {
    let cancelled = with_three(&store, false).await;
    store.cancel_batch(TENANT, cancelled, "no", false).await.expect("cancelled");
    let ended = with_three(&store, true).await;
    let id = begin(&store, OperationVerb::RedriveItems, "state:open").await;
    let over = run(&store, id).await;
    assert_eq!((over.state, over.done, over.failed), (OperationState::Finished, 3, 3));
    assert!(over.error.as_deref().is_some_and(|why| why.contains(&cancelled.to_string())), "{:?}", over.error);
    assert_eq!(batch(&store, ended).await.state, BatchState::Sealed);
    assert_eq!(items(&store).await.iter().filter(|item| item.state == "open").count(), 3);
    assert_reconciled(&store).await;
}

async fn discarded_items_come_back_as_they_were(store: TestStore) {
    let first = with_three(&store, true).await;
    with_three(&store, false).await;
    let before = items(&store).await;
    let id = begin(&store, OperationVerb::DiscardItems, &format!("batch:{first} stage:parse")).await;
    let over = run(&store, id).await;
    assert_eq!((over.done, over.can_be_undone), (2, true));
    assert_eq!(items(&store).await.len(), 4, "they are in the quarantine no more");
    assert_eq!(counts(&batch(&store, first).await.counts), [40, 37, 0, 3, 0], "and count as before");
    assert_eq!(store.undo_operation(TENANT, id).await.expect("undone").state, OperationState::Undoing);
    let undone = run(&store, id).await;
    assert_eq!((undone.state, undone.undone, undone.undo_failed), (OperationState::Undone, 2, 0));
    assert_eq!(items(&store).await, before);
    let report = store.redrive_patched(TENANT, &gristmill_store::PatchRedrive::new(first, 100), false).await;
    assert_eq!(report.expect("redriven").redriven, 3, "they can run again");
    assert_reconciled(&store).await;
}

async fn discarded_items_are_deleted_when_the_time_is_over(store: TestStore) {
    with_three(&store, true).await;
    let operation = NewOperation { undo: Duration::ZERO, ..new(OperationVerb::DiscardItems, "state:open") };
    store.start_operation(&operation).await.expect("started");
    let over = run(&store, operation.id).await;
    assert_eq!((over.done, over.can_be_undone, over.state), (3, false, OperationState::Finished));
    let error = store.undo_operation(TENANT, operation.id).await.expect_err("too late");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("no more")), "{error}");
    assert!(items(&store).await.is_empty());
    if store.knows_sql() {
        assert_eq!(store.count("SELECT count(*) FROM operation_item").await, 0, "nothing of them is left");
    }
}

async fn items_whose_batch_is_being_deleted_do_not_come_back(store: TestStore) {
    let gone = with_three(&store, true).await;
    let kept = with_three(&store, true).await;
    let id = begin(&store, OperationVerb::DiscardItems, "stage:read").await;
    assert_eq!(run(&store, id).await.done, 2);
    store.begin_deletion(TENANT, gone, None, false).await.expect("begun");
    store.undo_operation(TENANT, id).await.expect("undone");
    let undone = run(&store, id).await;
    assert_eq!((undone.state, undone.undone, undone.undo_failed), (OperationState::Undone, 1, 1));
    assert!(undone.error.as_deref().is_some_and(|why| why.contains(&gone.to_string())), "{:?}", undone.error);
    assert_eq!(items(&store).await.iter().filter(|item| item.batch == kept).count(), 3);
}

async fn what_is_set_aside_after_the_preview_stays(store: TestStore) {
    with_three(&store, true).await;
    let preview = store.preview_operation(&selection(OperationVerb::DiscardItems, "stage:parse")).await.expect("asked");
    eventually("the clock", async || (store.now().await.expect("now") > preview.snapshot).then_some(())).await;
    let newer = with_three(&store, true).await;
    let mut operation = new(OperationVerb::DiscardItems, "stage:parse");
    operation.selection.snapshot = Some(preview.snapshot);
    store.start_operation(&operation).await.expect("started");
    assert_eq!(run(&store, operation.id).await.done, 2);
    assert_eq!(items(&store).await.iter().filter(|item| item.batch == newer).count(), 3);
}

async fn named(store: &StoreHandle, name: &str) -> BatchId {
    let mut batch = testing::batch();
    batch.name = name.to_owned();
    started(store, batch).await
}

async fn started(store: &StoreHandle, batch: NewBatch) -> BatchId {
    let id = batch.id;
    store.create_batch(&batch).await.expect("created");
    store.add_chunks(id, &testing::chunks(3, 10)).await.expect("added");
    store.seal(id).await.expect("sealed");
    id
}

async fn batches_that_match_are_cancelled_and_go_on_again_when_that_is_undone(store: TestStore) {
    let (first, second, other) =
        (named(&store, "retail").await, named(&store, "retail").await, named(&store, "other").await);
    let preview =
        store.preview_operation(&selection(OperationVerb::CancelBatches, "name:retail")).await.expect("asked");
    assert_eq!((preview.matches, preview.samples), (2, vec![first.to_string(), second.to_string()]));
    let id = begin(&store, OperationVerb::CancelBatches, "name:retail").await;
    let over = run(&store, id).await;
    assert_eq!((over.state, over.done, over.failed), (OperationState::Finished, 2, 0));
    for batch_id in [first, second] {
        let seen = batch(&store, batch_id).await;
        assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Cancelled, [30, 0, 0, 0, 30]));
        assert_eq!(seen.reason.as_deref(), Some("wrong file"));
    }
    assert_eq!(batch(&store, other).await.state, BatchState::Sealed);
    store.undo_operation(TENANT, id).await.expect("undone");
    let undone = run(&store, id).await;
    assert_eq!((undone.state, undone.undone, undone.undo_failed), (OperationState::Undone, 2, 0));
    let seen = batch(&store, first).await;
    assert_eq!((seen.state, seen.generation, counts(&seen.counts)), (BatchState::Sealed, 1, [30, 0, 0, 0, 0]));
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 100).await.len(), 9, "all of them can be done");
    assert_reconciled(&store).await;
}

async fn a_batch_that_was_paused_is_paused_again_when_its_cancelling_is_undone(store: TestStore) {
    let id = named(&store, "retail").await;
    let pause = Pause { by: Some("eve".to_owned()), reason: Some("supplier is down".to_owned()) };
    store.pause_batch(TENANT, id, Some(&pause), false).await.expect("paused");
    let operation = begin(&store, OperationVerb::CancelBatches, "name:retail").await;
    assert_eq!(run(&store, operation).await.done, 1);
    store.undo_operation(TENANT, operation).await.expect("undone");
    assert_eq!(run(&store, operation).await.undone, 1);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.paused), (BatchState::Sealed, true));
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 100).await.len(), 0, "nothing of it starts");
    assert_reconciled(&store).await;
}

async fn a_batch_that_was_restarted_in_between_stays_as_it_is(store: TestStore) {
    let id = named(&store, "retail").await;
    let operation = begin(&store, OperationVerb::CancelBatches, "name:retail").await;
    run(&store, operation).await;
    let restart = gristmill_store::Restart { batch: id, failure_budget: None, dead: false };
    store.restart_batch(TENANT, &restart, false).await.expect("restarted");
    store.undo_operation(TENANT, operation).await.expect("undone");
    let undone = run(&store, operation).await;
    assert_eq!((undone.state, undone.undone, undone.undo_failed), (OperationState::Undone, 0, 1));
    assert!(undone.error.as_deref().is_some_and(|why| why.contains("changed since")), "{:?}", undone.error);
    assert_eq!(batch(&store, id).await.generation, 1);
}

async fn batches_are_paused_resumed_restarted_and_deleted(store: TestStore) {
    let (first, second) = (named(&store, "retail").await, named(&store, "retail").await);
    let done = async |verb: OperationVerb, query: &str| {
        let id = begin(&store, verb, query).await;
        let over = run(&store, id).await;
        (over.done, over.failed)
    };
    assert_eq!(done(OperationVerb::ResumeBatches, "name:*").await, (0, 0), "none is paused");
    assert_eq!(done(OperationVerb::PauseBatches, "name:retail").await, (2, 0));
    assert!(batch(&store, first).await.paused && batch(&store, second).await.paused);
    assert_eq!(done(OperationVerb::PauseBatches, "name:retail").await, (0, 0), "they are paused");
    assert_eq!(done(OperationVerb::ResumeBatches, "name:retail").await, (2, 0));
    assert!(!batch(&store, first).await.paused);
    assert_eq!(done(OperationVerb::DeleteBatches, "name:retail").await, (0, 0), "they have not ended");
    store.cancel_batch(TENANT, first, "no", false).await.expect("cancelled");
    assert_eq!(done(OperationVerb::RestartBatches, "name:retail").await, (1, 0));
    assert_eq!(batch(&store, first).await.state, BatchState::Sealed);
    store.cancel_batch(TENANT, second, "no", false).await.expect("cancelled");
    assert_eq!(done(OperationVerb::DeleteBatches, "name:retail").await, (1, 0));
    let error = store
        .restart_batch(TENANT, &gristmill_store::Restart { batch: second, failure_budget: None, dead: false }, false)
        .await
        .expect_err("it is being deleted");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert_eq!(done(OperationVerb::DeleteBatches, "name:retail").await, (0, 0), "it is being deleted already");
    assert_reconciled(&store).await;
}

async fn a_batch_that_cannot_be_restarted_is_counted_with_the_reason(store: TestStore) {
    let unplanned = testing::batch();
    store.create_batch(&unplanned).await.expect("created");
    store.add_chunks(unplanned.id, &testing::chunks(1, 10)).await.expect("added");
    store.cancel_batch(TENANT, unplanned.id, "no", false).await.expect("cancelled");
    let fine = named(&store, "retail").await;
    store.cancel_batch(TENANT, fine, "no", false).await.expect("cancelled");
    let id = begin(&store, OperationVerb::RestartBatches, "name:*").await;
    let over = run(&store, id).await;
    assert_eq!((over.state, over.done, over.failed), (OperationState::Finished, 1, 1));
    assert!(over.error.as_deref().is_some_and(|why| why.contains(&unplanned.id.to_string())), "{:?}", over.error);
    assert_eq!(batch(&store, fine).await.state, BatchState::Sealed);
    assert_reconciled(&store).await;
}

async fn a_rate_holds_for_batches(store: TestStore) {
    for _ in 0..6 {
        named(&store, "retail").await;
    }
    let operation = NewOperation { rate: Some(1), ..new(OperationVerb::PauseBatches, "name:retail") };
    store.start_operation(&operation).await.expect("started");
    let mut done = 0;
    // A second that was not used may be caught up on.
    while let Some(step) = store.step_operation(operation.id, LONG).await.expect("a step") {
        assert_eq!(step.done, 1, "one in a step");
        done += 1;
    }
    assert!((1..=3).contains(&done), "{done}");
    assert_eq!(view(&store, operation.id).await.state, OperationState::Running);
}

async fn tenants_do_not_touch_each_others_items_and_batches(store: TestStore) {
    with_three(&store, true).await;
    let mut foreign = testing::batch();
    foreign.tenant = "other".to_owned();
    let foreign = started(&store, foreign).await;
    let mut cancel = new(OperationVerb::CancelBatches, "name:*");
    cancel.selection.tenant = TENANT.to_owned();
    store.start_operation(&cancel).await.expect("started");
    assert_eq!(run(&store, cancel.id).await.done, 0, "its own has ended");
    assert_eq!(store.batch("other", foreign).await.expect("asked").expect("there").state, BatchState::Sealed);
    let mut theirs = selection(OperationVerb::DiscardItems, "state:open");
    theirs.tenant = "other".to_owned();
    assert_eq!(store.preview_operation(&theirs).await.expect("asked").matches, 0);
}
