//! Operations: a verb over everything that a query selects, in steps.

use std::pin::pin;
use std::time::Duration;

use futures::poll;
use gristmill_core::audit::ActorKind;
use gristmill_core::batch::BatchState;
use gristmill_core::id::{JobId, OperationId};
use gristmill_core::job::{JobState, NewJob, RunAt};
use gristmill_core::operation::{OperationState, OperationVerb};
use gristmill_core::query::parse;
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_store::testing::{self, TestStore, eventually};
use gristmill_store::{JobFilter, NewOperation, OperationView, Ordered, Page, Selection, StoreError, StoreHandle};
use uuid::Uuid;

use crate::{LONG, TENANT, assert_reconciled, batch, claim, complete, counts, enter, job, state};

conformance! {
    an_operation_cancels_what_waits_and_matches_and_nothing_else,
    a_preview_counts_by_the_walk_that_the_steps_make,
    what_was_created_after_the_preview_is_not_touched,
    what_a_worker_took_before_the_walk_came_is_left_alone,
    what_changes_its_state_under_the_walk_is_met_once,
    a_step_changes_no_more_than_the_rate_allows_and_the_next_is_not_due,
    operations_have_their_steps_in_turn,
    an_undone_cancel_brings_jobs_back_as_they_were,
    what_has_happened_in_between_stays_and_is_counted,
    a_chunk_comes_back_into_its_batch_while_that_goes_on,
    a_chunk_of_a_batch_that_is_over_stays_cancelled,
    a_discard_can_be_undone_until_it_deletes,
    a_redrive_counts_those_that_are_refused,
    an_operation_that_is_called_off_keeps_what_it_did_and_can_be_undone,
    what_cannot_be_undone_or_cancelled_is_refused,
    an_operation_is_started_once_under_its_id,
    tenants_do_not_see_each_others_operations,
    two_processes_do_each_job_once,
    old_operations_are_removed_when_they_can_be_undone_no_more,
    what_makes_no_sense_is_refused,
    ;
    databases only, "the model has no connection that can break off":
    a_step_that_breaks_off_neither_repeats_nor_skips_a_job,
}

pub(crate) fn selection(verb: OperationVerb, text: &str) -> Selection {
    let query = parse(verb.list(), text).expect(text);
    Selection { tenant: TENANT.to_owned(), verb, query, snapshot: None }
}

pub(crate) fn new(verb: OperationVerb, text: &str) -> NewOperation {
    NewOperation {
        id: OperationId(Uuid::now_v7()),
        selection: selection(verb, text),
        preview: 0,
        preview_more: false,
        ordered: Ordered {
            order: Uuid::now_v7(),
            actor_kind: ActorKind::Operator,
            actor: "ada@laptop".to_owned(),
            subject: None,
            role: None,
            address: None,
            request: None,
        },
        reason: "wrong file".to_owned(),
        rate: None,
        undo: LONG,
    }
}

pub(crate) async fn begin(store: &StoreHandle, verb: OperationVerb, text: &str) -> OperationId {
    store.start_operation(&new(verb, text)).await.expect("started").id
}

pub(crate) async fn view(store: &StoreHandle, id: OperationId) -> OperationView {
    store.operation(TENANT, id).await.expect("asked").expect("the operation is there")
}

/// Makes all steps that are due.
pub(crate) async fn run(store: &StoreHandle, id: OperationId) -> OperationView {
    while store.step_operation(id, LONG).await.expect("a step").is_some() {}
    view(store, id).await
}

async fn all_in(store: &StoreHandle, state: JobState) -> u64 {
    let filter = JobFilter { tenant: TENANT.to_owned(), states: vec![state], ..JobFilter::default() };
    let (mut found, mut page) = (0, Page { after: None, limit: 1_000 });
    loop {
        let jobs = store.jobs(&filter, &page).await.expect("listed");
        found += jobs.len() as u64;
        match jobs.last() {
            Some(last) if jobs.len() == 1_000 => page.after = Some(last.id.to_string()),
            _ => return found,
        }
    }
}

fn kind(kind: &str) -> NewJob {
    NewJob { kind: kind.to_owned(), ..testing::job() }
}

fn later(job: NewJob) -> NewJob {
    NewJob { run: RunAt::In(LONG), ..job }
}

fn named(n: usize, job: &NewJob) -> Vec<NewJob> {
    (0..n).map(|_| NewJob { id: testing::job_id(), ..job.clone() }).collect()
}

async fn enqueue(store: &StoreHandle, jobs: &[NewJob]) -> Vec<JobId> {
    store.enqueue(jobs).await.expect("enqueued");
    jobs.iter().map(|job| job.id).collect()
}

/// Jobs that have died, all by one worker.
async fn die(store: &TestStore, jobs: &[NewJob]) -> Vec<JobId> {
    let ids = enqueue(store, jobs).await;
    let worker = enter(store).await;
    let claimed = claim(store, worker, 1_000).await;
    let ours: Vec<_> = claimed.iter().filter(|job| ids.contains(&job.fence.job)).map(testing::dead).collect();
    complete(store, &ours).await;
    ids
}

async fn an_operation_cancels_what_waits_and_matches_and_nothing_else(store: TestStore) {
    enqueue(&store, &named(700, &kind("import_a"))).await;
    enqueue(&store, &named(500, &NewJob { queue: "mail".to_owned(), ..later(kind("import_b")) })).await;
    let others = enqueue(&store, &[kind("export"), NewJob { tenant: "other".to_owned(), ..kind("import_a") }]).await;
    let id = begin(&store, OperationVerb::Cancel, "kind:import_*").await;
    let mut sizes = Vec::new();
    while let Some(step) = store.step_operation(id, LONG).await.expect("a step") {
        sizes.push(step.done);
    }
    assert!(sizes.iter().all(|size| *size <= 500) && sizes.len() >= 3, "{sizes:?}");
    let seen = view(&store, id).await;
    assert_eq!((seen.state, seen.done, seen.failed, seen.skipped), (OperationState::Finished, 1_200, 0, 0));
    assert_eq!(all_in(&store, JobState::Cancelled).await, 1_200);
    assert_eq!(state(&store, others[0]).await, JobState::Queued);
    let foreign = store.job("other", others[1]).await.expect("asked").expect("there");
    assert_eq!(foreign.state, JobState::Queued, "another tenant's");
    assert_reconciled(&store).await;
}

async fn a_preview_counts_by_the_walk_that_the_steps_make(store: TestStore) {
    let ids = enqueue(&store, &named(7, &kind("import"))).await;
    enqueue(&store, &named(3, &kind("export"))).await;
    let preview = store.preview_operation(&selection(OperationVerb::Cancel, "kind:import")).await.expect("counted");
    assert_eq!((preview.matches, preview.more, preview.samples.len()), (7, false, 5));
    assert!(preview.samples.iter().all(|sample| ids.iter().any(|id| id.to_string() == *sample)));
    let nothing = store.preview_operation(&selection(OperationVerb::Discard, "kind:import")).await.expect("counted");
    assert_eq!((nothing.matches, nothing.samples.len()), (0, 0), "none of them is dead");
    assert_eq!(all_in(&store, JobState::Cancelled).await, 0, "a preview changes nothing");
}

async fn what_was_created_after_the_preview_is_not_touched(store: TestStore) {
    enqueue(&store, &named(3, &kind("import"))).await;
    let preview = store.preview_operation(&selection(OperationVerb::Cancel, "kind:import")).await.expect("counted");
    eventually("the clock", async || (store.now().await.expect("now") > preview.snapshot).then_some(())).await;
    let newer = enqueue(&store, &named(4, &kind("import"))).await;
    let mut operation = new(OperationVerb::Cancel, "kind:import");
    operation.selection.snapshot = Some(preview.snapshot);
    store.start_operation(&operation).await.expect("started");
    assert_eq!(run(&store, operation.id).await.done, 3);
    for id in newer {
        assert_eq!(state(&store, id).await, JobState::Queued);
    }
}

async fn what_a_worker_took_before_the_walk_came_is_left_alone(store: TestStore) {
    enqueue(&store, &named(5, &kind("work"))).await;
    let id = begin(&store, OperationVerb::Cancel, "kind:work").await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(run(&store, id).await.done, 3);
    for job in &claimed {
        assert_eq!(state(&store, job.fence.job).await, JobState::Running);
    }
    complete(&store, &claimed.iter().map(testing::done).collect::<Vec<_>>()).await;
    assert_reconciled(&store).await;
}

async fn what_changes_its_state_under_the_walk_is_met_once(store: TestStore) {
    let ids = enqueue(&store, &named(30, &later(kind("work")))).await;
    let mut operation = new(OperationVerb::Cancel, "kind:work");
    operation.rate = Some(10);
    operation.undo = Duration::ZERO;
    store.start_operation(&operation).await.expect("started");
    let step = store.step_operation(operation.id, LONG).await.expect("a step").expect("due");
    assert_eq!(step.done, 10);
    // All that are left run now: from the last state of the walk into the first.
    for id in &ids[10..] {
        store.retry_job(TENANT, *id, false).await.expect("let run");
    }
    let done = eventually("the end", async || {
        run(&store, operation.id).await;
        let seen = view(&store, operation.id).await;
        (seen.state == OperationState::Finished).then_some(seen.done)
    })
    .await;
    assert_eq!(done, 30);
}

async fn a_step_changes_no_more_than_the_rate_allows_and_the_next_is_not_due(store: TestStore) {
    enqueue(&store, &named(30, &kind("work"))).await;
    let operation = NewOperation { rate: Some(1), ..new(OperationVerb::Cancel, "kind:work") };
    store.start_operation(&operation).await.expect("started");
    let mut done = 0;
    // A second that was not used may be caught up on.
    while let Some(step) = store.step_operation(operation.id, LONG).await.expect("a step") {
        assert_eq!(step.done, 1);
        done += 1;
    }
    assert!((1..=3).contains(&done), "{done}");
    assert_eq!(view(&store, operation.id).await.state, OperationState::Running);
    assert!(store.due_operations(10).await.expect("asked").is_empty(), "its next step is not due");
}

async fn operations_have_their_steps_in_turn(store: TestStore) {
    enqueue(&store, &named(1_000, &kind("a"))).await;
    enqueue(&store, &named(1_000, &kind("b"))).await;
    let first = begin(&store, OperationVerb::Cancel, "kind:a").await;
    let second = begin(&store, OperationVerb::Cancel, "kind:b").await;
    let mut turns = Vec::new();
    for _ in 0..4 {
        let due = store.due_operations(1).await.expect("asked");
        turns.push(due[0].view.id);
        // The next instant: both would be due at the same one otherwise.
        let now = store.now().await.expect("now");
        store.step_operation(due[0].view.id, LONG).await.expect("a step").expect("due");
        eventually("the clock", async || (store.now().await.expect("now") > now).then_some(())).await;
    }
    assert_eq!(turns, [first, second, first, second]);
}

async fn an_undone_cancel_brings_jobs_back_as_they_were(store: TestStore) {
    let queued = enqueue(&store, &[kind("work")]).await[0];
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    complete(&store, &[testing::retry(&claimed[0], LONG)]).await;
    let ids = enqueue(&store, &[kind("work"), later(kind("work"))]).await;
    let before = [job(&store, queued).await, job(&store, ids[0]).await, job(&store, ids[1]).await];
    assert_eq!(before.each_ref().map(|job| job.state), [JobState::Retry, JobState::Queued, JobState::Scheduled]);
    let id = begin(&store, OperationVerb::Cancel, "kind:work").await;
    let ended = run(&store, id).await;
    assert_eq!((ended.done, ended.can_be_undone), (3, true));
    let cancelled = job(&store, queued).await;
    assert_eq!((cancelled.state, cancelled.error.as_deref()), (JobState::Cancelled, Some("wrong file")));
    let undoing = store.undo_operation(TENANT, id).await.expect("undone");
    assert_eq!((undoing.state, undoing.can_be_undone), (OperationState::Undoing, false));
    let mut published = 0;
    while let Some(step) = store.step_operation(id, LONG).await.expect("a step") {
        published += step.dispatched.dispatches.iter().map(|dispatch| dispatch.jobs.len()).sum::<usize>();
    }
    assert_eq!(published, 1, "the one that is queued again");
    let undone = view(&store, id).await;
    assert_eq!((undone.state, undone.undone, undone.undo_failed), (OperationState::Undone, 3, 0));
    let after = [job(&store, queued).await, job(&store, ids[0]).await, job(&store, ids[1]).await];
    assert_eq!(after, before);
    assert_eq!(store.undo_operation(TENANT, id).await.expect("again").state, OperationState::Undone);
    assert_reconciled(&store).await;
}

async fn what_has_happened_in_between_stays_and_is_counted(store: TestStore) {
    let unique = Unique { key: "one".to_owned(), hold: Hold::default(), conflict: OnConflict::Refuse };
    let single = NewJob { unique: Some(unique), ..kind("work") };
    let ids = enqueue(&store, &[single.clone(), kind("work"), kind("work")]).await;
    let id = begin(&store, OperationVerb::Cancel, "kind:work").await;
    assert_eq!(run(&store, id).await.done, 3);
    // The key is taken again, and one of the others is gone.
    let holder = enqueue(&store, &[NewJob { id: testing::job_id(), ..single }]).await[0];
    let retained = gristmill_store::Prune {
        noun: gristmill_store::PruneNoun::Jobs,
        batch: None,
        rows: vec![(ids[1].to_string(), job(&store, ids[1]).await.finished_at)],
        keys: Duration::ZERO,
    };
    store.prune(&retained).await.expect("pruned");
    store.undo_operation(TENANT, id).await.expect("undone");
    let undone = run(&store, id).await;
    assert_eq!((undone.undone, undone.undo_failed, undone.state), (1, 2, OperationState::Undone));
    assert!(undone.error.is_some());
    assert_eq!(state(&store, ids[0]).await, JobState::Cancelled);
    assert_eq!(state(&store, ids[2]).await, JobState::Queued);
    assert_eq!(state(&store, holder).await, JobState::Queued);
    assert_reconciled(&store).await;
}

async fn a_chunk_comes_back_into_its_batch_while_that_goes_on(store: TestStore) {
    let id = testing::sealed(&store, 4, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 1).await;
    let operation = begin(&store, OperationVerb::Cancel, &format!("batch:{id}")).await;
    assert_eq!(run(&store, operation).await.done, 3);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, counts(&seen.counts)), (BatchState::Sealed, 1, [40, 0, 0, 0, 30]));
    store.undo_operation(TENANT, operation).await.expect("undone");
    assert_eq!(run(&store, operation).await.undone, 3);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, counts(&seen.counts)), (BatchState::Sealed, 4, [40, 0, 0, 0, 0]));
    complete(&store, &[testing::chunk_done(&claimed[0], 10)]).await;
    assert_reconciled(&store).await;
}

async fn a_chunk_of_a_batch_that_is_over_stays_cancelled(store: TestStore) {
    let id = testing::sealed(&store, 3, 10).await;
    let operation = begin(&store, OperationVerb::Cancel, &format!("batch:{id}")).await;
    assert_eq!(run(&store, operation).await.done, 3);
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating, "nothing remains of it");
    store.undo_operation(TENANT, operation).await.expect("undone");
    let undone = run(&store, operation).await;
    assert_eq!((undone.undone, undone.undo_failed), (0, 3));
    assert!(undone.error.expect("why").contains("batch"));
    assert_reconciled(&store).await;
}

async fn a_discard_can_be_undone_until_it_deletes(store: TestStore) {
    let keyed = NewJob { idempotency_key: Some("k".to_owned()), ..kind("work") };
    let ids = die(&store, &[keyed.clone(), kind("work"), kind("email")]).await;
    let before = job(&store, ids[0]).await;
    let first = begin(&store, OperationVerb::Discard, "kind:work").await;
    assert_eq!(run(&store, first).await.done, 2);
    assert_eq!(all_in(&store, JobState::Dead).await, 1, "they are no dead letters any more");
    store.undo_operation(TENANT, first).await.expect("undone");
    assert_eq!(run(&store, first).await.undone, 2);
    assert_eq!(job(&store, ids[0]).await, before);
    let operation = NewOperation { undo: Duration::ZERO, ..new(OperationVerb::Discard, "kind:work") };
    store.start_operation(&operation).await.expect("started");
    let ended = run(&store, operation.id).await;
    assert_eq!((ended.done, ended.can_be_undone), (2, false));
    assert!(store.job(TENANT, ids[0]).await.expect("asked").is_none(), "deleted for good");
    assert_eq!(state(&store, ids[2]).await, JobState::Dead);
    let error = store.undo_operation(TENANT, operation.id).await.expect_err("too late");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("no more")), "{error}");
    let again = store.enqueue(&[NewJob { id: testing::job_id(), ..keyed }]).await.expect("asked");
    assert_eq!((again.jobs[0].id, again.jobs[0].created), (ids[0], false), "its key is kept as promised");
    assert_reconciled(&store).await;
}

async fn a_redrive_counts_those_that_are_refused(store: TestStore) {
    let unique = Unique { key: "one".to_owned(), hold: Hold::default(), conflict: OnConflict::Refuse };
    let single = NewJob { unique: Some(unique), ..kind("work") };
    let dead = die(&store, &[single.clone(), kind("work"), kind("work")]).await;
    let holder = enqueue(&store, &[NewJob { id: testing::job_id(), ..later(single) }]).await[0];
    let id = begin(&store, OperationVerb::Redrive, "kind:work").await;
    let ended = run(&store, id).await;
    assert_eq!((ended.done, ended.failed, ended.state), (2, 1, OperationState::Finished));
    assert!(ended.error.expect("why").contains(&holder.to_string()));
    assert_eq!(state(&store, dead[0]).await, JobState::Dead);
    assert_eq!(state(&store, dead[1]).await, JobState::Queued);
    assert!(!view(&store, id).await.can_be_undone);
    assert_reconciled(&store).await;
}

async fn an_operation_that_is_called_off_keeps_what_it_did_and_can_be_undone(store: TestStore) {
    enqueue(&store, &named(30, &kind("work"))).await;
    let operation = NewOperation { rate: Some(10), ..new(OperationVerb::Cancel, "kind:work") };
    store.start_operation(&operation).await.expect("started");
    let mut done = 0;
    while let Some(step) = store.step_operation(operation.id, LONG).await.expect("a step") {
        done += step.done;
    }
    let cancelled = store.cancel_operation(TENANT, operation.id).await.expect("called off");
    assert_eq!((cancelled.state, cancelled.done, cancelled.can_be_undone), (OperationState::Cancelled, done, true));
    assert_eq!(store.cancel_operation(TENANT, operation.id).await.expect("again").state, OperationState::Cancelled);
    assert!(store.step_operation(operation.id, LONG).await.expect("asked").is_none());
    assert_eq!(all_in(&store, JobState::Cancelled).await, done);
    store.undo_operation(TENANT, operation.id).await.expect("undone");
    eventually("the undo", async || (run(&store, operation.id).await.state == OperationState::Undone).then_some(()))
        .await;
    assert_eq!(all_in(&store, JobState::Queued).await, 30);
    assert_reconciled(&store).await;
}

async fn what_cannot_be_undone_or_cancelled_is_refused(store: TestStore) {
    let redrive = begin(&store, OperationVerb::Redrive, "kind:work").await;
    let error = store.undo_operation(TENANT, redrive).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("a redrive cannot")), "{error}");
    run(&store, redrive).await;
    let error = store.cancel_operation(TENANT, redrive).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("finished")), "{error}");
    let unknown = OperationId(Uuid::now_v7());
    assert!(matches!(store.cancel_operation(TENANT, unknown).await, Err(StoreError::NotFound(_))));
    assert!(store.step_operation(unknown, LONG).await.expect("asked").is_none());
}

async fn an_operation_is_started_once_under_its_id(store: TestStore) {
    let operation = new(OperationVerb::Cancel, "kind:work");
    let first = store.start_operation(&operation).await.expect("started");
    let again =
        store.start_operation(&NewOperation { reason: "another".to_owned(), ..operation }).await.expect("known");
    assert_eq!(again, first);
    let listed = store.operations(TENANT, &Page::default()).await.expect("listed");
    assert_eq!(listed, [first]);
}

async fn tenants_do_not_see_each_others_operations(store: TestStore) {
    enqueue(&store, &[NewJob { tenant: "other".to_owned(), ..kind("work") }]).await;
    let id = begin(&store, OperationVerb::Cancel, "kind:work").await;
    assert_eq!(run(&store, id).await.done, 0);
    assert!(store.operation("other", id).await.expect("asked").is_none());
    assert!(store.operations("other", &Page::default()).await.expect("asked").is_empty());
    assert!(matches!(store.cancel_operation("other", id).await, Err(StoreError::NotFound(_))));
    assert!(matches!(store.undo_operation("other", id).await, Err(StoreError::NotFound(_))));
}

async fn two_processes_do_each_job_once(store: TestStore) {
    enqueue(&store, &named(1_000, &kind("work"))).await;
    enqueue(&store, &named(1_000, &kind("work"))).await;
    let id = begin(&store, OperationVerb::Cancel, "kind:work").await;
    let second = store.second().await;
    let steps = async |store: &StoreHandle| {
        while view(store, id).await.state == OperationState::Running {
            store.step_operation(id, LONG).await.expect("a step");
        }
    };
    let first: &StoreHandle = &store;
    tokio::join!(steps(first), steps(&second));
    let ended = view(&store, id).await;
    assert_eq!((ended.done, ended.skipped), (2_000, 0));
    assert_eq!(all_in(&store, JobState::Cancelled).await, 2_000);
    assert_reconciled(&store).await;
}

async fn old_operations_are_removed_when_they_can_be_undone_no_more(store: TestStore) {
    enqueue(&store, &[kind("work")]).await;
    let kept = begin(&store, OperationVerb::Cancel, "kind:work").await;
    run(&store, kept).await;
    let over = NewOperation { undo: Duration::ZERO, ..new(OperationVerb::Cancel, "kind:none") };
    store.start_operation(&over).await.expect("started");
    run(&store, over.id).await;
    let running = begin(&store, OperationVerb::Redrive, "kind:none").await;
    let future = store.now().await.expect("now") + LONG;
    assert_eq!(store.prune_operations(future, 10).await.expect("pruned"), 1);
    let left: Vec<_> = store.operations(TENANT, &Page::default()).await.expect("listed");
    assert_eq!(left.iter().map(|one| one.id).collect::<Vec<_>>(), [running, kept]);
}

async fn what_makes_no_sense_is_refused(store: TestStore) {
    let odd = [
        new(OperationVerb::Cancel, ""),
        new(OperationVerb::Cancel, "state:running"),
        NewOperation { rate: Some(0), ..new(OperationVerb::Cancel, "kind:a") },
        NewOperation { reason: "  ".to_owned(), ..new(OperationVerb::Cancel, "kind:a") },
        NewOperation { undo: Duration::from_secs(8 * 86_400), ..new(OperationVerb::Cancel, "kind:a") },
    ];
    for operation in odd {
        let refused = store.start_operation(&operation).await;
        assert!(matches!(&refused, Err(StoreError::Invalid(_))), "{operation:?}: {refused:?}");
    }
    assert!(store.operations(TENANT, &Page::default()).await.expect("listed").is_empty());
}

/// A process may die at any moment of a step.
async fn a_step_that_breaks_off_neither_repeats_nor_skips_a_job(store: TestStore) {
    for _ in 0..9 {
        enqueue(&store, &named(1_000, &kind("work"))).await;
    }
    let operation = new(OperationVerb::Cancel, "kind:work");
    store.start_operation(&operation).await.expect("started");
    for polls in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233] {
        let mut step = pin!(store.step_operation(operation.id, LONG));
        for _ in 0..polls {
            if poll!(step.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let ended = eventually("the end", async || {
        let seen = run(&store, operation.id).await;
        (seen.state == OperationState::Finished).then_some(seen)
    })
    .await;
    assert_eq!((ended.done, ended.failed, ended.skipped), (9_000, 0, 0));
    assert_eq!(all_in(&store, JobState::Cancelled).await, 9_000);
    assert_reconciled(&store).await;
}
