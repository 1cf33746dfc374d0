//! What no worker can act upon is kept before it is acknowledged; what comes a thousand times runs once.

use std::sync::atomic::Ordering;

use gristmill_broker::testing::{Admin, PATIENCE};
use gristmill_broker::{Health, Message};
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Priority};
use gristmill_store::{Page, PoisonView};
use gristmill_worker::Worker;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::env::TestEnv;
use crate::messages::{ground_over, until};

async fn kept(env: &TestEnv) -> Vec<PoisonView> {
    env.store.poison(&Page::default()).await.expect("listed")
}

/// Steps until the condition holds.
async fn step_until(worker: &mut Worker, env: &TestEnv, what: &str, enough: impl AsyncFn(&TestEnv) -> bool) {
    let deadline = Instant::now() + 4 * PATIENCE;
    while !enough(env).await {
        assert!(Instant::now() < deadline, "it never came to that: {what}");
        worker.step().await.expect("a step");
    }
}

async fn until_empty(admin: &Admin, worker: &mut Worker, queue: &str) {
    let deadline = Instant::now() + 4 * PATIENCE;
    while admin.depth(queue).await != Some(0) {
        assert!(Instant::now() < deadline, "{queue} is never empty");
        worker.step().await.expect("a step");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_kept_with_its_headers_and_does_not_block_the_queue() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let mut worker = env.worker().await;
    let (admin, priority) = (namespace.admin().await, namespace.priority("default", Priority::Normal));
    admin.put(&priority, b"\xff no message at all", &[("from", "billing")]).await;
    admin.put(&priority, br#"{"v":2,"jobs":[]}"#, &[]).await;
    admin.put(&priority, &Message::new(JobId(Uuid::now_v7()), "default").encode(), &[]).await;
    let id = env.enqueue("succeed", |_| {}).await;
    step_until(&mut worker, &env, "three are kept", async |env| kept(env).await.len() == 3).await;
    step_until(&mut worker, &env, "the job is done", async |g| g.job(id).await.state == JobState::Done).await;

    let found = kept(&env).await;
    let reasons: Vec<&str> = found.iter().rev().map(|one| one.reason.as_str()).collect();
    assert!(reasons.contains(&"it has version 2, and this program reads version 1"), "{reasons:?}");
    assert!(reasons.contains(&"no job has this id"), "{reasons:?}");
    let garbage = found.iter().find(|one| one.size == 19).expect("the garbage is kept");
    assert!(garbage.reason.starts_with("it is no message:"), "{}", garbage.reason);
    assert_eq!((garbage.queue.as_str(), garbage.source.as_str(), garbage.seen), ("default", "worker", 1));
    let whole = env.store.poison_message(garbage.id).await.expect("asked").expect("it is there");
    assert_eq!(whole.bytes, b"\xff no message at all");
    assert_eq!(whole.headers["headers"], json!({ "from": "billing" }));
    until_empty(&admin, &mut worker, &priority).await;
    worker.retire().await.expect("retired");
    assert_eq!(admin.depth(&priority).await, Some(0), "all of them were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_that_the_store_cannot_keep_is_not_acknowledged() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let mut worker = env.worker().await;
    let (admin, priority) = (namespace.admin().await, namespace.priority("default", Priority::Normal));
    env.home.tamper("ALTER TABLE poison RENAME TO elsewhere").await;
    admin.put(&priority, b"no message at all", &[]).await;
    // It comes later through the same priority: when it is done, the worker has met the poison.
    let id = env.enqueue("succeed", |_| {}).await;
    step_until(&mut worker, &env, "the job is done", async |g| g.job(id).await.state == JobState::Done).await;
    worker.retire().await.expect("retired");
    env.home.tamper("ALTER TABLE elsewhere RENAME TO poison").await;
    assert_eq!(kept(&env).await.len(), 0);

    let mut next = env.worker().await;
    step_until(&mut next, &env, "it came again and is kept", async |g| kept(g).await.len() == 1).await;
    until_empty(&admin, &mut next, &priority).await;
    next.retire().await.expect("retired");
    assert_eq!((admin.depth(&priority).await, kept(&env).await.len()), (Some(0), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_message_comes_a_thousand_times_runs_once() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let id = env.enqueue("succeed", |_| {}).await;
    let row = Dispatch {
        outbox: 0,
        queue: "default".to_owned(),
        priority: Priority::Normal,
        purpose: Purpose::Dispatch,
        jobs: vec![id; 1_000],
    };
    env.dispatcher.broker().publish(&[row]).await.expect("published");
    let mut worker = env.worker().await;
    let mut other = env.worker().await;
    let (admin, priority) = (namespace.admin().await, namespace.priority("default", Priority::Normal));
    let deadline = Instant::now() + 4 * PATIENCE;
    while admin.depth(&priority).await != Some(0) || worker.step().await.expect("a step") > 0 {
        other.step().await.expect("a step");
        assert!(Instant::now() < deadline, "there is no end of them");
    }
    for worker in [worker, other] {
        worker.retire().await.expect("retired");
    }
    assert_eq!(env.job(id).await.state, JobState::Done);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 1, "it ran once");
    assert_eq!(kept(&env).await, Vec::new(), "a message that is late is no poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_that_comes_a_thousand_times_is_one_row() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let mut worker = env.worker().await;
    let (admin, priority) = (namespace.admin().await, namespace.priority("default", Priority::Normal));
    for _ in 0..1_000 {
        admin.put(&priority, b"again and again", &[]).await;
    }
    step_until(&mut worker, &env, "each is counted", async |env| {
        kept(env).await.first().is_some_and(|one| one.seen >= 1_000)
    })
    .await;
    worker.retire().await.expect("retired");
    assert_eq!(kept(&env).await.len(), 1);
}
