//! What has ended is found, and deleted as it was seen; what outlives it, and what it must not take along.

use std::time::Duration;

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{ClaimedJob, JobState, NewJob, RunAt};
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{
    BatchEnd, Completion, ExpiredRow, ExpiryLook, PatchRedrive, Prune, PruneNoun, PruneReport, Restart, StoreError,
};
use serde_json::json;

use crate::{LONG, TENANT, assert_reconciled, batch, claim, claim_one, complete, enter, job, state};

conformance! {
    a_look_finds_what_has_ended_and_changes_nothing,
    pages_follow_one_another_even_when_their_rows_are_deleted,
    a_job_is_deleted_as_it_was_seen_and_the_counters_follow,
    a_dead_letter_that_was_redriven_in_between_stays,
    what_runs_or_waits_is_never_deleted,
    an_idempotency_key_outlives_its_job_as_long_as_it_is_promised,
    an_idempotency_key_whose_promise_is_over_is_free,
    the_idempotency_key_of_a_batch_outlives_it,
    a_job_that_holds_a_unique_key_for_a_period_stays,
    an_id_as_old_as_what_was_deleted_is_gone_and_not_unknown,
    a_batch_that_is_being_deleted_cannot_run_again,
    a_batch_that_has_not_ended_is_not_deleted,
    a_batch_with_an_unfinished_callback_is_not_deleted,
    a_batch_goes_in_groups_and_its_row_last,
    the_parts_of_a_batch_that_is_kept_are_not_deleted,
    a_batch_with_dead_or_quarantined_work_is_unsolved,
    the_spools_of_a_batch_that_is_being_deleted_go_first,
}

/// The whole of a noun.
pub(crate) async fn expired(store: &TestStore, noun: PruneNoun) -> Vec<ExpiredRow> {
    let page = store.expired(&ExpiryLook::first(noun)).await.expect("looked");
    assert_eq!(page.next, None, "one page is enough");
    page.rows
}

async fn within(store: &TestStore, noun: PruneNoun, batch: BatchId) -> Vec<ExpiredRow> {
    let look = ExpiryLook { batch: Some(batch), ..ExpiryLook::first(noun) };
    store.expired(&look).await.expect("looked").rows
}

fn of(noun: PruneNoun, batch: Option<BatchId>, rows: &[ExpiredRow], keys: Duration) -> Prune {
    Prune { noun, batch, rows: rows.iter().map(|row| (row.key.clone(), row.at)).collect(), keys }
}

pub(crate) async fn prune(store: &TestStore, noun: PruneNoun, rows: &[ExpiredRow]) -> PruneReport {
    store.prune(&of(noun, None, rows, Duration::ZERO)).await.expect("pruned")
}

/// Deletes a batch whole.
async fn delete(store: &TestStore, id: BatchId, keys: Duration) -> PruneReport {
    store.begin_deletion(TENANT, id, None, false).await.expect("marked");
    for noun in [PruneNoun::Chunks, PruneNoun::Results, PruneNoun::Quarantine] {
        let rows = within(store, noun, id).await;
        store.prune(&of(noun, Some(id), &rows, keys)).await.expect("pruned");
    }
    let row = expired(store, PruneNoun::Batches).await.into_iter().find(|row| row.key == id.to_string());
    store.prune(&of(PruneNoun::Batches, None, &[row.expect("it has ended")], keys)).await.expect("pruned")
}

pub(crate) async fn enqueue(store: &TestStore, asked: &[NewJob]) {
    store.enqueue(asked).await.expect("enqueued");
}

/// A job that is done.
pub(crate) async fn done(store: &TestStore, asked: NewJob) -> JobId {
    let (id, worker) = (asked.id, enter(store).await);
    enqueue(store, &[asked]).await;
    let claimed = claim_one(store, worker).await;
    complete(store, &[testing::done(&claimed)]).await;
    id
}

/// A dead letter, and when it died.
pub(crate) async fn dead(store: &TestStore, asked: NewJob) -> (JobId, Instant) {
    let (id, worker) = (asked.id, enter(store).await);
    enqueue(store, &[asked]).await;
    let claimed = claim_one(store, worker).await;
    complete(store, &[testing::dead(&claimed)]).await;
    (id, job(store, id).await.finished_at.expect("it has ended"))
}

async fn end(store: &TestStore, aggregate: &ClaimedJob, batch: BatchId, generation: u32, state: BatchState) {
    let end = BatchEnd { batch, generation, state, result: json!({ "rows": 1 }), reason: None };
    complete(store, &[Completion { batch_end: Some(end), ..testing::done(aggregate) }]).await;
}

/// A batch of two chunks that is complete: the first is as given, the second has set an item aside.
pub(crate) async fn ended(
    store: &TestStore,
    new: &gristmill_store::NewBatch,
    first: fn(&ClaimedJob) -> Completion,
) -> BatchId {
    store.create_batch(new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 10)).await.expect("added");
    store.seal(new.id).await.expect("sealed");
    let worker = enter(store).await;
    let chunks = claim(store, worker, 2).await;
    let aside = SetAside {
        position: 11,
        line: None,
        stage: "parse".to_owned(),
        reason: "no number".to_owned(),
        item: json!("x"),
    };
    let result = ChunkResult { ok: 9, quarantined: 1, set_aside: vec![aside], ..ChunkResult::default() };
    let second = Completion { chunk: Some(result), ..testing::done(&chunks[1]) };
    complete(store, &[first(&chunks[0]), second]).await;
    let aggregate = claim_one(store, worker).await;
    end(store, &aggregate, new.id, 0, BatchState::Complete).await;
    new.id
}

pub(crate) fn whole(chunk: &ClaimedJob) -> Completion {
    testing::chunk_done(chunk, 10)
}

async fn a_look_finds_what_has_ended_and_changes_nothing(store: TestStore) {
    let first = done(&store, testing::job()).await;
    let (second, died_at) = dead(&store, testing::job()).await;
    enqueue(&store, &[testing::job()]).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    let seen: Vec<_> = rows.iter().map(|row| (row.noun, row.key.clone(), row.name.as_str())).collect();
    let of = |noun, id: JobId| (noun, id.to_string(), "default");
    assert_eq!(seen, [of(PruneNoun::Jobs, first), of(PruneNoun::DeadLetters, second)]);
    assert_eq!((rows[1].at, rows[1].tenant.as_str(), rows[1].weight), (Some(died_at), TENANT, 2));
    assert_eq!(expired(&store, PruneNoun::Jobs).await, rows, "as often as it is asked");
    assert_eq!(state(&store, first).await, JobState::Done);
}

async fn pages_follow_one_another_even_when_their_rows_are_deleted(store: TestStore) {
    for _ in 0..5 {
        done(&store, testing::job()).await;
    }
    enqueue(&store, &[NewJob { run: RunAt::In(LONG), ..testing::job() }]).await;
    let (mut look, mut pages, mut deleted) = (ExpiryLook { limit: 2, ..ExpiryLook::first(PruneNoun::Jobs) }, 0, 0);
    loop {
        let page = store.expired(&look).await.expect("looked");
        deleted += prune(&store, PruneNoun::Jobs, &page.rows).await.rows();
        pages += 1;
        match page.next {
            Some(next) => look.after = Some(next),
            None => break,
        }
    }
    assert_eq!((pages, deleted), (4, 5), "the last page is empty, because the one before was full");
    let old = testing::job().id.0.get_timestamp().map(|made| made.to_unix().0).expect("an id of version 7");
    let created_before = Instant::from_timestamp(i64::try_from(old).expect("fits") - 3_600, 0);
    done(&store, testing::job()).await;
    let look = ExpiryLook { created_before, ..ExpiryLook::first(PruneNoun::Jobs) };
    assert_eq!(store.expired(&look).await.expect("looked").rows, [], "all ids are younger");
    assert_reconciled(&store).await;
}

async fn a_job_is_deleted_as_it_was_seen_and_the_counters_follow(store: TestStore) {
    let id = done(&store, testing::job()).await;
    let mut rows = expired(&store, PruneNoun::Jobs).await;
    let at = rows[0].at;
    rows[0].at = at.map(|at| at + TimeDelta::microseconds(1));
    assert_eq!(prune(&store, PruneNoun::Jobs, &rows).await.rows(), 0, "it ended at another time");
    rows[0].at = at;
    let report = prune(&store, PruneNoun::Jobs, &rows).await;
    assert_eq!(report.deleted, [(PruneNoun::Jobs, 1)]);
    assert_eq!(prune(&store, PruneNoun::Jobs, &rows).await.rows(), 0, "it is gone");
    assert!(store.job(TENANT, id).await.expect("asked").is_none());
    let queue = store.queues(TENANT).await.expect("listed").remove(0);
    assert_eq!(queue.done, 0);
    assert_reconciled(&store).await;
}

async fn a_dead_letter_that_was_redriven_in_between_stays(store: TestStore) {
    let (id, _) = dead(&store, testing::job()).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    store.redrive_dead(TENANT, &[id], false).await.expect("redriven");
    assert_eq!(prune(&store, PruneNoun::Jobs, &rows).await.rows(), 0);
    let worker = enter(&store).await;
    let again = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&again)]).await;
    assert_eq!(prune(&store, PruneNoun::Jobs, &rows).await.rows(), 0, "it died another death");
    assert_eq!(job(&store, id).await.attempts.len(), 2);
    assert_reconciled(&store).await;
}

async fn what_runs_or_waits_is_never_deleted(store: TestStore) {
    // The jobs of a batch go with it.
    let id = ended(&store, &testing::batch(), whole).await;
    let chunk = within(&store, PruneNoun::Chunks, id).await.remove(0);
    assert_eq!(expired(&store, PruneNoun::Jobs).await, []);
    assert_eq!(prune(&store, PruneNoun::Jobs, &[chunk]).await.rows(), 0);
    let worker = enter(&store).await;
    let asked = testing::jobs(3);
    enqueue(&store, &asked).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::retry(&claimed[0], LONG)]).await;
    assert_eq!(expired(&store, PruneNoun::Jobs).await, []);
    // Not even when someone says so.
    let now = store.now().await.expect("asked");
    let rows: Vec<_> = asked.iter().map(|job| (job.id.to_string(), Some(now))).collect();
    let all = Prune { noun: PruneNoun::Jobs, batch: None, rows, keys: Duration::ZERO };
    assert_eq!(store.prune(&all).await.expect("asked").rows(), 0);
    assert_reconciled(&store).await;
}

pub(crate) fn keyed(key: &str) -> NewJob {
    NewJob { idempotency_key: Some(key.to_owned()), ..testing::job() }
}

async fn an_idempotency_key_outlives_its_job_as_long_as_it_is_promised(store: TestStore) {
    let first = done(&store, keyed("order-1")).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    let report = store.prune(&of(PruneNoun::Jobs, None, &rows, LONG)).await.expect("pruned");
    assert_eq!((report.rows(), report.keys_kept), (1, 1));
    // Beside others, in one call, and twice in it.
    let again = [keyed("order-2"), keyed("order-1"), keyed("order-1"), testing::job()];
    let enqueued = store.enqueue(&again).await.expect("enqueued");
    let places: Vec<_> = enqueued.jobs.iter().map(|place| (place.id, place.created)).collect();
    assert_eq!(places, [(again[0].id, true), (first, false), (first, false), (again[3].id, true)]);
    assert_eq!(enqueued.dispatched.moved, 2);
    assert!(store.job(TENANT, again[1].id).await.expect("asked").is_none());
    // A key is a tenant's own.
    let other = NewJob { tenant: "other".to_owned(), ..keyed("order-1") };
    assert!(store.enqueue(&[other]).await.expect("enqueued").jobs[0].created);
    assert_eq!(expired(&store, PruneNoun::Keys).await, [], "its promise is not over");
    assert_reconciled(&store).await;
}

async fn an_idempotency_key_whose_promise_is_over_is_free(store: TestStore) {
    done(&store, keyed("order-1")).await;
    let rows = expired(&store, PruneNoun::Jobs).await;
    let report = prune(&store, PruneNoun::Jobs, &rows).await;
    assert_eq!(report.keys_kept, 0);
    assert!(store.enqueue(&[keyed("order-1")]).await.expect("enqueued").jobs[0].created);
    assert_reconciled(&store).await;
}

async fn the_idempotency_key_of_a_batch_outlives_it(store: TestStore) {
    let keyed = || gristmill_store::NewBatch { idempotency_key: Some("night-1".to_owned()), ..testing::batch() };
    let first = ended(&store, &keyed(), whole).await;
    assert_eq!(delete(&store, first, LONG).await.keys_kept, 1);
    let again = store.create_batch(&keyed()).await.expect("asked");
    assert_eq!((again.id, again.created), (first, false));
    assert!(store.batch(TENANT, first).await.expect("asked").is_none(), "it is gone all the same");
    assert!(store.create_batch(&testing::batch()).await.expect("created").created);
    assert_reconciled(&store).await;
}

async fn a_job_that_holds_a_unique_key_for_a_period_stays(store: TestStore) {
    let unique = |period| NewJob {
        unique: Some(Unique { key: "k".to_owned(), hold: Hold::Period(period), conflict: OnConflict::Keep }),
        ..testing::job()
    };
    let first = done(&store, unique(LONG)).await;
    assert_eq!(expired(&store, PruneNoun::Jobs).await, []);
    let at = job(&store, first).await.finished_at;
    let rows = vec![(first.to_string(), at)];
    let asked = Prune { noun: PruneNoun::Jobs, batch: None, rows, keys: Duration::ZERO };
    assert_eq!(store.prune(&asked).await.expect("asked").rows(), 0, "nor when someone says so");
    let again = store.enqueue(&[unique(LONG)]).await.expect("enqueued");
    assert_eq!((again.jobs[0].id, again.jobs[0].created), (first, false));
}

async fn an_id_as_old_as_what_was_deleted_is_gone_and_not_unknown(store: TestStore) {
    let never = testing::job_id();
    let first = done(&store, testing::job()).await;
    let later = testing::job_id();
    assert_eq!(store.unknown_jobs(&[never]).await.expect("asked"), [never]);
    let rows = expired(&store, PruneNoun::Jobs).await;
    prune(&store, PruneNoun::Jobs, &rows).await;
    assert_eq!(store.unknown_jobs(&[never, first, later]).await.expect("asked"), [later]);
    let mut gone = store.gone_jobs(&[never, first, later]).await.expect("asked");
    gone.sort_unstable();
    assert_eq!(gone, [never, first]);
    // A late message that names it is dropped, and no poison.
    let worker = enter(&store).await;
    let claimed = store.claim(&claim_as(worker, 10), &[first, later]).await.expect("asked");
    assert_eq!((claimed.stale, claimed.unknown), (vec![first], vec![later]));
}

async fn a_batch_that_is_being_deleted_cannot_run_again(store: TestStore) {
    let id = ended(&store, &testing::batch(), testing::dead).await;
    let chunk = within(&store, PruneNoun::Chunks, id).await;
    let dead = chunk.iter().map(|row| JobId(row.key.parse().expect("an id")));
    let mut dead_ones = Vec::new();
    for job in dead {
        if state(&store, job).await == JobState::Dead {
            dead_ones.push(job);
        }
    }
    assert_eq!(store.begin_deletion(TENANT, id, None, true).await.expect("asked").affected, 2);
    assert_eq!(store.begin_deletion(TENANT, id, None, false).await.expect("marked").affected, 2);
    assert_eq!(store.begin_deletion(TENANT, id, None, false).await.expect("again").affected, 0);
    let refused = |error: StoreError| {
        assert!(matches!(&error, StoreError::Conflict(text) if text.contains("being deleted")), "{error}");
    };
    refused(store.redrive_dead(TENANT, &dead_ones, false).await.expect_err("refused"));
    refused(store.split_chunk(TENANT, dead_ones[0], false).await.expect_err("refused"));
    refused(store.redrive_patched(TENANT, &PatchRedrive::new(id, 10), false).await.expect_err("refused"));
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);

    let cancelled = testing::sealed(&store, 1, 1).await;
    store.cancel_batch(TENANT, cancelled, "enough", false).await.expect("cancelled");
    store.begin_deletion(TENANT, cancelled, None, false).await.expect("marked");
    let restart = Restart { batch: cancelled, failure_budget: None, dead: false };
    refused(store.restart_batch(TENANT, &restart, false).await.expect_err("refused"));
    assert_reconciled(&store).await;
}

async fn a_batch_that_has_not_ended_is_not_deleted(store: TestStore) {
    let id = testing::sealed(&store, 1, 1).await;
    let error = store.begin_deletion(TENANT, id, None, false).await.expect_err("it has not ended");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("cancel it first")), "{error}");
    assert_eq!(expired(&store, PruneNoun::Batches).await, []);
    store.cancel_batch(TENANT, id, "enough", false).await.expect("cancelled");
    let error = store.begin_deletion("other", id, None, false).await.expect_err("another tenant's");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    let at = batch(&store, id).await.finished_at.expect("it has ended");
    let other = Some(at - TimeDelta::seconds(1));
    assert_eq!(store.begin_deletion(TENANT, id, other, false).await.expect("asked").affected, 0);
    assert!(!expired(&store, PruneNoun::Batches).await[0].deleting, "it ended at another time");
    assert_eq!(store.begin_deletion(TENANT, id, Some(at), false).await.expect("marked").affected, 1);
    assert!(expired(&store, PruneNoun::Batches).await[0].deleting);
}

async fn a_batch_with_an_unfinished_callback_is_not_deleted(store: TestStore) {
    let id = ended(&store, &testing::batch(), whole).await;
    let callback = NewJob { batch: Some(id), ..testing::job() };
    enqueue(&store, std::slice::from_ref(&callback)).await;
    assert_eq!(expired(&store, PruneNoun::Batches).await, []);
    let error = store.begin_deletion(TENANT, id, None, false).await.expect_err("a callback waits");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("1 unfinished")), "{error}");
    store.cancel_job(TENANT, callback.id, "enough", false).await.expect("cancelled");
    delete(&store, id, Duration::ZERO).await;
    assert!(store.batch(TENANT, id).await.expect("asked").is_none());
    assert_reconciled(&store).await;
}

async fn a_batch_goes_in_groups_and_its_row_last(store: TestStore) {
    let id = ended(&store, &testing::batch(), whole).await;
    let row = expired(&store, PruneNoun::Batches).await;
    store.begin_deletion(TENANT, id, row[0].at, false).await.expect("marked");
    assert_eq!(prune(&store, PruneNoun::Batches, &row).await.rows(), 0, "its parts are still there");
    let chunks = within(&store, PruneNoun::Chunks, id).await;
    assert_eq!(chunks.len(), 3, "two chunks and the aggregate");
    let some = |noun, rows: &[ExpiredRow]| of(noun, Some(id), rows, Duration::ZERO);
    let report = store.prune(&some(PruneNoun::Chunks, &chunks[..2])).await.expect("pruned");
    assert_eq!(report.deleted, [(PruneNoun::Chunks, 2)]);
    assert_reconciled(&store).await;
    assert_eq!(within(&store, PruneNoun::Chunks, id).await, chunks[2..]);
    store.prune(&some(PruneNoun::Chunks, &chunks[2..])).await.expect("pruned");
    for noun in [PruneNoun::Results, PruneNoun::Quarantine] {
        let rows = within(&store, noun, id).await;
        let report = store.prune(&some(noun, &rows)).await.expect("pruned");
        assert_eq!(report.deleted, [(noun, rows.len() as u64)]);
        assert!(!rows.is_empty());
    }
    assert_eq!(prune(&store, PruneNoun::Batches, &row).await.deleted, [(PruneNoun::Batches, 1)]);
    assert!(store.batch(TENANT, id).await.expect("asked").is_none());
    assert_reconciled(&store).await;
}

async fn the_parts_of_a_batch_that_is_kept_are_not_deleted(store: TestStore) {
    let id = ended(&store, &testing::batch(), whole).await;
    for noun in [PruneNoun::Chunks, PruneNoun::Results, PruneNoun::Quarantine] {
        let rows = within(&store, noun, id).await;
        let report = store.prune(&of(noun, Some(id), &rows, Duration::ZERO)).await.expect("asked");
        assert_eq!(report.rows(), 0, "{noun}");
    }
    let row = expired(&store, PruneNoun::Batches).await;
    assert_eq!(prune(&store, PruneNoun::Batches, &row).await.rows(), 0);
    assert_eq!(store.chunk_results(id, -1, 10).await.expect("asked").len(), 2);
}

async fn a_batch_with_dead_or_quarantined_work_is_unsolved(store: TestStore) {
    let id = ended(&store, &testing::batch(), whole).await;
    let row = expired(&store, PruneNoun::Batches).await.remove(0);
    assert!(row.unsolved, "an item is in quarantine");
    assert_eq!(
        (row.key.as_str(), row.name.as_str(), row.at),
        (&*id.to_string(), "orders", batch(&store, id).await.finished_at)
    );
    store.redrive_patched(TENANT, &PatchRedrive::new(id, 10), false).await.expect("redriven");
    assert_eq!(expired(&store, PruneNoun::Batches).await, [], "it runs again");
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&chunk, 1)]).await;
    let aggregate = claim_one(&store, worker).await;
    end(&store, &aggregate, id, 1, BatchState::Complete).await;
    assert!(!expired(&store, PruneNoun::Batches).await[0].unsolved);
    let callback = NewJob { batch: Some(id), ..testing::job() };
    dead(&store, callback).await;
    assert!(expired(&store, PruneNoun::Batches).await[0].unsolved, "a callback is dead");
}

async fn the_spools_of_a_batch_that_is_being_deleted_go_first(store: TestStore) {
    let mut new = testing::batch();
    new.fingerprint = testing::spooled();
    let id = ended(&store, &new, testing::dead).await;
    assert!(store.spools(LONG, 10).await.expect("asked").is_empty(), "a redrive would read them");
    let report = delete(&store, id, Duration::ZERO).await;
    assert_eq!(report.rows(), 0, "its row knows where the spools are");
    assert_eq!(store.spools(LONG, 10).await.expect("asked").len(), 1);
    store.spools_removed(id).await.expect("noted");
    assert_eq!(delete(&store, id, Duration::ZERO).await.rows(), 1);
}
