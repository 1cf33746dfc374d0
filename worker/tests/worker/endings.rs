//! Attempts that end neither well nor badly: snoozed, cancelled, stopped while they listen.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_broker::Broker;
use gristmill_core::id::DEFAULT_TENANT;
use gristmill_core::job::JobState;
use gristmill_store::testing::TestStore;

use crate::env::{TestEnv, env, ground_on};
use crate::loops::{Process, begun};

#[tokio::test]
async fn a_snooze_spends_no_attempt_until_the_ceiling_and_says_so_then() {
    let env = env().await;
    let id = env.enqueue("snooze", |job| (job.max_attempts, job.max_snoozes) = (2, 2)).await;
    let mut worker = env.worker().await;
    let mut states = Vec::new();
    for _ in 0..4 {
        env.home.tamper("UPDATE job SET run_at = created_at WHERE state = 'retry'").await;
        env.store.promote(10).await.expect("promoted");
        assert_eq!(worker.step().await.expect("a step"), 1);
        let job = env.job(id).await;
        states.push((job.state, job.attempt, job.max_attempts, job.snoozes));
    }
    use JobState::{Dead, Retry};
    assert_eq!(states, [(Retry, 1, 3, 1), (Retry, 2, 4, 2), (Retry, 3, 4, 2), (Dead, 4, 4, 2)]);
    let job = env.job(id).await;
    let endings: Vec<&str> = job.attempts.iter().map(|attempt| attempt.ending.as_str()).collect();
    assert_eq!(endings, ["snoozed", "snoozed", "failed", "failed"]);
    assert_eq!(job.attempts[0].error.as_deref(), Some("the shop is closed"));
    let error = job.error.expect("it says why");
    assert!(error.contains("snoozed 2 times already") && error.contains("the shop is closed"), "{error}");
}

#[tokio::test]
async fn what_is_taken_away_is_called_off_and_nothing_of_it_is_written() {
    let env = env().await;
    let (mine, other) = (env.enqueue("hang", |_| {}).await, env.enqueue("succeed", |_| {}).await);
    let mut worker = env.worker().await;
    let claimed = worker.claim().await.expect("claimed");
    assert_eq!(worker.poll().await.expect("asked"), 0);
    env.store.cancel_job(DEFAULT_TENANT, mine, "nobody wants it", false).await.expect("cancelled");
    assert_eq!(worker.poll().await.expect("asked"), 1);
    assert_eq!(worker.poll().await.expect("asked"), 0, "it has heard of it");
    // It would hang for ever if it had not been called off.
    worker.work(claimed).await;
    assert_eq!((worker.report().settled, worker.report().fenced), (1, 1));
    assert_eq!(env.job(other).await.state, JobState::Done);
    let job = env.job(mine).await;
    assert_eq!((job.state, job.error.as_deref()), (JobState::Cancelled, Some("nobody wants it")));
    assert_eq!((job.attempts.len(), job.attempts[0].ending.as_str()), (1, "cancelled"));
}

async fn a_cancel_ends_what_runs(env: TestEnv) {
    let id = env.enqueue("hang", |_| {}).await;
    let mut options = env.options();
    // One slot, and no beat that would notice: only the hint does, and only an end frees the slot.
    options.settings.slots = 1;
    options.settings.lease.0 = Duration::from_secs(1_000);
    options.settings.beat.0 = Duration::from_secs(400);
    let process = Process::start(options);
    begun(&env, 1).await;
    env.store.cancel_job(DEFAULT_TENANT, id, "nobody wants it", false).await.expect("cancelled");
    let next = env.enqueue("succeed", |_| {}).await;
    env.until(next, JobState::Done).await;
    assert_eq!(env.hand.cancelled.load(Ordering::SeqCst).min(1), 1, "the handler was told");
    let report = process.stop().await;
    assert_eq!((report.settled, report.fenced), (1, 1));
    assert_eq!(env.job(id).await.state, JobState::Cancelled);
}

async fn in_process() -> Broker {
    Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_a_cancel_ends_what_runs_at_once() {
    a_cancel_ends_what_runs(env().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_a_cancel_ends_what_runs_at_once() {
    a_cancel_ends_what_runs(ground_on(TestStore::postgres(false).await, in_process().await, 20_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_a_cancelled_batch_frees_the_slots_of_its_worker() {
    let env = ground_on(TestStore::postgres(false).await, in_process().await, 20_000);
    let batch = gristmill_store::testing::sealed(&env.store, 2, 10).await;
    let mut options = env.options();
    options.registry.insert("chunk", env.hanging());
    options.settings.slots = 2;
    options.settings.lease.0 = Duration::from_secs(1_000);
    options.settings.beat.0 = Duration::from_secs(400);
    let process = Process::start(options);
    begun(&env, 2).await;
    env.store.cancel_batch(DEFAULT_TENANT, batch, "wrong file", false).await.expect("cancelled");
    let next = env.enqueue("succeed", |_| {}).await;
    env.until(next, JobState::Done).await;
    assert_eq!(process.stop().await.fenced, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_listens_to_its_token_does_not_spend_the_attempt_at_a_stop() {
    let env = env().await;
    let id = env.enqueue("listen", |job| job.max_attempts = 1).await;
    let mut options = env.options();
    options.settings.drain.0 = Duration::from_millis(20);
    let process = Process::start(options);
    begun(&env, 1).await;
    assert_eq!(process.stop().await.released, 1);
    let job = env.job(id).await;
    assert_eq!((job.state, job.attempt, job.attempts[0].ending.as_str()), (JobState::Queued, 0, "interrupted"));
}
