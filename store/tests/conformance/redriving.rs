//! Dead letters and quarantined items get another chance.

use std::time::Duration;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkPayload, ChunkResult, SetAside, Slice};
use gristmill_core::id::BatchId;
use gristmill_core::inline;
use gristmill_core::job::{ClaimedJob, JobState, NewJob};
use gristmill_core::unique::Unique;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, Completion, Page, QuarantineFilter, QuarantineRedrive, StoreError};
use serde_json::{Value, json};

use crate::{TENANT, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_redriven_dead_letter_has_as_many_attempts_again,
    a_redrive_leaves_alone_what_is_not_dead,
    a_dry_redrive_changes_nothing,
    a_dead_chunk_of_a_running_batch_is_redriven_in_its_generation,
    a_dead_chunk_of_an_ended_batch_opens_the_next_generation,
    a_dead_chunk_is_not_redriven_while_its_batch_aggregates,
    a_dead_chunk_of_a_cancelled_batch_is_not_redriven,
    a_dead_letter_whose_unique_key_is_taken_is_not_redriven,
    a_halt_that_cancelled_chunks_is_remembered_by_the_next_generation,
    a_halt_that_cancelled_nothing_is_judged_anew,
    what_is_redriven_while_a_batch_still_halts_is_not_lost,
    quarantined_items_of_an_ended_batch_become_chunks_of_the_next_generation,
    some_quarantined_items_of_a_running_batch_are_redriven,
    the_quarantine_of_an_open_batch_waits,
    a_quarantine_with_nothing_open_is_left_alone,
    another_tenant_redrives_nothing,
    of_two_dead_letters_with_one_unique_key_not_both_are_redriven,
    an_empty_quarantine_of_an_aggregating_batch_waits_too,
}

/// Ends a batch by its aggregate.
async fn end(store: &TestStore, aggregate: &ClaimedJob, batch: BatchId, generation: u32, state: BatchState) {
    let end = BatchEnd { batch, generation, state, result: json!({ "rows": 1 }), reason: None };
    complete(store, &[Completion { batch_end: Some(end), ..testing::done(aggregate) }]).await;
}

async fn a_redriven_dead_letter_has_as_many_attempts_again(store: TestStore) {
    let mut asked = testing::job();
    asked.max_attempts = 2;
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let worker = enter(&store).await;
    let first = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&first, Duration::ZERO)]).await;
    store.promote(1).await.expect("promoted");
    let second = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&second)]).await;
    let control_report = store.redrive_dead(TENANT, &[asked.id], false).await.expect("redriven");
    assert_eq!(
        (control_report.affected, &control_report.samples[..], control_report.generation),
        (1, &[asked.id.to_string()][..], None)
    );
    assert_eq!(control_report.dispatched.dispatches[0].jobs, [asked.id]);
    let seen = job(&store, asked.id).await;
    assert_eq!((seen.state, seen.attempt, seen.max_attempts, seen.finished_at), (JobState::Queued, 2, 4, None));
    let third = claim_one(&store, worker).await;
    assert_eq!(third.fence.attempt, 3, "no fence is used twice");
    assert_eq!(job(&store, asked.id).await.attempts.len(), 2, "what was is remembered");
    assert_reconciled(&store).await;
}

async fn a_redrive_leaves_alone_what_is_not_dead(store: TestStore) {
    let asked = testing::jobs(2);
    store.enqueue(&asked).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    complete(&store, &[testing::dead(&claimed[0])]).await;
    let ids = [asked[0].id, asked[1].id, testing::job_id()];
    assert_eq!(store.redrive_dead(TENANT, &ids, false).await.expect("redriven").affected, 1);
    assert_eq!(store.redrive_dead(TENANT, &ids, false).await.expect("again").affected, 0);
    assert_eq!(job(&store, asked[1].id).await.max_attempts, 5);
    assert_reconciled(&store).await;
}

async fn a_dry_redrive_changes_nothing(store: TestStore) {
    let (id, chunk) = dead_chunk_of_ended(&store).await;
    let control_report = store.redrive_dead(TENANT, &[chunk.fence.job], true).await.expect("asked");
    assert_eq!(
        (control_report.affected, control_report.generation, control_report.dispatched.dispatches.len()),
        (1, Some(1), 0)
    );
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
    assert_eq!(state(&store, chunk.fence.job).await, JobState::Dead);
    assert_reconciled(&store).await;
}

async fn a_dead_chunk_of_a_running_batch_is_redriven_in_its_generation(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::dead(&chunk)]).await;
    let control_report = store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    assert_eq!(control_report.generation, None);
    let seen = batch(&store, id).await;
    assert_eq!((seen.generation, seen.remaining, seen.chunks_dead, counts(&seen.counts)), (0, 2, 0, [20, 0, 0, 0, 0]));
    assert_reconciled(&store).await;
}

/// A complete batch of two chunks, one of which is dead.
async fn dead_chunk_of_ended(store: &TestStore) -> (BatchId, ClaimedJob) {
    let id = testing::sealed(store, 2, 10).await;
    let worker = enter(store).await;
    let mut chunks = claim(store, worker, 2).await;
    complete(store, &[testing::dead(&chunks[0]), testing::chunk_done(&chunks[1], 10)]).await;
    let aggregate = claim_one(store, worker).await;
    end(store, &aggregate, id, 0, BatchState::Complete).await;
    (id, chunks.remove(0))
}

async fn a_dead_chunk_of_an_ended_batch_opens_the_next_generation(store: TestStore) {
    let (id, chunk) = dead_chunk_of_ended(&store).await;
    let control_report = store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    assert_eq!((control_report.affected, control_report.generation), (1, Some(1)));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.generation, seen.remaining, seen.finished_at), (BatchState::Sealed, 1, 1, None));
    assert_eq!((seen.result, counts(&seen.counts)), (None, [20, 10, 0, 0, 0]));
    let worker = enter(&store).await;
    let again = claim_one(&store, worker).await;
    assert_eq!((again.fence.job, again.generation, again.fence.attempt), (chunk.fence.job, 1, 2));
    complete(&store, &[testing::chunk_done(&again, 10)]).await;
    let aggregate = claim_one(&store, worker).await;
    assert_eq!(aggregate.payload, json!({ "batch": id, "generation": 1 }));
    end(&store, &aggregate, id, 1, BatchState::Complete).await;
    let results = store.chunk_results(id, -1, 10).await.expect("read");
    assert_eq!(results.iter().map(|result| (result.seq, result.generation)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Complete, [20, 20, 0, 0, 0]));
    assert_reconciled(&store).await;
}

async fn a_dead_chunk_is_not_redriven_while_its_batch_aggregates(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let worker = enter(&store).await;
    let chunk = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&chunk)]).await;
    let error = store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains(&id.to_string())), "{error}");
    assert_eq!(state(&store, chunk.fence.job).await, JobState::Dead);
}

async fn a_dead_chunk_of_a_cancelled_batch_is_not_redriven(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let chunk = claim(&store, worker, 1).await.remove(0);
    complete(&store, &[testing::dead(&chunk)]).await;
    store.cancel_batch(TENANT, id, "no", false).await.expect("cancelled");
    let error = store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn a_dead_letter_whose_unique_key_is_taken_is_not_redriven(store: TestStore) {
    let mut asked = testing::jobs(2);
    for job in &mut asked {
        job.unique = Some(Unique::new("one at a time"));
    }
    store.enqueue(&asked[..1]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    store.enqueue(&asked[1..]).await.expect("enqueued");
    let error = store.redrive_dead(TENANT, &[asked[0].id], false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("unique key")), "{error}");
    assert_eq!(state(&store, asked[0].id).await, JobState::Dead);
}

/// A batch of that many chunks that halted at its first one, which is dead.
async fn halted(store: &TestStore, chunks: i64) -> (BatchId, ClaimedJob) {
    let id = testing::sealed(store, chunks, 10).await;
    let worker = enter(store).await;
    let chunk = claim(store, worker, 1).await.remove(0);
    complete(store, &[testing::dead(&chunk)]).await;
    store.halt_batch(id, 0, "too many").await.expect("halted");
    let aggregate = claim_one(store, worker).await;
    let reason = Some("too many".to_owned());
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Halted, result: json!(1), reason };
    complete(store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    (id, chunk)
}

async fn a_halt_that_cancelled_chunks_is_remembered_by_the_next_generation(store: TestStore) {
    let (id, chunk) = halted(&store, 3).await;
    store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Sealed, [30, 0, 0, 0, 20]));
    assert_eq!(seen.reason.as_deref(), Some("too many"), "20 items were never looked at");
    assert_reconciled(&store).await;
}

async fn a_halt_that_cancelled_nothing_is_judged_anew(store: TestStore) {
    let (id, chunk) = halted(&store, 1).await;
    store.redrive_dead(TENANT, &[chunk.fence.job], false).await.expect("redriven");
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.reason, counts(&seen.counts)), (BatchState::Sealed, None, [10, 0, 0, 0, 0]));
}

async fn what_is_redriven_while_a_batch_still_halts_is_not_lost(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 10)).await.expect("added");
    let worker = enter(&store).await;
    let chunks = claim(&store, worker, 2).await;
    let item =
        SetAside { position: 15, line: None, stage: "parse".to_owned(), reason: "no".to_owned(), item: json!(1) };
    let result = ChunkResult { ok: 9, quarantined: 1, set_aside: vec![item], ..ChunkResult::default() };
    complete(&store, &[testing::dead(&chunks[0]), Completion { chunk: Some(result), ..testing::done(&chunks[1]) }])
        .await;
    store.halt_batch(new.id, 0, "too many").await.expect("halts");
    store.redrive_dead(TENANT, &[chunks[0].fence.job], false).await.expect("redriven");
    store.seal(new.id).await.expect("sealed");
    let redrive = QuarantineRedrive { batch: new.id, items: Vec::new(), chunk: 10 };
    store.redrive_quarantine(TENANT, &redrive, false).await.expect("redriven");
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.remaining, counts(&seen.counts)), (2, [20, 9, 0, 0, 0]));
    let again = claim(&store, worker, 2).await;
    complete(&store, &[testing::chunk_done(&again[0], 10), testing::chunk_done(&again[1], 1)]).await;
    let seen = batch(&store, new.id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Aggregating, [20, 20, 0, 0, 0]));
    assert_reconciled(&store).await;
}

/// A batch whose one chunk has set aside the items 2, 5 and 8.
async fn with_quarantine(store: &TestStore, chunks: i64) -> (BatchId, ClaimedJob) {
    let id = testing::sealed(store, chunks, 10).await;
    let worker = enter(store).await;
    let chunk = claim(store, worker, 1).await.remove(0);
    let aside = |position: u64| SetAside {
        position,
        line: Some(position + 1),
        stage: "parse".to_owned(),
        reason: "no number".to_owned(),
        item: json!({ "position": position, "nul": "\u{0}" }),
    };
    let set_aside = [2, 5, 8].map(aside).to_vec();
    let result = ChunkResult { ok: 7, quarantined: 3, set_aside, ..ChunkResult::default() };
    complete(store, &[Completion { chunk: Some(result), ..testing::done(&chunk) }]).await;
    (id, chunk)
}

fn positions(payload: &Value) -> Vec<u64> {
    let payload: ChunkPayload = serde_json::from_value(payload.clone()).expect("a chunk's payload");
    let Slice::Inline { zstd } = &payload.slice else { panic!("the items travel inside") };
    let items = inline::decode(zstd).expect("readable");
    assert_eq!((items.len() as u64, items[0].position), (payload.items, payload.first));
    assert!(items.iter().all(|item| item.item == json!({ "position": item.position, "nul": "\u{0}" })));
    items.iter().map(|item| item.position).collect()
}

async fn quarantined_items_of_an_ended_batch_become_chunks_of_the_next_generation(store: TestStore) {
    let (id, _) = with_quarantine(&store, 1).await;
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    end(&store, &aggregate, id, 0, BatchState::Complete).await;
    let redrive = QuarantineRedrive { batch: id, items: Vec::new(), chunk: 2 };
    let dry = store.redrive_quarantine(TENANT, &redrive, true).await.expect("asked");
    assert_eq!((dry.affected, dry.generation, batch(&store, id).await.generation), (3, Some(1), 0));
    let control_report = store.redrive_quarantine(TENANT, &redrive, false).await.expect("redriven");
    assert_eq!((control_report.affected, control_report.generation, control_report.dispatched.moved), (3, Some(1), 2));
    let seen = batch(&store, id).await;
    assert_eq!(
        (seen.state, seen.chunks, seen.remaining, counts(&seen.counts)),
        (BatchState::Sealed, 3, 2, [10, 7, 0, 0, 0])
    );
    let chunks = claim(&store, worker, 10).await;
    assert_eq!(chunks.iter().map(|chunk| positions(&chunk.payload)).collect::<Vec<_>>(), [vec![2, 5], vec![8]]);
    assert_eq!(
        chunks.iter().map(|chunk| (chunk.seq, chunk.generation)).collect::<Vec<_>>(),
        [(Some(1), 1), (Some(2), 1)]
    );
    complete(&store, &[testing::chunk_done(&chunks[0], 2), testing::chunk_done(&chunks[1], 1)]).await;
    assert_eq!(counts(&batch(&store, id).await.counts), [10, 10, 0, 0, 0]);
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), batch: Some(id), ..Default::default() };
    let items = store.quarantine(&filter, &Page::default()).await.expect("listed");
    assert!(items.len() == 3 && items.iter().all(|item| item.state == "redriven"));
    assert_reconciled(&store).await;
}

async fn some_quarantined_items_of_a_running_batch_are_redriven(store: TestStore) {
    let (id, _) = with_quarantine(&store, 2).await;
    let filter = QuarantineFilter { tenant: TENANT.to_owned(), batch: Some(id), open_only: true, ..Default::default() };
    let items = store.quarantine(&filter, &Page::default()).await.expect("listed");
    let redrive = QuarantineRedrive { batch: id, items: vec![items[1].id, 999_999], chunk: 100 };
    let control_report = store.redrive_quarantine(TENANT, &redrive, false).await.expect("redriven");
    assert_eq!((control_report.affected, control_report.generation), (1, None));
    assert_eq!(store.redrive_quarantine(TENANT, &redrive, false).await.expect("again").affected, 0);
    let seen = batch(&store, id).await;
    assert_eq!((seen.chunks, seen.remaining, seen.generation, counts(&seen.counts)), (3, 2, 0, [20, 7, 0, 2, 0]));
    assert_reconciled(&store).await;
}

async fn the_quarantine_of_an_open_batch_waits(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    let redrive = QuarantineRedrive { batch: new.id, items: Vec::new(), chunk: 10 };
    let error = store.redrive_quarantine(TENANT, &redrive, false).await.expect_err("the planner numbers its chunks");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    let error = store.redrive_quarantine(TENANT, &QuarantineRedrive { chunk: 0, ..redrive }, false).await;
    assert!(matches!(error.expect_err("no size"), StoreError::Invalid(_)));
}

async fn a_quarantine_with_nothing_open_is_left_alone(store: TestStore) {
    let (id, _) = dead_chunk_of_ended(&store).await;
    let redrive = QuarantineRedrive { batch: id, items: Vec::new(), chunk: 10 };
    let control_report = store.redrive_quarantine(TENANT, &redrive, false).await.expect("asked");
    assert_eq!((control_report.affected, control_report.generation), (0, None));
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
}

async fn another_tenant_redrives_nothing(store: TestStore) {
    let (id, chunk) = dead_chunk_of_ended(&store).await;
    assert_eq!(store.redrive_dead("other", &[chunk.fence.job], false).await.expect("asked").affected, 0);
    let redrive = QuarantineRedrive { batch: id, items: Vec::new(), chunk: 10 };
    let error = store.redrive_quarantine("other", &redrive, false).await.expect_err("refused");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}

async fn of_two_dead_letters_with_one_unique_key_not_both_are_redriven(store: TestStore) {
    let worker = enter(&store).await;
    let mut dead = Vec::new();
    for _ in 0..2 {
        let asked = NewJob { unique: Some(Unique::new("one")), ..testing::job() };
        store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
        complete(&store, &[testing::dead(&claim_one(&store, worker).await)]).await;
        dead.push(asked.id);
    }
    let error = store.redrive_dead(TENANT, &dead, false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert_eq!((state(&store, dead[0]).await, state(&store, dead[1]).await), (JobState::Dead, JobState::Dead));
    assert_eq!(store.redrive_dead(TENANT, &dead[1..], false).await.expect("redriven").affected, 1);
    assert_reconciled(&store).await;
}

async fn an_empty_quarantine_of_an_aggregating_batch_waits_too(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    let redrive = QuarantineRedrive { batch: id, items: Vec::new(), chunk: 10 };
    let error = store.redrive_quarantine(TENANT, &redrive, false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}
