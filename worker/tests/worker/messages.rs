//! The worker and a broker that carries ids: RabbitMQ from `GRISTMILL_TEST_AMQP`, or none at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_broker::testing::{Namespace, PATIENCE, Way, proxy};
use gristmill_broker::{Broker, Health, Settings};
use gristmill_core::duration::Span;
use gristmill_core::job::{JobState, RunAt};
use gristmill_service::dispatcher::Carried;
use gristmill_store::testing::{TestStore, eventually};

use crate::env::{TestEnv, ground_on};
use crate::loops::Process;

/// A store of its own and a namespace, which is dropped last: it closes the broker and cleans up.
pub(crate) async fn ground_over(change: impl FnOnce(&mut Settings)) -> (TestEnv, Namespace) {
    let namespace = Namespace::new(&["default", "mail"]);
    let mut settings = namespace.settings();
    change(&mut settings);
    let broker = namespace.connect(&settings).await;
    (ground_on(TestStore::sqlite(true).await, broker, settings.window), namespace)
}

pub(crate) async fn until(env: &TestEnv, wanted: impl FnMut(&Health) -> bool) {
    let mut health = env.dispatcher.broker().health();
    let waiting = health.wait_for(wanted);
    tokio::time::timeout(PATIENCE, waiting).await.expect("the broker's health changes").expect("its supervisor lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_travel_and_the_outbox_is_empty_afterwards() {
    let (env, _namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let mut options = env.options();
    // Long enough that only messages can bring work in time.
    options.settings.poll = Span(Duration::from_secs(60));
    let process = Process::start(options);
    let first = env.enqueue("succeed", |_| {}).await;
    let urgent = env.enqueue("succeed", |job| job.priority = gristmill_core::job::Priority::High).await;
    let elsewhere = env.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
    for id in [first, urgent, elsewhere] {
        env.until(id, JobState::Done).await;
    }
    assert_eq!(env.store.outbox_backlog().await.expect("answers").rows, 0);
    assert_eq!(process.stop().await.settled, 3);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 3, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_repeated_changes_nothing() {
    let (env, _namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let id = env.enqueue("succeed", |_| {}).await;
    let later = env.enqueue("succeed", |job| job.run = RunAt::In(Duration::from_secs(3600))).await;
    for job in [id, id, later] {
        let row = gristmill_core::dispatch::Dispatch {
            outbox: 0,
            queue: "default".to_owned(),
            priority: gristmill_core::job::Priority::Normal,
            purpose: gristmill_core::dispatch::Purpose::Dispatch,
            jobs: vec![job],
        };
        env.dispatcher.broker().publish(&[row]).await.expect("published");
    }
    let mut worker = env.worker().await;
    let drained = async {
        while env.dispatcher.broker().depth("default").await.expect("a depth") != Some(0)
            || worker.step().await.expect("a step") > 0
        {}
    };
    tokio::time::timeout(Duration::from_secs(120), drained).await.expect("every message is dealt with");
    assert_eq!(env.job(id).await.state, JobState::Done);
    assert_eq!(env.job(later).await.state, JobState::Scheduled, "nothing starts before its time");
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 1);
    worker.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_one_worker_lacks_is_run_by_another_without_waiting_for_the_probe() {
    let (env, _namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    // The only worker takes the message, but lacks the kind.
    let mut lacks = env.worker().await;
    let id = env.enqueue("succeed", |job| job.kind = "resize".to_owned()).await;
    let newer = env.enqueue("succeed", |job| job.version = 2).await;
    let ours = env.enqueue("succeed", |_| {}).await;
    let drained = async || {
        lacks.step().await.expect("a step");
        let depth = env.dispatcher.broker().depth("default").await.ok() == Some(Some(0));
        (depth && env.home.count("SELECT count(*) FROM job WHERE astray").await == 2).then_some(())
    };
    let mut drained = drained;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while drained().await.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the messages never came");
    }
    assert_eq!(env.job(ours).await.state, JobState::Done, "its own work is not held up");
    for waits in [id, newer] {
        assert_eq!(env.job(waits).await.state, JobState::Queued, "neither failed nor dropped");
    }
    // Nothing loops: no message is under way, and none waits to be sent.
    assert_eq!(lacks.step().await.expect("a step"), 0);
    assert_eq!(outbox(&env).await, 0);
    // A worker that has both comes, and finds them although there are no messages for them any more.
    let mut options = env.options();
    let told = options.registry.get("told").cloned().expect("registered");
    options.registry.insert("resize", std::sync::Arc::clone(&told));
    options.registry.insert_reading("told", vec![1, 2], told);
    let process = Process::start(options);
    for found in [id, newer] {
        env.until(found, JobState::Done).await;
    }
    assert_eq!(process.stop().await.settled, 2);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 3, "each ran once");
    lacks.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_worker_holds_goes_to_an_idle_one() {
    let (env, _namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let mut options = env.options();
    options.settings.slots = 1;
    // Long enough that only messages can bring work in time.
    options.settings.poll = Span(Duration::from_secs(60));
    options.settings.queues = vec!["default".to_owned()];
    let mut full = gristmill_worker::Worker::enter(options.clone()).await.expect("it enters");
    for _ in 0..3 {
        env.enqueue("succeed", |_| {}).await;
    }
    let mut held = Vec::new();
    for _ in 0..40 {
        held.extend(full.claim().await.expect("a claim"));
        if !held.is_empty() {
            break;
        }
    }
    assert_eq!(held.len(), 1, "its only slot is taken, and never comes free");
    let mut idle = gristmill_worker::Worker::enter(options).await.expect("it enters");
    let (mut ran, mut steps) = (0, 0);
    while ran < 2 {
        steps += 1;
        assert!(steps <= 40, "{ran} of the two jobs that the full worker holds were run in {steps} looks");
        ran += idle.step().await.expect("a step");
    }
    full.work(held).await;
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 3, "each ran once");
    full.retire().await.expect("retired");
    idle.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_leaves_the_rest_in_the_outbox() {
    let (env, _namespace) = ground_over(|settings| settings.window = 2).await;
    until(&env, Health::is_up).await;
    for _ in 0..5 {
        env.enqueue("succeed", |_| {}).await;
    }
    assert_eq!(env.store.outbox_backlog().await.expect("answers").rows, 3);
}

#[tokio::test]
async fn without_its_broker_the_worker_asks_the_store() {
    // Nothing listens on port 9: the broker is away from the start.
    let settings = Settings { url: "amqp://guest:guest@127.0.0.1:9/%2f".to_owned(), ..Settings::default() };
    let broker = Broker::connect(&settings).await.expect("a broker that is away is no error");
    let env = ground_on(TestStore::sqlite(true).await, broker, settings.window);
    let mut options = env.options();
    options.fallback_after = Duration::ZERO;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("a broker that is away is no error");
    let id = env.enqueue("succeed", |_| {}).await;
    assert_eq!(worker.step().await.expect("a step"), 1);
    assert_eq!(env.job(id).await.state, JobState::Done);
    let rows = env.store.outbox_backlog().await.expect("answers").rows;
    assert_eq!(rows, 1, "the id stays in the outbox until the broker is back");
    let nothing = env.dispatcher.publish_rows(Vec::new()).await;
    assert_eq!(nothing, Carried::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_work_comes_from_the_store_and_by_message_again_when_it_is_back() {
    let (proxy, namespace) = (proxy(Way::Open).await, Namespace::new(&["default"]));
    let settings = namespace.settings_at(proxy.port);
    let broker = namespace.connect(&settings).await;
    let env = ground_on(TestStore::postgres(true).await, broker, settings.window);
    let mut options = env.options();
    options.fallback_after = Duration::from_millis(300);
    let process = Process::start(options);
    let before = env.enqueue("succeed", |_| {}).await;
    env.until(before, JobState::Done).await;
    assert_eq!(outbox(&env).await, 0, "it came by message");

    proxy.shut();
    until(&env, |health| matches!(health, Health::Down { .. })).await;
    let mut meanwhile = Vec::new();
    for _ in 0..20 {
        meanwhile.push(env.enqueue("succeed", |_| {}).await);
    }
    for id in &meanwhile {
        env.until(*id, JobState::Done).await;
    }
    let health = env.dispatcher.broker().health().borrow().clone();
    assert!(matches!(health, Health::Down { .. }), "they were done without it: {health:?}");
    assert_eq!(outbox(&env).await, 20, "nobody could be told of them");

    proxy.set(Way::Open);
    until(&env, Health::is_up).await;
    // What was published too late adds nothing, and nothing runs twice.
    let late = env.store.outbox_take(Duration::ZERO, 100, 100).await.expect("taken");
    assert_eq!(env.dispatcher.publish_rows(late).await.published, 20);
    let after = env.enqueue("succeed", |_| {}).await;
    env.until(after, JobState::Done).await;
    assert_eq!(outbox(&env).await, 0);
    let drained = async || (env.dispatcher.broker().depth("default").await.ok() == Some(Some(0))).then_some(());
    eventually("an empty queue", drained).await;
    assert_eq!(process.stop().await.settled, 22);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 22, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_on_a_queue_that_gives_nothing_is_taken_from_the_store() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let priority = namespace.priority("default", gristmill_core::job::Priority::Normal);
    let mut options = env.options();
    options.fallback_after = Duration::from_millis(300);
    let id = env.enqueue("succeed", |_| {}).await;
    assert_eq!(outbox(&env).await, 0, "its message has left");
    // No probe runs here. The broker is there all the time, and the message will never come.
    namespace.admin().await.delete(&priority).await;
    let process = Process::start(options);
    env.until(id, JobState::Done).await;
    assert!(env.dispatcher.broker().health().borrow().is_up(), "it was done beside a broker that is there");
    let next = env.enqueue("succeed", |_| {}).await;
    env.until(next, JobState::Done).await;
    assert_eq!(process.stop().await.settled, 2);
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), 2, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_on_a_queue_that_gives_nothing_does_not_hold_up_the_messages_of_others() {
    let (env, namespace) = ground_over(|_| {}).await;
    until(&env, Health::is_up).await;
    let priority = namespace.priority("default", gristmill_core::job::Priority::Normal);
    let mut stuck = Vec::new();
    for _ in 0..200 {
        stuck.push(env.enqueue("succeed", |_| {}).await);
    }
    namespace.admin().await.delete(&priority).await;
    let mail = env.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
    let mut options = env.options();
    options.settings.slots = 1;
    options.settings.queues = vec!["default".to_owned(), "mail".to_owned()];
    // Every queue counts as quiet at once, and the backlog is older than the letter.
    options.fallback_after = Duration::ZERO;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("it enters");
    for _ in 0..10_000 {
        if env.job(mail).await.state == JobState::Done {
            break;
        }
        worker.step().await.expect("a step");
    }
    assert_eq!(env.job(mail).await.state, JobState::Done);
    let last = *stuck.last().expect("there are some");
    assert_eq!(env.job(last).await.state, JobState::Queued, "the letter did not wait for the backlog");
    worker.retire().await.expect("retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_for_a_moment_only_is_waited_for() {
    let (proxy, namespace) = (proxy(Way::Open).await, Namespace::new(&["default"]));
    let settings = namespace.settings_at(proxy.port);
    let broker = namespace.connect(&settings).await;
    let env = ground_on(TestStore::postgres(true).await, broker, settings.window);
    let mut worker = env.worker().await;
    proxy.shut();
    until(&env, |health| matches!(health, Health::Down { .. })).await;
    let id = env.enqueue("succeed", |_| {}).await;
    assert_eq!(worker.step().await.expect("a step"), 0, "within `fallback_after` the store is not asked");
    proxy.set(Way::Open);
    until(&env, Health::is_up).await;
    let rows = env.store.outbox_take(Duration::ZERO, 100, 100).await.expect("taken");
    assert_eq!(env.dispatcher.publish_rows(rows).await.published, 1);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while worker.step().await.expect("a step") == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the message never came");
    }
    assert_eq!(env.job(id).await.state, JobState::Done);
    worker.retire().await.expect("retired");
}

async fn outbox(env: &TestEnv) -> u64 {
    env.store.outbox_backlog().await.expect("answers").rows
}
