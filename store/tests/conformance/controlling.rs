//! What an operator pauses, resumes and cancels.

use std::time::Duration;

use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::job::{JobState, NewJob, RunAt};
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{BatchEnd, Completion, Pause, Restart, StoreError};
use serde_json::json;

use crate::{TENANT, aggregates, assert_reconciled, batch, claim, claim_one, complete, counts, enter, job, state};

conformance! {
    a_cancelled_batch_ends_at_once_without_an_aggregate,
    a_batch_that_has_ended_cannot_be_cancelled,
    a_halted_batch_cancels_its_chunks_and_aggregates,
    halting_twice_or_too_late_does_nothing,
    a_judgement_of_the_generation_before_does_not_halt_a_batch_that_was_restarted,
    chunks_of_a_batch_that_halts_while_it_is_planned_are_cancelled,
    a_cancelled_job_says_why,
    a_job_that_has_ended_cannot_be_cancelled,
    an_aggregate_cannot_be_cancelled_alone,
    a_waiting_job_can_be_told_to_run_now,
    a_dead_letter_is_not_retried_but_redriven,
    a_paused_queue_keeps_what_it_has_and_resuming_dispatches_it,
    a_pause_says_by_whom_since_when_and_why,
    a_batch_that_ended_while_it_was_paused_sends_its_effects_when_it_is_resumed,
    a_dry_run_changes_nothing,
    what_belongs_to_another_tenant_is_not_found,
    a_queue_that_was_never_paused_cannot_be_resumed,
    a_resume_dispatches_what_nothing_else_holds,
}

async fn a_cancelled_batch_ends_at_once_without_an_aggregate(store: TestStore) {
    let id = testing::sealed(&store, 4, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::chunk_done(&claimed[0], 10)]).await;
    let control_report = store.cancel_batch(TENANT, id, "not today \u{0}", false).await.expect("cancelled");
    assert_eq!((control_report.affected, control_report.samples.len()), (3, 3));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining, counts(&seen.counts)), (BatchState::Cancelled, 0, [40, 10, 0, 0, 30]));
    assert_eq!(seen.reason.as_deref(), Some("not today \u{FFFD}"));
    assert!(seen.finished_at.is_some());
    assert_eq!(aggregates(&store, id).await, 0);
    let report = store.complete(&[testing::chunk_done(&claimed[1], 10)]).await.expect("asked");
    assert_eq!(report.fenced.len(), 1, "what still ran comes too late");
    assert_eq!(store.cancel_batch(TENANT, id, "again", false).await.expect("a no-op").affected, 0);
    assert_reconciled(&store).await;
}

async fn a_batch_that_has_ended_cannot_be_cancelled(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Complete, result: json!({}), reason: None };
    complete(&store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    let error = store.cancel_batch(TENANT, id, "too late", false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("complete")), "{error}");
    let error = store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect_err("refused");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn a_halted_batch_cancels_its_chunks_and_aggregates(store: TestStore) {
    let id = testing::sealed(&store, 4, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::dead(&claimed[0])]).await;
    let control_report = store.halt_batch(id, 0, "over its budget").await.expect("halted");
    assert_eq!(
        (control_report.affected, control_report.dispatched.dispatches.len()),
        (3, 1),
        "the aggregate is on the way"
    );
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, counts(&seen.counts)), (BatchState::Aggregating, [40, 0, 0, 10, 30]));
    let aggregate = claim_one(&store, worker).await;
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Halted, result: json!({}), reason: None };
    complete(&store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.reason.as_deref()), (BatchState::Halted, Some("over its budget")));
    assert_reconciled(&store).await;
}

async fn halting_twice_or_too_late_does_nothing(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    assert_eq!(store.halt_batch(id, 0, "once").await.expect("halted").affected, 1);
    assert_eq!(store.halt_batch(id, 0, "twice").await.expect("a no-op").affected, 0);
    assert_eq!((aggregates(&store, id).await, batch(&store, id).await.reason.as_deref()), (1, Some("once")));
    let error = store.halt_batch(testing::batch().id, 0, "nobody").await.expect_err("refused");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
}

async fn a_judgement_of_the_generation_before_does_not_halt_a_batch_that_was_restarted(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let worker = enter(&store).await;
    let claimed = claim(&store, worker, 2).await;
    complete(&store, &[testing::dead(&claimed[0])]).await;
    assert_eq!(store.halt_batch(id, 0, "over its budget").await.expect("halted").affected, 1);
    let aggregate = claim_one(&store, worker).await;
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Halted, result: json!({}), reason: None };
    complete(&store, &[Completion { batch_end: Some(end), ..testing::done(&aggregate) }]).await;
    let forgiven = Restart { batch: id, failure_budget: Some(FailureBudget::Count(100)), dead: false };
    assert_eq!(store.restart_batch(TENANT, &forgiven, false).await.expect("restarted").generation, Some(1));
    // The worker that completed the dead chunk had read the earlier budget, and halts the batch only now.
    assert_eq!(store.halt_batch(id, 0, "over its budget").await.expect("a no-op").affected, 0);
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.remaining), (BatchState::Sealed, 1), "it goes on");
    assert_eq!(store.halt_batch(id, 1, "over the new one").await.expect("halted").affected, 1);
    assert_eq!(batch(&store, id).await.state, BatchState::Aggregating);
    assert_reconciled(&store).await;
}

async fn chunks_of_a_batch_that_halts_while_it_is_planned_are_cancelled(store: TestStore) {
    let new = testing::batch();
    store.create_batch(&new).await.expect("created");
    store.add_chunks(new.id, &testing::chunks(2, 10)).await.expect("added");
    assert_eq!(store.halt_batch(new.id, 0, "over").await.expect("halted").affected, 2);
    // The planner need not know.
    let added = store.add_chunks(new.id, &[testing::chunk(2, 10)]).await.expect("added");
    assert!(added.dispatches.is_empty());
    let seen = batch(&store, new.id).await;
    assert_eq!(
        (seen.state, seen.chunks, seen.remaining, counts(&seen.counts)),
        (BatchState::Open, 3, 0, [30, 0, 0, 0, 30])
    );
    store.seal(new.id).await.expect("sealed");
    assert_eq!(batch(&store, new.id).await.state, BatchState::Aggregating);
    assert_reconciled(&store).await;
}

async fn a_cancelled_job_says_why(store: TestStore) {
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    let control_report = store.cancel_job(TENANT, asked.id, "no need", false).await.expect("cancelled");
    assert_eq!((control_report.affected, control_report.samples), (1, vec![asked.id.to_string()]));
    let seen = job(&store, asked.id).await;
    assert_eq!((seen.state, seen.error.as_deref()), (JobState::Cancelled, Some("no need")));
    assert!(seen.finished_at.is_some());
    assert_eq!(store.cancel_job(TENANT, asked.id, "again", false).await.expect("a no-op").affected, 0);
    assert_reconciled(&store).await;
}

async fn a_job_that_has_ended_cannot_be_cancelled(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::done(&claimed)]).await;
    let error = store.cancel_job(TENANT, claimed.fence.job, "too late", false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("done")), "{error}");
}

async fn an_aggregate_cannot_be_cancelled_alone(store: TestStore) {
    testing::sealed(&store, 0, 0).await;
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    let error = store.cancel_job(TENANT, aggregate.fence.job, "no", false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("cancel the batch")), "{error}");
}

async fn a_waiting_job_can_be_told_to_run_now(store: TestStore) {
    let mut later = testing::job();
    later.run = RunAt::In(Duration::from_secs(600));
    store.enqueue(std::slice::from_ref(&later)).await.expect("enqueued");
    let control_report = store.retry_job(TENANT, later.id, false).await.expect("told");
    assert_eq!((control_report.affected, &control_report.dispatched.dispatches[0].jobs[..]), (1, &[later.id][..]));
    assert_eq!(store.retry_job(TENANT, later.id, false).await.expect("a no-op").affected, 0);
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let error = store.retry_job(TENANT, later.id, false).await.expect_err("it runs");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    complete(&store, &[testing::retry(&claimed, Duration::from_secs(600))]).await;
    store.retry_job(TENANT, later.id, false).await.expect("told");
    assert_eq!(claim_one(&store, worker).await.fence.attempt, 2);
    assert_reconciled(&store).await;
}

async fn a_dead_letter_is_not_retried_but_redriven(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::dead(&claimed)]).await;
    let error = store.retry_job(TENANT, claimed.fence.job, false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("redrive")), "{error}");
}

async fn a_batch_that_ended_while_it_was_paused_sends_its_effects_when_it_is_resumed(store: TestStore) {
    let id = testing::sealed(&store, 0, 0).await;
    let worker = enter(&store).await;
    let aggregate = claim_one(&store, worker).await;
    store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect("paused while its aggregate runs");
    let callback = NewJob { batch: Some(id), ..testing::job() };
    let end = BatchEnd { batch: id, generation: 0, state: BatchState::Complete, result: json!({}), reason: None };
    let ended = Completion { batch_end: Some(end), follow: vec![callback.clone()], ..testing::done(&aggregate) };
    complete(&store, &[ended]).await;
    assert_eq!(batch(&store, id).await.state, BatchState::Complete);
    assert!(claim(&store, worker, 1).await.is_empty(), "it is paused");
    let resumed = store.pause_batch(TENANT, id, None, false).await.expect("resumed although it has ended");
    assert_eq!(resumed.dispatched.dispatches[0].jobs, [callback.id]);
    assert_eq!(claim_one(&store, worker).await.fence.job, callback.id);
    let error = store.pause_batch(TENANT, id, None, false).await.expect_err("there is nothing left to resume");
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

async fn a_paused_queue_keeps_what_it_has_and_resuming_dispatches_it(store: TestStore) {
    store.enqueue(&testing::jobs(7)).await.expect("enqueued");
    let paused = store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    assert_eq!((paused.affected, paused.samples.len(), paused.dispatched.dispatches.len()), (7, 5, 0));
    assert_eq!(
        store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("a no-op").affected,
        0
    );
    assert!(store.queues(TENANT).await.expect("listed")[0].paused);
    let resumed = store.pause_queue(TENANT, "default", None, false).await.expect("resumed");
    assert_eq!((resumed.affected, resumed.dispatched.dispatches[0].jobs.len()), (7, 7));
    store
        .pause_queue(TENANT, "not used yet", Some(&Pause::default()), false)
        .await
        .expect("paused before its first job");
    let queues = store.queues(TENANT).await.expect("listed");
    assert_eq!(
        queues.iter().map(|queue| (queue.name.as_str(), queue.paused)).collect::<Vec<_>>(),
        [("default", false), ("not used yet", true)]
    );
    assert_reconciled(&store).await;
}

async fn a_dry_run_changes_nothing(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let mut later = testing::job();
    later.run = RunAt::In(Duration::from_secs(600));
    store.enqueue(std::slice::from_ref(&later)).await.expect("enqueued");
    assert_eq!(store.cancel_batch(TENANT, id, "no", true).await.expect("asked").affected, 2);
    assert_eq!(store.pause_batch(TENANT, id, Some(&Pause::default()), true).await.expect("asked").affected, 2);
    assert_eq!(store.pause_queue(TENANT, "default", Some(&Pause::default()), true).await.expect("asked").affected, 2);
    assert_eq!(store.cancel_job(TENANT, later.id, "no", true).await.expect("asked").affected, 1);
    let told = store.retry_job(TENANT, later.id, true).await.expect("asked");
    assert_eq!((told.affected, told.dispatched.dispatches.len()), (1, 0));
    let seen = batch(&store, id).await;
    assert_eq!((seen.state, seen.paused, seen.remaining), (BatchState::Sealed, false, 2));
    assert_eq!(state(&store, later.id).await, JobState::Scheduled);
    assert!(!store.queues(TENANT).await.expect("listed")[0].paused);
    assert_reconciled(&store).await;
}

async fn what_belongs_to_another_tenant_is_not_found(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    for error in [
        store.cancel_batch("other", id, "no", false).await.expect_err("refused"),
        store.pause_batch("other", id, Some(&Pause::default()), false).await.expect_err("refused"),
        store.cancel_job("other", asked.id, "no", false).await.expect_err("refused"),
        store.retry_job("other", asked.id, false).await.expect_err("refused"),
    ] {
        assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    }
    assert!(store.batch("other", id).await.expect("asked").is_none());
    assert!(store.queues("other").await.expect("listed").is_empty());
    store.pause_queue("other", "default", Some(&Pause::default()), false).await.expect("their own queue of that name");
    let worker = enter(&store).await;
    assert_eq!(claim(&store, worker, 10).await.len(), 2, "ours goes on");
}

async fn a_pause_says_by_whom_since_when_and_why(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let of_queue = async || {
        let queues = store.queues(TENANT).await.expect("listed");
        queues.into_iter().find(|queue| queue.name == "default").expect("it is there").pause
    };
    assert_eq!((of_queue().await, batch(&store, id).await.pause), (None, None));
    let before = store.now().await.expect("asked");
    let first = Pause { by: Some("ann@desk".to_owned()), reason: Some("nul \0".to_owned() + &"x".repeat(2_000)) };
    let second = Pause { by: Some("bob@desk".to_owned()), reason: None };
    for pause in [&first, &second] {
        store.pause_queue(TENANT, "default", Some(pause), false).await.expect("paused");
        store.pause_batch(TENANT, id, Some(pause), false).await.expect("paused");
    }
    let kept = format!("nul \u{FFFD}{}", "x".repeat(995));
    for seen in [of_queue().await, batch(&store, id).await.pause] {
        let seen = seen.expect("it is paused");
        assert!(seen.since >= before && seen.since <= store.now().await.expect("asked"));
        assert_eq!((seen.by.as_deref(), seen.reason.as_ref()), (Some("ann@desk"), Some(&kept)), "the first counts");
    }
    store.pause_queue(TENANT, "default", None, false).await.expect("resumed");
    store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    assert_eq!((of_queue().await, batch(&store, id).await.pause), (None, None));
    store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect("paused by nobody in particular");
    let seen = batch(&store, id).await.pause.expect("it is paused");
    assert_eq!((seen.by, seen.reason), (None, None));
    store.cancel_batch(TENANT, id, "enough", false).await.expect("cancelled");
    let seen = batch(&store, id).await;
    assert_eq!((seen.paused, seen.pause), (false, None));
}

async fn a_queue_that_was_never_paused_cannot_be_resumed(store: TestStore) {
    store.enqueue(&[testing::job()]).await.expect("enqueued");
    for queue in ["default", "nobody's"] {
        let control_report = store.pause_queue(TENANT, queue, None, false).await.expect("nothing to do");
        assert_eq!(control_report, Default::default());
    }
    let queues = store.queues(TENANT).await.expect("listed");
    assert_eq!(queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["default"]);
}

async fn a_resume_dispatches_what_nothing_else_holds(store: TestStore) {
    let id = testing::sealed(&store, 2, 10).await;
    let alone = testing::job();
    store.enqueue(std::slice::from_ref(&alone)).await.expect("enqueued");
    store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    store.pause_batch(TENANT, id, Some(&Pause::default()), false).await.expect("paused");
    let queue = store.pause_queue(TENANT, "default", None, false).await.expect("resumed");
    assert_eq!((queue.affected, queue.samples), (3, vec![alone.id.to_string()]));
    assert_eq!(queue.dispatched.dispatches.iter().flat_map(|one| one.jobs.clone()).collect::<Vec<_>>(), [alone.id]);
    store.pause_queue(TENANT, "default", Some(&Pause::default()), false).await.expect("paused");
    let held = store.pause_batch(TENANT, id, None, false).await.expect("resumed");
    assert_eq!((held.affected, held.dispatched.dispatches), (2, Vec::new()));
    let queue = store.pause_queue(TENANT, "default", None, false).await.expect("resumed");
    assert_eq!(queue.dispatched.dispatches.iter().map(|one| one.jobs.len()).sum::<usize>(), 3);
}
