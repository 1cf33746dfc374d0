//! Edits of a job that waits.

use std::time::Duration;

use gristmill_core::job::{JobState, NewJob, Priority, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_core::unique::{Hold, Unique};
use gristmill_store::testing::{self, TestStore, claim_as};
use gristmill_store::{Claim, ControlReport, JobFilter, Page, Result, StoreError};
use serde_json::json;

use crate::{TENANT, assert_reconciled, claim_one, complete, enter, job};

conformance! {
    a_job_that_waits_is_changed_and_dispatched_anew,
    a_job_is_snoozed_and_woken,
    a_job_that_does_not_wait_is_not_changed,
    an_edit_is_tied_to_what_was_read,
    the_payload_of_a_chunk_stays_and_its_priority_changes,
    a_message_of_the_queue_before_is_stale,
    what_no_store_can_keep_is_refused,
    an_edited_job_keeps_its_unique_key,
    a_rehearsed_edit_changes_nothing,
}

async fn edit(store: &TestStore, asked: &NewJob, edit: &JobEdit) -> Result<ControlReport> {
    store.edit_job(TENANT, asked.id, edit, false).await
}

fn to_queue(queue: &str) -> JobEdit {
    JobEdit { queue: Some(queue.to_owned()), ..JobEdit::default() }
}

fn to_run(run: RunAt) -> JobEdit {
    JobEdit { run: Some(run), ..JobEdit::default() }
}

async fn enqueued(store: &TestStore) -> NewJob {
    let asked = testing::job();
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    asked
}

async fn a_job_that_waits_is_changed_and_dispatched_anew(store: TestStore) {
    let asked = enqueued(&store).await;
    let raised = JobEdit { priority: Some(Priority::High), ..JobEdit::default() };
    let report = edit(&store, &asked, &raised).await.expect("edited");
    let dispatch = &report.dispatched.dispatches[0];
    assert_eq!((report.affected, dispatch.priority, &dispatch.jobs[..]), (1, Priority::High, &[asked.id][..]));
    let all = JobEdit { payload: Some(json!({ "to": ["é", null, 1.50] })), ..to_queue("slow") };
    let report = edit(&store, &asked, &all).await.expect("edited");
    assert_eq!((report.dispatched.dispatches[0].queue.as_str(), report.samples), ("slow", vec![asked.id.to_string()]));
    let seen = job(&store, asked.id).await;
    assert_eq!((seen.queue.as_str(), seen.priority, seen.state), ("slow", Priority::High, JobState::Queued));
    assert_eq!((seen.payload, seen.attempt), (json!({ "to": ["é", null, 1.50] }), 0));
    let queues = store.queues(TENANT).await.expect("listed");
    let waiting: Vec<_> = queues.iter().map(|queue| (queue.name.as_str(), queue.queued)).collect();
    assert_eq!(waiting, [("default", 0), ("slow", 1)]);
    let filter = JobFilter { tenant: TENANT.to_owned(), queue: Some("slow".to_owned()), ..JobFilter::default() };
    assert_eq!(store.jobs(&filter, &Page::default()).await.expect("listed").len(), 1);
    let payload = JobEdit { payload: Some(json!(7)), ..JobEdit::default() };
    let report = edit(&store, &asked, &payload).await.expect("edited");
    assert_eq!((report.affected, report.dispatched.dispatches.len()), (1, 0), "its message is as good as before");
    assert_eq!(edit(&store, &asked, &payload).await.expect("a no-op").affected, 0);
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    assert_eq!((claimed.payload, claimed.queue.as_str(), claimed.priority), (json!(7), "slow", Priority::High));
    assert_reconciled(&store).await;
}

async fn a_job_is_snoozed_and_woken(store: TestStore) {
    let asked = enqueued(&store).await;
    let report = edit(&store, &asked, &to_run(RunAt::In(crate::LONG))).await.expect("snoozed");
    assert_eq!((report.affected, report.dispatched.dispatches.len()), (1, 0));
    let seen = job(&store, asked.id).await;
    assert_eq!((seen.state, seen.run_at.is_some()), (JobState::Scheduled, true));
    let report = edit(&store, &asked, &to_run(RunAt::In(Duration::ZERO))).await.expect("woken");
    assert_eq!(report.dispatched.dispatches[0].jobs, [asked.id]);
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&claimed, crate::LONG)]).await;
    let at = store.now().await.expect("now") + Duration::from_secs(7_200);
    edit(&store, &asked, &to_run(RunAt::At(at))).await.expect("later");
    let seen = job(&store, asked.id).await;
    let micros = |at: gristmill_core::Instant| at.timestamp_micros();
    assert_eq!((seen.state, seen.run_at.map(micros)), (JobState::Retry, Some(micros(at))));
    edit(&store, &asked, &to_run(RunAt::Now)).await.expect("woken");
    edit(&store, &asked, &to_run(RunAt::In(crate::LONG))).await.expect("snoozed");
    assert_eq!(job(&store, asked.id).await.state, JobState::Retry, "it was tried before");
    edit(&store, &asked, &to_run(RunAt::At(at - Duration::from_secs(9_000)))).await.expect("a time that is over");
    assert_eq!(claim_one(&store, worker).await.fence.attempt, 2);
    assert_reconciled(&store).await;
}

async fn a_job_that_does_not_wait_is_not_changed(store: TestStore) {
    let asked = enqueued(&store).await;
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    let refused = async |state: &str| {
        let error = edit(&store, &asked, &to_queue("slow")).await.expect_err(state);
        assert!(matches!(&error, StoreError::Conflict(text) if text.contains(&format!("is {state}"))), "{error}");
    };
    refused("running").await;
    complete(&store, &[testing::dead(&claimed)]).await;
    refused("dead").await;
    let other = enqueued(&store).await;
    store.cancel_job(TENANT, other.id, "no", false).await.expect("cancelled");
    edit(&store, &other, &to_queue("slow")).await.expect_err("it is cancelled");
    let error = store.edit_job("other", asked.id, &to_queue("slow"), false).await.expect_err("of another tenant");
    assert!(matches!(error, StoreError::NotFound(_)), "{error}");
    assert_eq!(job(&store, asked.id).await.queue, "default");
}

async fn an_edit_is_tied_to_what_was_read(store: TestStore) {
    let asked = enqueued(&store).await;
    let edition = job(&store, asked.id).await.edition();
    let tied = |queue| JobEdit { edition: Some(edition.clone()), ..to_queue(queue) };
    edit(&store, &asked, &tied("slow")).await.expect("it is as it was read");
    let error = edit(&store, &asked, &tied("other")).await.expect_err("it is not any more");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("since it was read")), "{error}");
    assert_ne!(job(&store, asked.id).await.edition(), edition);
    edit(&store, &asked, &to_queue("default")).await.expect("back");
    assert_eq!(job(&store, asked.id).await.edition(), edition, "what counts is what it is");
}

async fn the_payload_of_a_chunk_stays_and_its_priority_changes(store: TestStore) {
    let id = testing::sealed(&store, 1, 10).await;
    let filter = JobFilter { tenant: TENANT.to_owned(), batch: Some(id), ..JobFilter::default() };
    let chunk = store.jobs(&filter, &Page::default()).await.expect("listed").remove(0).id;
    let payload = JobEdit { payload: Some(json!({})), ..JobEdit::default() };
    let error = store.edit_job(TENANT, chunk, &payload, false).await.expect_err("refused");
    assert!(matches!(&error, StoreError::Conflict(text) if text.contains("payload")), "{error}");
    let low = JobEdit { priority: Some(Priority::Low), ..to_queue("slow") };
    assert_eq!(store.edit_job(TENANT, chunk, &low, false).await.expect("edited").affected, 1);
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::chunk_done(&claimed, 10)]).await;
    assert_reconciled(&store).await;
}

async fn a_message_of_the_queue_before_is_stale(store: TestStore) {
    let asked = enqueued(&store).await;
    edit(&store, &asked, &to_queue("slow")).await.expect("edited");
    let worker = enter(&store).await;
    let of = |queue: &str| Claim { queues: vec![queue.to_owned()], ..claim_as(worker, 1) };
    let report = store.claim(&of("default"), &[asked.id]).await.expect("asked");
    assert_eq!((report.claimed.len(), &report.stale[..]), (0, &[asked.id][..]), "{report:?}");
    assert!(store.claim_next(&of("default")).await.expect("asked").is_empty());
    assert_eq!(store.claim(&of("slow"), &[asked.id]).await.expect("asked").claimed.len(), 1);
    let other = enqueued(&store).await;
    edit(&store, &other, &to_queue("slow")).await.expect("edited");
    assert_eq!(store.claim(&claim_as(worker, 1), &[other.id]).await.expect("asked").claimed.len(), 1, "it serves all");
    assert_reconciled(&store).await;
}

async fn what_no_store_can_keep_is_refused(store: TestStore) {
    let asked = enqueued(&store).await;
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    let payload = |payload| JobEdit { payload: Some(payload), ..JobEdit::default() };
    for wrong in [to_queue("a b"), to_queue(""), to_queue("dlq"), payload(deep), payload(json!("x".repeat(2_000_000)))]
    {
        let error = edit(&store, &asked, &wrong).await.expect_err("refused");
        assert!(matches!(error, StoreError::Invalid(_)), "{error}");
    }
    assert_eq!(job(&store, asked.id).await.queue, "default");
}

async fn an_edited_job_keeps_its_unique_key(store: TestStore) {
    let unique = |hold| NewJob { unique: Some(Unique::new("shop-7").hold(hold)), ..testing::job() };
    let asked = unique(Hold::Waiting);
    store.enqueue(std::slice::from_ref(&asked)).await.expect("enqueued");
    edit(&store, &asked, &to_run(RunAt::In(crate::LONG))).await.expect("snoozed");
    let second = store.enqueue(&[unique(Hold::Waiting)]).await.expect("asked").jobs[0];
    assert_eq!((second.id, second.created), (asked.id, false), "it holds its key while it waits");
    edit(&store, &asked, &to_run(RunAt::Now)).await.expect("woken");
    let worker = enter(&store).await;
    let claimed = claim_one(&store, worker).await;
    complete(&store, &[testing::retry(&claimed, Duration::ZERO)]).await;
    let other = store.enqueue(&[unique(Hold::Waiting)]).await.expect("asked").jobs[0];
    assert!(other.created, "what has begun holds it no more");
    edit(&store, &asked, &to_run(RunAt::In(crate::LONG))).await.expect("snoozed beside the new holder");
    assert_reconciled(&store).await;
}

async fn a_rehearsed_edit_changes_nothing(store: TestStore) {
    let asked = enqueued(&store).await;
    let report = store.edit_job(TENANT, asked.id, &to_queue("slow"), true).await.expect("rehearsed");
    assert_eq!((report.affected, report.dispatched.dispatches.len()), (1, 0));
    assert_eq!(job(&store, asked.id).await.queue, "default");
    assert_reconciled(&store).await;
}
