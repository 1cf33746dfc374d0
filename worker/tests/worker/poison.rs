//! What nobody can act upon is kept before it is acknowledged; what comes a thousand times runs once.

use std::sync::atomic::Ordering;

use gristmill_broker::testing::{Admin, PATIENCE};
use gristmill_broker::{Health, Message};
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Lane};
use gristmill_store::{Page, PoisonView};
use gristmill_worker::Worker;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::ground::Ground;
use crate::messages::{ground_over, until};

async fn kept(ground: &Ground) -> Vec<PoisonView> {
    ground.store.poison(&Page::default()).await.expect("listed")
}

/// Steps until it is so.
async fn step_until(worker: &mut Worker, ground: &Ground, what: &str, enough: impl AsyncFn(&Ground) -> bool) {
    let deadline = Instant::now() + 4 * PATIENCE;
    while !enough(ground).await {
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
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let mut worker = ground.worker().await;
    let (admin, lane) = (namespace.admin().await, namespace.lane("default", Lane::Normal));
    admin.put(&lane, b"\xff no message at all", &[("from", "billing")]).await;
    admin.put(&lane, br#"{"v":2,"jobs":[]}"#, &[]).await;
    admin.put(&lane, &Message::new(JobId(Uuid::now_v7()), "default").encode(), &[]).await;
    let id = ground.enqueue("succeed", |_| {}).await;
    step_until(&mut worker, &ground, "three are kept", async |ground| kept(ground).await.len() == 3).await;
    step_until(&mut worker, &ground, "the job is done", async |g| g.job(id).await.state == JobState::Done).await;

    let found = kept(&ground).await;
    let reasons: Vec<&str> = found.iter().rev().map(|one| one.reason.as_str()).collect();
    assert!(reasons.contains(&"it has version 2, and this program reads version 1"), "{reasons:?}");
    assert!(reasons.contains(&"no job has this id"), "{reasons:?}");
    let garbage = found.iter().find(|one| one.size == 19).expect("the garbage is kept");
    assert!(garbage.reason.starts_with("it is no message:"), "{}", garbage.reason);
    assert_eq!((garbage.queue.as_str(), garbage.source.as_str(), garbage.seen), ("default", "worker", 1));
    let whole = ground.store.poison_message(garbage.id).await.expect("asked").expect("it is there");
    assert_eq!(whole.bytes, b"\xff no message at all");
    assert_eq!(whole.headers["headers"], json!({ "from": "billing" }));
    until_empty(&admin, &mut worker, &lane).await;
    worker.retire().await.expect("retired");
    assert_eq!(admin.depth(&lane).await, Some(0), "all of them were acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_that_the_store_cannot_keep_is_not_acknowledged() {
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let mut worker = ground.worker().await;
    let (admin, lane) = (namespace.admin().await, namespace.lane("default", Lane::Normal));
    ground.home.tamper("ALTER TABLE poison RENAME TO elsewhere").await;
    admin.put(&lane, b"no message at all", &[]).await;
    // It comes through the same lane later: when it is done, the worker has met the poison.
    let id = ground.enqueue("succeed", |_| {}).await;
    step_until(&mut worker, &ground, "the job is done", async |g| g.job(id).await.state == JobState::Done).await;
    worker.retire().await.expect("retired");
    ground.home.tamper("ALTER TABLE elsewhere RENAME TO poison").await;
    assert_eq!(kept(&ground).await.len(), 0);

    let mut next = ground.worker().await;
    step_until(&mut next, &ground, "it came again and is kept", async |g| kept(g).await.len() == 1).await;
    until_empty(&admin, &mut next, &lane).await;
    next.retire().await.expect("retired");
    assert_eq!((admin.depth(&lane).await, kept(&ground).await.len()), (Some(0), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_message_comes_a_thousand_times_runs_once() {
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let id = ground.enqueue("succeed", |_| {}).await;
    let row = Dispatch {
        outbox: 0,
        queue: "default".to_owned(),
        lane: Lane::Normal,
        purpose: Purpose::Dispatch,
        jobs: vec![id; 1_000],
    };
    ground.road.broker().publish(&[row]).await.expect("published");
    let mut worker = ground.worker().await;
    let mut other = ground.worker().await;
    let (admin, lane) = (namespace.admin().await, namespace.lane("default", Lane::Normal));
    let deadline = Instant::now() + 4 * PATIENCE;
    while admin.depth(&lane).await != Some(0) || worker.step().await.expect("a step") > 0 {
        other.step().await.expect("a step");
        assert!(Instant::now() < deadline, "there is no end of them");
    }
    for worker in [worker, other] {
        worker.retire().await.expect("retired");
    }
    assert_eq!(ground.job(id).await.state, JobState::Done);
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 1, "it ran once");
    assert_eq!(kept(&ground).await, Vec::new(), "a message that is late is no poison");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_that_comes_a_thousand_times_is_one_row() {
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let mut worker = ground.worker().await;
    let (admin, lane) = (namespace.admin().await, namespace.lane("default", Lane::Normal));
    for _ in 0..1_000 {
        admin.put(&lane, b"again and again", &[]).await;
    }
    step_until(&mut worker, &ground, "each is counted", async |ground| {
        kept(ground).await.first().is_some_and(|one| one.seen >= 1_000)
    })
    .await;
    worker.retire().await.expect("retired");
    assert_eq!(kept(&ground).await.len(), 1);
}
