//! The worker in single steps, on SQLite.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::env::env;
use gristmill_core::job::JobState;
use gristmill_store::Claim;
use serde_json::json;

#[tokio::test]
async fn a_job_is_claimed_run_and_done() {
    let env = env().await;
    let id = env.enqueue("succeed", |_| {}).await;
    let mut worker = env.worker().await;
    assert_eq!(worker.step().await.expect("a step"), 1);
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Done, 1));
    assert_eq!(job.output, Some(json!({ "attempt": 1 })));
    assert_eq!(worker.step().await.expect("a step"), 0);
    assert_eq!(worker.report().settled, 1);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_may_succeed() {
    let env = env().await;
    let id = env.enqueue("fail once", |_| {}).await;
    let mut worker = env.worker().await;
    worker.step().await.expect("a step");
    assert_eq!(env.job(id).await.state, JobState::Retry);
    env.store.promote(10).await.expect("promoted");
    worker.step().await.expect("a step");
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Done, 2));
    assert_eq!(job.attempts[0].error.as_deref(), Some("it does not work yet"));
}

#[tokio::test]
async fn the_last_failure_makes_a_dead_letter() {
    let env = env().await;
    let id = env.enqueue("fail", |job| job.max_attempts = 2).await;
    let mut worker = env.worker().await;
    worker.step().await.expect("a step");
    env.store.promote(10).await.expect("promoted");
    worker.step().await.expect("a step");
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Dead, 2));
    assert_eq!(job.error.as_deref(), Some("it does not work"));
}

#[tokio::test]
async fn a_permanent_error_is_not_tried_again() {
    let env = env().await;
    let id = env.enqueue("give up", |_| {}).await;
    env.worker().await.step().await.expect("a step");
    assert_eq!(env.job(id).await.state, JobState::Dead);
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_the_worker_goes_on() {
    let env = env().await;
    let broken = env.enqueue("panic", |job| job.max_attempts = 1).await;
    let innocent = env.enqueue("succeed", |_| {}).await;
    let mut worker = env.worker().await;
    assert_eq!(worker.step().await.expect("a step"), 2);
    let job = env.job(broken).await;
    assert_eq!(job.state, JobState::Dead);
    assert_eq!(job.error.as_deref(), Some("the handler panicked: the handler broke at line 42"));
    assert_eq!(job.attempts[0].ending, "panicked");
    assert_eq!(env.job(innocent).await.state, JobState::Done);
}

#[tokio::test]
async fn an_attempt_over_its_timeout_ends_and_the_handler_is_notified() {
    let env = env().await;
    let id = env.enqueue("hang", |job| job.timeout = Duration::from_millis(20)).await;
    env.worker().await.step().await.expect("a step");
    let job = env.job(id).await;
    assert_eq!(job.state, JobState::Retry);
    assert_eq!(job.attempts[0].ending, "timed_out");
    let notified = async {
        while env.hand.cancelled.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), notified).await.expect("the cancel token fires");
}

#[tokio::test]
async fn no_more_jobs_are_claimed_than_there_are_slots() {
    let env = env().await;
    for _ in 0..5 {
        env.enqueue("succeed", |_| {}).await;
    }
    let mut options = env.options();
    options.settings.slots = 2;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("a worker");
    let mut steps = Vec::new();
    for _ in 0..4 {
        steps.push(worker.step().await.expect("a step"));
    }
    assert_eq!(steps, [2, 2, 1, 0]);
}

#[tokio::test]
async fn a_kind_without_a_handler_is_left_alone() {
    let env = env().await;
    let id = env.enqueue("succeed", |job| job.kind = "unknown".to_owned()).await;
    assert_eq!(env.worker().await.step().await.expect("a step"), 0);
    assert_eq!(env.job(id).await.state, JobState::Queued);
}

#[tokio::test]
async fn a_lost_lease_fences_what_ran_and_begins_a_new_incarnation() {
    let env = env().await;
    let id = env.enqueue("succeed", |_| {}).await;
    let mut options = env.options();
    options.settings.lease.0 = Duration::from_millis(40);
    options.settings.beat.0 = Duration::from_millis(10);
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("a worker");
    let before = worker.id();
    let claimed = worker.claim().await.expect("claimed");
    // The scheduler rescues as soon as the database says that the lease is over.
    let lost = async {
        while env.store.rescue(10).await.expect("rescued").requeued == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), lost).await.expect("the lease runs out");

    worker.work(claimed).await;
    assert_eq!((worker.report().settled, worker.report().fenced), (0, 1));
    assert_eq!(env.job(id).await.state, JobState::Queued, "the zombie changed nothing");

    assert!(!worker.beat().await.expect("the store answers"), "the beat finds out");
    assert_ne!(worker.id(), before);
    worker.step().await.expect("a step");
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Done, 2));
}

#[tokio::test]
async fn a_job_cancelled_while_it_runs_stays_cancelled() {
    let env = env().await;
    let id = env.enqueue("succeed", |_| {}).await;
    let mut worker = env.worker().await;
    let claimed = worker.claim().await.expect("claimed");
    let tenant = gristmill_core::id::DEFAULT_TENANT;
    env.store.cancel_job(tenant, id, "nobody wants it", false).await.expect("cancelled");
    worker.work(claimed).await;
    assert_eq!(worker.report().fenced, 1);
    assert_eq!(env.job(id).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn a_worker_that_retires_gives_back_what_it_never_ran() {
    let env = env().await;
    let id = env.enqueue("succeed", |_| {}).await;
    let mut worker = env.worker().await;
    assert_eq!(worker.claim().await.expect("claimed").len(), 1);
    assert_eq!(env.job(id).await.state, JobState::Running);
    worker.retire().await.expect("retired");
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0), "the attempt is given back");
}

#[tokio::test]
async fn a_job_whose_claim_was_lost_runs_at_once_and_what_is_held_goes_on() {
    let env = env().await;
    let held = env.enqueue("succeed", |job| job.timeout = Duration::from_secs(900)).await;
    let mut worker = env.worker().await;
    let working = worker.claim().await.expect("claimed");
    let lost = env.enqueue("succeed", |job| job.timeout = Duration::from_secs(900)).await;
    // What a claim leaves behind when its connection breaks after the commit: the store has it, the worker has an
    // error.
    let claim = Claim { worker: worker.id(), queues: Vec::new(), kinds: vec!["told".to_owned()], limit: 10 };
    assert_eq!(env.store.claim_next(&claim).await.expect("claimed").len(), 1);
    env.home.tamper("ALTER TABLE queue_count RENAME TO out_of_reach").await;
    worker.step().await.expect_err("the worker's own claim fails");
    worker.step().await.expect_err("and nothing can be released yet");
    env.home.tamper("ALTER TABLE out_of_reach RENAME TO queue_count").await;

    assert_eq!(worker.step().await.expect("a step"), 1);
    let job = env.job(lost).await;
    assert_eq!((job.state, job.attempt), (JobState::Done, 1), "long before its deadline, and no attempt was spent");
    assert_eq!(job.attempts[0].ending, "interrupted", "what happened can be seen");
    assert_eq!(env.job(held).await.state, JobState::Running, "somebody runs it");
    worker.work(working).await;
    assert_eq!(env.job(held).await.state, JobState::Done);
    assert_eq!((worker.report().settled, worker.report().fenced), (2, 0));
}
