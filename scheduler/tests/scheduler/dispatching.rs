//! The duties on PostgreSQL and RabbitMQ: what is sent, what is lost, and what is held back.

use std::collections::HashSet;
use std::time::Duration;

use gristmill_broker::testing::{Admin, Break, Namespace, PATIENCE, Proxy, Way, proxy};
use gristmill_broker::{ConsumeOptions, Consumer, Message, Settings};
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, JobId, WorkerId};
use gristmill_core::job::{JobState, NewJob, Priority};
use gristmill_scheduler::duties::copies::copies;
use gristmill_scheduler::duties::probe::{LOST_AFTER, Prober};
use gristmill_scheduler::duties::relay::OutboxRelay;
use gristmill_scheduler::duties::rescue::rescue;
use gristmill_scheduler::duties::returned::returned;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::failure_budget::FailureBudgets;
use gristmill_service::retention::PrunerOptions;
use gristmill_store::testing::{self, TestStore};
use gristmill_store::{Claim, Page, StoreHandle};
use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueuePurgeOptions};
use lapin::types::AMQPValue;
use tokio::time::Instant;

use crate::env::Running;

const QUEUE: &str = "default";

/// Another queue.
const OTHER: &str = "other";

/// Long enough that no lease runs out while a test runs.
const LONG: Duration = Duration::from_secs(600);

/// A schema, a namespace, and a dispatcher over both. The namespace is dropped last: it closes the broker.
struct DispatchEnv {
    store: TestStore,
    dispatcher: Dispatcher,
    namespace: Namespace,
}

async fn dispatch_env(window: u32) -> DispatchEnv {
    let store = TestStore::postgres(true).await;
    let namespace = Namespace::new(&[QUEUE, OTHER]);
    let broker = namespace.connect(&Settings { window, ..namespace.settings() }).await;
    // On a busy machine it may be away at first.
    let mut health = broker.health();
    let up = tokio::time::timeout(PATIENCE, health.wait_for(gristmill_broker::Health::is_up)).await;
    drop(up.expect("the broker is there in time").expect("the broker is not closed"));
    let dispatcher = Dispatcher::new(store.handle(), broker, window);
    DispatchEnv { store, dispatcher, namespace }
}

impl DispatchEnv {
    /// Enqueues jobs that are committed, but not published by any process.
    async fn enqueue(&self, count: usize) -> Vec<JobId> {
        let report = self.store.enqueue(&testing::jobs(count)).await.expect("enqueued");
        report.jobs.iter().map(|job| job.id).collect()
    }

    async fn enqueue_and_publish(&self, count: usize) -> Vec<JobId> {
        let report = self.store.enqueue(&testing::jobs(count)).await.expect("enqueued");
        assert_eq!(self.dispatcher.publish(&report.dispatched).await.published, count as u64);
        self.until_depth(u32::try_from(count).expect("a few")).await;
        report.jobs.iter().map(|job| job.id).collect()
    }

    async fn depth(&self) -> u32 {
        self.dispatcher.broker().depth(QUEUE).await.expect("the broker answers").expect("ids travel")
    }

    async fn until_depth(&self, wanted: u32) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depth = self.depth().await;
            if depth == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "the queue holds {depth} messages and never {wanted}");
            tokio::task::yield_now().await;
        }
    }

    async fn worker(&self, lease: Duration) -> WorkerId {
        let worker = testing::worker(lease);
        self.store.register_worker(&worker).await.expect("registered");
        worker.id
    }

    async fn consume(&self) -> Consumer {
        let options = ConsumeOptions { queues: vec![QUEUE.to_owned()], prefetch: 50, hold: LONG };
        self.dispatcher.broker().consume(options).await.expect("consuming")
    }

    async fn state(&self, job: JobId) -> JobState {
        self.store.job(DEFAULT_TENANT, job).await.expect("asked").expect("it is there").state
    }
}

fn store(env: &DispatchEnv) -> &StoreHandle {
    &env.store
}

/// The content of the next messages, taken and acknowledged.
async fn arrivals(consumer: &Consumer, count: usize) -> HashSet<JobId> {
    let (mut seen, deadline) = (HashSet::new(), Instant::now() + PATIENCE);
    while seen.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} messages came", seen.len());
        let taken = consumer.next(count - seen.len(), Duration::from_millis(200)).await;
        seen.extend(taken.iter().map(|delivery| delivery.message.as_ref().expect("a message").job_id));
        consumer.ack(taken).await;
    }
    seen
}

async fn purge(admin: &Admin, queue: &str) -> u32 {
    admin.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("purged")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_brings_back_what_is_of_another_tenant() {
    let env = dispatch_env(20_000).await;
    let job = NewJob { tenant: "other".to_owned(), ..testing::job() };
    // Committed, but not published by any process: as if the broker had lost it.
    env.store.enqueue(std::slice::from_ref(&job)).await.expect("enqueued");
    let taken = env.store.outbox_take(Duration::ZERO, 10, 10).await.expect("taken");
    env.store.outbox_done(&taken.iter().map(|row| row.outbox).collect::<Vec<_>>()).await.expect("removed");
    assert_eq!(Prober::default().probe(store(&env), &env.dispatcher, Duration::ZERO).await.expect("probed"), 1);
    let consumer = env.consume().await;
    assert_eq!(arrivals(&consumer, 1).await, HashSet::from([job.id]));
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_brings_back_what_the_broker_has_lost() {
    let env = dispatch_env(20_000).await;
    let jobs = env.enqueue_and_publish(5).await;
    let admin = env.namespace.admin().await;
    let look =
        async |lost_after| Prober::default().probe(store(&env), &env.dispatcher, lost_after).await.expect("probed");
    assert_eq!(look(Duration::ZERO).await, 0, "the messages are there");
    assert_eq!(purge(&admin, &env.namespace.priority(QUEUE, Priority::Normal)).await, 5);
    env.until_depth(0).await;
    assert_eq!(look(LOST_AFTER).await, 0, "they may still be on their way");
    assert_eq!(look(Duration::ZERO).await, 5);
    env.until_depth(5).await;
    assert_eq!(look(Duration::ZERO).await, 0, "twice is once");
    let consumer = env.consume().await;
    assert_eq!(arrivals(&consumer, 5).await, jobs.iter().copied().collect());
    consumer.stop().await;
    // Jobs that a worker has claimed are not lost, although no message stands for them.
    let worker = env.worker(LONG).await;
    let report = env.store.claim(&testing::claim_as(worker, 10), &jobs[..4]).await.expect("claimed");
    assert_eq!(report.claimed.len(), 4);
    assert_eq!(look(Duration::ZERO).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_window_that_is_lost_is_dispatched_again_as_fast_as_there_is_room() {
    const JOBS: usize = 250;
    const WINDOW: u32 = 100;
    let env = dispatch_env(WINDOW).await;
    let mut left: HashSet<JobId> = env.enqueue(JOBS).await.into_iter().collect();
    // As if the broker had lost them all, or as if they had all been resumed at once.
    let taken = env.store.outbox_take(Duration::ZERO, 10, 10).await.expect("taken");
    env.store.outbox_done(&taken.iter().map(|row| row.outbox).collect::<Vec<_>>()).await.expect("removed");
    let (mut prober, consumer) = (Prober::default(), env.consume().await);
    let (mut dispatched, mut rounds) = (0, 0);
    while !left.is_empty() {
        rounds += 1;
        assert!(rounds <= 20, "{} are left after {rounds} rounds", left.len());
        // Never by its rhythm: whatever makes room is enough.
        dispatched += match rounds {
            1 => prober.probe(store(&env), &env.dispatcher, Duration::ZERO).await.expect("probed"),
            _ => prober.go_on(store(&env), &env.dispatcher, Duration::ZERO).await.expect("probed"),
        };
        assert!(env.depth().await <= WINDOW);
        let room = left.len().min(usize::try_from(WINDOW).expect("a few"));
        for id in arrivals(&consumer, room).await {
            assert!(left.remove(&id), "it came twice");
        }
        env.until_depth(0).await;
    }
    assert_eq!((dispatched, prober.is_under_way()), (JOBS as u64, false), "after {rounds} rounds");
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_one_queue_does_not_keep_the_rows_of_another_from_the_relay() {
    let env = dispatch_env(2).await;
    for _ in 0..40 {
        env.enqueue(1).await;
    }
    env.store.enqueue(&[job_of(OTHER)]).await.expect("enqueued");
    env.store.tamper("UPDATE outbox SET created_at = created_at - interval '10 seconds'").await;
    let mut relay = OutboxRelay::default();
    // Two rows of the full queue go through, and the last row of all.
    let mut published = relay.relay(&**store(&env), &env.dispatcher, 8).await.expect("relayed");
    let deadline = Instant::now() + PATIENCE;
    while published < 3 {
        assert!(Instant::now() < deadline, "{published} were published");
        published += relay.feed(&env.dispatcher).await;
    }
    assert_eq!(published, 3);
    assert_eq!(env.store.count("SELECT count(*) FROM outbox WHERE queue = 'other'").await, 0);
    assert!(relay.in_hand() <= 2, "of the full queue it has its share in hand: {}", relay.in_hand());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_returned_the_queued_is_dispatched_again_and_the_rest_dropped() {
    let env = dispatch_env(20_000).await;
    let jobs = env.enqueue_and_publish(3).await;
    let worker = env.worker(LONG).await;
    let report = env.store.claim(&testing::claim_as(worker, 10), &jobs[..2]).await.expect("claimed");
    env.store.complete(&[testing::done(&report.claimed[0])]).await.expect("completed");
    // One is done, one runs, one is queued: and the broker gives up on the messages of all three.
    let (admin, priority) = (env.namespace.admin().await, env.namespace.priority(QUEUE, Priority::Normal));
    for _ in 0..3 {
        let got = admin.channel.basic_get(priority.as_str().into(), BasicGetOptions::default()).await.expect("asked");
        let message = got.expect("a message");
        message.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.expect("rejected");
    }
    // There is also one message for a job that the store does not know, and one that cannot be read.
    let stranger = Message::new(testing::job_id(), QUEUE).encode();
    let exchange = env.namespace.returned();
    for body in [&stranger[..], b"no message at all"] {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let publish = admin.channel.basic_publish(exchange.as_str().into(), "".into(), options, body, properties);
        publish.await.expect("sent").await.expect("arrived");
    }
    let deadline = Instant::now() + PATIENCE;
    while admin.depth(&exchange).await != Some(5) {
        assert!(Instant::now() < deadline, "not all of them are returned");
        tokio::task::yield_now().await;
    }
    let consumer = env.dispatcher.broker().consume_returned(100).await.expect("consuming");
    let mut published = 0;
    while published == 0 || admin.depth(&exchange).await != Some(0) {
        assert!(Instant::now() < deadline, "{published} were published");
        published +=
            returned(store(&env), &env.dispatcher, &consumer, Duration::from_millis(100)).await.expect("asked");
    }
    let mut kept = env.store.poison(&Page::default()).await.expect("listed");
    kept.sort_by_key(|one| one.queue.clone());
    let kept: Vec<_> = kept.iter().map(|one| (one.queue.as_str(), one.reason.as_str(), one.source.as_str())).collect();
    assert_eq!(kept.len(), 2, "the one that nobody can read, and the one that names no job: {kept:?}");
    assert!(kept[0].1.starts_with("it is no message:"), "{kept:?}");
    assert_eq!(kept[1], (QUEUE, "no job has this id", "returned"));
    // Messages that it holds unacknowledged when it stops would be there again.
    consumer.stop().await;
    assert_eq!((published, admin.depth(&exchange).await), (1, Some(0)));
    env.until_depth(1).await;
    let consumer = env.consume().await;
    assert_eq!(arrivals(&consumer, 1).await, HashSet::from([jobs[2]]));
    consumer.stop().await;
    let states = [env.state(jobs[0]).await, env.state(jobs[1]).await, env.state(jobs[2]).await];
    assert_eq!(states, [JobState::Done, JobState::Running, JobState::Queued]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_creator_committed_and_never_published_is_published_by_the_sweep() {
    let env = dispatch_env(20_000).await;
    let jobs = env.enqueue(7).await;
    let mut relay = OutboxRelay::default();
    let young = relay.relay(&**store(&env), &env.dispatcher, 100).await.expect("swept");
    assert_eq!((young, env.depth().await), (0, 0), "its creator may be about to");
    env.store.tamper("UPDATE outbox SET created_at = created_at - interval '10 seconds'").await;
    assert_eq!(relay.relay(&**store(&env), &env.dispatcher, 100).await.expect("swept"), 7);
    assert_eq!((relay.in_hand(), env.store.outbox_backlog().await.expect("asked").rows), (0, 0));
    env.until_depth(7).await;
    assert_eq!(relay.relay(&**store(&env), &env.dispatcher, 100).await.expect("swept"), 0, "twice is once");
    let consumer = env.consume().await;
    assert_eq!(arrivals(&consumer, 7).await, jobs.into_iter().collect());
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_pass_a_window_of_a_hundred_without_ever_filling_it_further() {
    const WINDOW: u32 = 100;
    let env = dispatch_env(WINDOW).await;
    for _ in 0..50 {
        let report = env.store.enqueue(&testing::jobs(20)).await.expect("enqueued");
        env.dispatcher.publish(&report.dispatched).await;
    }
    env.until_depth(WINDOW).await;
    assert_eq!(env.store.outbox_backlog().await.expect("asked").rows, 45, "the rest waits in the store");
    env.store.tamper("UPDATE outbox SET created_at = created_at - interval '10 seconds'").await;
    let (mut relay, mut deepest, mut claimed) = (OutboxRelay::default(), 0, 0);
    let (admin, priority) = (env.namespace.admin().await, env.namespace.priority(QUEUE, Priority::Normal));
    let claim = testing::claim_as(env.worker(LONG).await, 100);
    let deadline = Instant::now() + 2 * PATIENCE;
    while claimed < 1_000 {
        assert!(Instant::now() < deadline, "only {claimed} were claimed");
        relay.relay(&**store(&env), &env.dispatcher, 1_000).await.expect("swept");
        deepest = deepest.max(env.depth().await);
        // One by one and acknowledged at once, so that the depth is all that is not claimed yet.
        let mut ids = Vec::new();
        while let Some(got) = next(&admin, &priority, ids.len()).await {
            ids.push(got);
        }
        claimed += env.store.claim(&claim, &ids).await.expect("claimed").claimed.len();
    }
    assert_eq!((claimed, deepest), (1_000, WINDOW));
    assert_eq!((relay.in_hand(), env.store.outbox_backlog().await.expect("asked").rows), (0, 0));
    let running = env.store.count("SELECT count(*) FROM job WHERE state = 'running'").await;
    assert_eq!((running, env.depth().await), (1_000, 0));
}

/// The broker behind a proxy on which a queue can be silenced, and with which no caller gives up waiting.
async fn env_with_proxy() -> (DispatchEnv, Proxy) {
    let (store, namespace, proxy) =
        (TestStore::postgres(true).await, Namespace::new(&[QUEUE, OTHER]), proxy(Way::Open).await);
    let patient = Settings { confirm_timeout: Span(100 * PATIENCE), ..namespace.settings_at(proxy.port) };
    let dispatcher = Dispatcher::new(store.handle(), namespace.connect(&patient).await, 20_000);
    (DispatchEnv { store, dispatcher, namespace }, proxy)
}

fn job_of(queue: &str) -> NewJob {
    NewJob { queue: queue.to_owned(), ..testing::job() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_feeds_the_other_queues_while_one_gives_no_answer() {
    let (env, proxy) = env_with_proxy().await;
    proxy.silence(&env.namespace.priority(QUEUE, Priority::Normal));
    let (mut relay, deadline) = (OutboxRelay::default(), Instant::now() + PATIENCE);
    // Round after round: what hangs in the first one is there in all that follow.
    for round in 1..=3 {
        env.store.enqueue(&[job_of(QUEUE), job_of(OTHER)]).await.expect("enqueued");
        env.store.tamper("UPDATE outbox SET created_at = created_at - interval '10 seconds'").await;
        let mut published = relay.relay(&**store(&env), &env.dispatcher, 100).await.expect("swept");
        while published < 1 {
            assert!(Instant::now() < deadline, "the queue that answers got nothing in round {round}");
            published += relay.feed(&env.dispatcher).await;
        }
        assert_eq!((published, relay.in_hand()), (1, round));
    }
    // The broker is reached again, over a new connection, as the old one still waits for an answer.
    proxy.silence("");
    proxy.cut(Break::Close);
    let mut published = 0;
    while published < 3 {
        assert!(Instant::now() < deadline, "{published} were published");
        published += relay.feed(&env.dispatcher).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(env.store.outbox_backlog().await.expect("asked").rows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_gives_no_answer_costs_neither_leadership_nor_rescues() {
    let (env, proxy) = env_with_proxy().await;
    env.store.enqueue(&[job_of(QUEUE), job_of(OTHER)]).await.expect("enqueued");
    env.store.tamper("UPDATE outbox SET created_at = created_at - interval '10 seconds'").await;
    let worker = env.worker(Duration::from_millis(1)).await;
    let claim = Claim { queues: vec![OTHER.to_owned()], ..testing::claim_as(worker, 1) };
    let claimed = env.store.claim_next(&claim).await.expect("claimed");
    proxy.silence(&env.namespace.priority(QUEUE, Priority::Normal));
    let (settings, retention) = (Default::default(), PrunerOptions::default());
    let _running = Running::of(&env.store.handle(), &env.dispatcher, settings, retention);
    let deadline = Instant::now() + PATIENCE;
    while !proxy.has_silenced() || env.state(claimed[0].fence.job).await != JobState::Queued {
        assert!(Instant::now() < deadline, "the job of the lost worker is not rescued");
        tokio::task::yield_now().await;
    }
    // The beat goes on: leadership is renewed with each one.
    let mut renewals = HashSet::new();
    while renewals.len() < 7 {
        assert!(Instant::now() < deadline, "it was renewed {} times", renewals.len());
        renewals.insert(env.store.count("SELECT (extract(epoch FROM lease_until) * 1000)::BIGINT FROM leader").await);
    }
}

/// Takes one message, at most sixty in a row.
async fn next(admin: &Admin, priority: &str, taken: usize) -> Option<JobId> {
    if taken == 60 {
        return None;
    }
    let got = admin.channel.basic_get(priority.into(), BasicGetOptions { no_ack: true }).await.expect("asked")?;
    Some(Message::decode(&got.delivery.data).expect("a message").job_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_dies_with_its_worker_leaves_a_copy_among_the_dead_letters() {
    let env = dispatch_env(20_000).await;
    let mut last = testing::job();
    last.max_attempts = 1;
    env.store.enqueue(std::slice::from_ref(&last)).await.expect("enqueued");
    let worker = env.worker(Duration::from_millis(1)).await;
    assert_eq!(env.store.claim_next(&testing::claim_as(worker, 1)).await.expect("claimed").len(), 1);
    let budgets = FailureBudgets::new(env.store.handle());
    let died = async || {
        let report = rescue(&**store(&env), &env.dispatcher, &budgets, 10).await.expect("rescued");
        (report.dead == 1).then_some(())
    };
    testing::eventually("its end", died).await;
    assert_eq!(env.state(last.id).await, JobState::Dead);
    let (admin, dead) = (env.namespace.admin().await, env.namespace.dead(QUEUE));
    let got = admin.channel.basic_get(dead.as_str().into(), BasicGetOptions { no_ack: true }).await.expect("asked");
    let copy = got.expect("a copy");
    assert_eq!(Message::decode(&copy.delivery.data).expect("a message"), Message::new(last.id, QUEUE));
    let headers = copy.delivery.properties.headers().clone().expect("headers");
    let said = |name: &str| headers.inner().get(name).cloned();
    assert_eq!(said("gristmill-purpose"), Some(AMQPValue::LongString("dead_letter".into())));
    assert_eq!(said("gristmill-kind"), Some(AMQPValue::LongString(last.kind.as_str().into())));
    assert_eq!(said("gristmill-attempt"), Some(AMQPValue::LongUInt(1)));
    assert!(matches!(said("gristmill-error"), Some(AMQPValue::LongString(error)) if !error.as_bytes().is_empty()));
    assert_eq!(admin.depth(&dead).await, Some(0), "one copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_copy_of_a_job_that_is_dead_no_longer_goes_and_the_others_stay() {
    let env = dispatch_env(20_000).await;
    let jobs = env.enqueue(5).await;
    let worker = env.worker(LONG).await;
    let claimed = env.store.claim_next(&testing::claim_as(worker, 5)).await.expect("claimed");
    let died: Vec<_> = claimed.iter().map(testing::dead).collect();
    let report = env.store.complete(&died).await.expect("completed");
    env.dispatcher.publish(&report.dispatched).await;
    let (admin, dead) = (env.namespace.admin().await, env.namespace.dead(QUEUE));
    let until = async |count| {
        let deadline = Instant::now() + PATIENCE;
        while admin.depth(&dead).await != Some(count) {
            assert!(Instant::now() < deadline, "there are never {count} copies");
            tokio::task::yield_now().await;
        }
    };
    until(5).await;
    let look = async || copies(store(&env), &env.dispatcher).await.expect("looked");
    assert_eq!(look().await, 0, "all are dead");
    // What was put there by another hand is left alone.
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let publish = admin.channel.basic_publish("".into(), dead.as_str().into(), options, b"a note", properties);
    publish.await.expect("sent").await.expect("arrived");
    env.store.redrive_dead(DEFAULT_TENANT, &jobs[1..3], false).await.expect("redriven");
    assert_eq!(look().await, 2);
    until(4).await;
    let mut left = Vec::new();
    for _ in 0..4 {
        let got = admin.channel.basic_get(dead.as_str().into(), BasicGetOptions { no_ack: true }).await.expect("asked");
        let delivery = got.expect("a message").delivery;
        if let Ok(message) = Message::decode(&delivery.data) {
            let headers = delivery.properties.headers().clone().expect("headers");
            assert_eq!(headers.inner().get("gristmill-attempt"), Some(&AMQPValue::LongUInt(1)));
            left.push(message.job_id);
        }
    }
    assert_eq!(left, [jobs[0], jobs[3], jobs[4]], "in their order");
    assert_eq!(look().await, 0, "twice is once");
}
