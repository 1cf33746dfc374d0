//! The worker and a broker that carries ids: RabbitMQ from `GRISTMILL_TEST_AMQP`, or none at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_broker::testing::{Namespace, PATIENCE, Proxy, Way};
use gristmill_broker::{Broker, Health, Settings};
use gristmill_core::duration::Span;
use gristmill_core::job::{JobState, RunAt};
use gristmill_jobs::road::Carried;
use gristmill_store::testing::{TestStore, eventually};

use crate::ground::{Ground, ground_on};
use crate::loops::Process;

/// A store of its own and a namespace, which goes last: it closes the broker and clears away.
pub(crate) async fn ground_over(change: impl FnOnce(&mut Settings)) -> (Ground, Namespace) {
    let namespace = Namespace::new(&["default", "mail"]);
    let mut settings = namespace.settings();
    change(&mut settings);
    let broker = namespace.connect(&settings).await;
    (ground_on(TestStore::sqlite(true).await, broker, settings.window), namespace)
}

pub(crate) async fn until(ground: &Ground, wanted: impl FnMut(&Health) -> bool) {
    let mut health = ground.road.broker().health();
    let waiting = health.wait_for(wanted);
    tokio::time::timeout(PATIENCE, waiting).await.expect("the broker's health changes").expect("its supervisor lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_travel_and_the_outbox_is_empty_afterwards() {
    let (ground, _namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let mut options = ground.options();
    // So long that only messages can bring work in time.
    options.settings.poll = Span(Duration::from_secs(60));
    let process = Process::start(options);
    let first = ground.enqueue("succeed", |_| {}).await;
    let urgent = ground.enqueue("succeed", |job| job.lane = gristmill_core::job::Lane::High).await;
    let elsewhere = ground.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
    for id in [first, urgent, elsewhere] {
        ground.until(id, JobState::Done).await;
    }
    assert_eq!(ground.store.outbox_backlog().await.expect("answers").rows, 0);
    assert_eq!(process.stop().await.settled, 3);
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 3, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_repeated_changes_nothing() {
    let (ground, _namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let id = ground.enqueue("succeed", |_| {}).await;
    let later = ground.enqueue("succeed", |job| job.run = RunAt::In(Duration::from_secs(3600))).await;
    for job in [id, id, later] {
        let row = gristmill_core::dispatch::Dispatch {
            outbox: 0,
            queue: "default".to_owned(),
            lane: gristmill_core::job::Lane::Normal,
            purpose: gristmill_core::dispatch::Purpose::Dispatch,
            jobs: vec![job],
        };
        ground.road.broker().publish(&[row]).await.expect("published");
    }
    let mut worker = ground.worker().await;
    let drained = async {
        while ground.road.broker().depth("default").await.expect("a depth") != Some(0)
            || worker.step().await.expect("a step") > 0
        {}
    };
    tokio::time::timeout(Duration::from_secs(120), drained).await.expect("every message is dealt with");
    assert_eq!(ground.job(id).await.state, JobState::Done);
    assert_eq!(ground.job(later).await.state, JobState::Scheduled, "nothing starts before its time");
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 1);
    worker.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_one_worker_lacks_is_run_by_another_without_waiting_for_the_probe() {
    let (ground, _namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    // The only worker takes the message, and lacks the kind.
    let mut lacks = ground.worker().await;
    let id = ground.enqueue("succeed", |job| job.kind = "resize".to_owned()).await;
    let newer = ground.enqueue("succeed", |job| job.version = 2).await;
    let ours = ground.enqueue("succeed", |_| {}).await;
    let drained = async || {
        lacks.step().await.expect("a step");
        let depth = ground.road.broker().depth("default").await.ok() == Some(Some(0));
        (depth && ground.home.count("SELECT count(*) FROM job WHERE astray").await == 2).then_some(())
    };
    let mut drained = drained;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while drained().await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the messages never came");
    }
    assert_eq!(ground.job(ours).await.state, JobState::Done, "its own work is not held up");
    for waits in [id, newer] {
        assert_eq!(ground.job(waits).await.state, JobState::Queued, "neither failed nor dropped");
    }
    // Nobody loops: nothing is on the road, and nothing waits to be.
    assert_eq!(lacks.step().await.expect("a step"), 0);
    assert_eq!(outbox(&ground).await, 0);
    // One that has both comes, and finds them although there are no messages for them any more.
    let mut options = ground.options();
    let told = options.registry.get("told").cloned().expect("registered");
    options.registry.insert("resize", std::sync::Arc::clone(&told));
    options.registry.insert_reading("told", vec![1, 2], told);
    let process = Process::start(options);
    for found in [id, newer] {
        ground.until(found, JobState::Done).await;
    }
    assert_eq!(process.stop().await.settled, 2);
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 3, "each ran once");
    lacks.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_leaves_the_rest_in_the_outbox() {
    let (ground, _namespace) = ground_over(|settings| settings.window = 2).await;
    until(&ground, Health::is_up).await;
    for _ in 0..5 {
        ground.enqueue("succeed", |_| {}).await;
    }
    assert_eq!(ground.store.outbox_backlog().await.expect("answers").rows, 3);
}

#[tokio::test]
async fn without_its_broker_the_worker_asks_the_store() {
    // Nothing listens on port 9: the broker is away from the beginning.
    let settings = Settings { url: "amqp://guest:guest@127.0.0.1:9/%2f".to_owned(), ..Settings::default() };
    let broker = Broker::connect(&settings).await.expect("a broker that is away is no error");
    let ground = ground_on(TestStore::sqlite(true).await, broker, settings.window);
    let mut options = ground.options();
    options.fallback_after = Duration::ZERO;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("a broker that is away is no error");
    let id = ground.enqueue("succeed", |_| {}).await;
    assert_eq!(worker.step().await.expect("a step"), 1);
    assert_eq!(ground.job(id).await.state, JobState::Done);
    let rows = ground.store.outbox_backlog().await.expect("answers").rows;
    assert_eq!(rows, 1, "the id stays in the outbox until the broker is back");
    let nothing = ground.road.publish_rows(Vec::new()).await;
    assert_eq!(nothing, Carried::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_work_comes_from_the_store_and_by_message_again_when_it_is_back() {
    let (proxy, namespace) = (Proxy::start(Way::Open).await, Namespace::new(&["default"]));
    let settings = namespace.settings_at(proxy.port);
    let broker = namespace.connect(&settings).await;
    let ground = ground_on(TestStore::postgres(true).await, broker, settings.window);
    let mut options = ground.options();
    options.fallback_after = Duration::from_millis(300);
    let process = Process::start(options);
    let before = ground.enqueue("succeed", |_| {}).await;
    ground.until(before, JobState::Done).await;
    assert_eq!(outbox(&ground).await, 0, "it came by message");

    proxy.set(Way::Shut);
    until(&ground, |health| matches!(health, Health::Down { .. })).await;
    let mut meanwhile = Vec::new();
    for _ in 0..20 {
        meanwhile.push(ground.enqueue("succeed", |_| {}).await);
    }
    for id in &meanwhile {
        ground.until(*id, JobState::Done).await;
    }
    let health = ground.road.broker().health().borrow().clone();
    assert!(matches!(health, Health::Down { .. }), "they were done without it: {health:?}");
    assert_eq!(outbox(&ground).await, 20, "nobody could be told of them");

    proxy.set(Way::Open);
    until(&ground, Health::is_up).await;
    // What was published too late says nothing new, and nothing runs twice.
    let late = ground.store.outbox_take(Duration::ZERO, 100).await.expect("taken");
    assert_eq!(ground.road.publish_rows(late).await.published, 20);
    let after = ground.enqueue("succeed", |_| {}).await;
    ground.until(after, JobState::Done).await;
    assert_eq!(outbox(&ground).await, 0);
    let drained = async || (ground.road.broker().depth("default").await.ok() == Some(Some(0))).then_some(());
    eventually("an empty queue", drained).await;
    assert_eq!(process.stop().await.settled, 22);
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 22, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_on_a_queue_that_gives_nothing_is_taken_from_the_store() {
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let lane = namespace.lane("default", gristmill_core::job::Lane::Normal);
    let mut options = ground.options();
    options.fallback_after = Duration::from_millis(300);
    let id = ground.enqueue("succeed", |_| {}).await;
    assert_eq!(outbox(&ground).await, 0, "its message has left");
    // Nobody probes here. The broker is there all the time, and the message will never come.
    namespace.admin().await.delete(&lane).await;
    let process = Process::start(options);
    ground.until(id, JobState::Done).await;
    assert!(ground.road.broker().health().borrow().is_up(), "it was done beside a broker that is there");
    let next = ground.enqueue("succeed", |_| {}).await;
    ground.until(next, JobState::Done).await;
    assert_eq!(process.stop().await.settled, 2);
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), 2, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_on_a_queue_that_gives_nothing_does_not_hold_up_the_messages_of_others() {
    let (ground, namespace) = ground_over(|_| {}).await;
    until(&ground, Health::is_up).await;
    let lane = namespace.lane("default", gristmill_core::job::Lane::Normal);
    let mut stuck = Vec::new();
    for _ in 0..200 {
        stuck.push(ground.enqueue("succeed", |_| {}).await);
    }
    namespace.admin().await.delete(&lane).await;
    let mail = ground.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
    let mut options = ground.options();
    options.settings.slots = 1;
    options.settings.queues = vec!["default".to_owned(), "mail".to_owned()];
    // Every queue counts as quiet at once, and the backlog is older than the letter.
    options.fallback_after = Duration::ZERO;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("it enters");
    for _ in 0..10_000 {
        if ground.job(mail).await.state == JobState::Done {
            break;
        }
        worker.step().await.expect("a step");
    }
    assert_eq!(ground.job(mail).await.state, JobState::Done);
    let last = *stuck.last().expect("there are some");
    assert_eq!(ground.job(last).await.state, JobState::Queued, "the letter did not wait for the backlog");
    worker.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_for_a_moment_only_is_waited_for() {
    let (proxy, namespace) = (Proxy::start(Way::Open).await, Namespace::new(&["default"]));
    let settings = namespace.settings_at(proxy.port);
    let broker = namespace.connect(&settings).await;
    let ground = ground_on(TestStore::postgres(true).await, broker, settings.window);
    let mut worker = ground.worker().await;
    proxy.set(Way::Shut);
    until(&ground, |health| matches!(health, Health::Down { .. })).await;
    let id = ground.enqueue("succeed", |_| {}).await;
    assert_eq!(worker.step().await.expect("a step"), 0, "within `fallback_after` the store is not asked");
    proxy.set(Way::Open);
    until(&ground, Health::is_up).await;
    let rows = ground.store.outbox_take(Duration::ZERO, 100).await.expect("taken");
    assert_eq!(ground.road.publish_rows(rows).await.published, 1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while worker.step().await.expect("a step") == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the message never came");
    }
    assert_eq!(ground.job(id).await.state, JobState::Done);
    worker.retire().await.expect("retired");
}

async fn outbox(ground: &Ground) -> u64 {
    ground.store.outbox_backlog().await.expect("answers").rows
}
