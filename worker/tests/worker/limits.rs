//! Workers and what is claimed by limits and turns. No scheduler runs here, so no probe finds anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_broker::Health;
use gristmill_broker::testing::Namespace;
use gristmill_core::duration::Span;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_jobs::{Finish, Handler, JobContext};
use gristmill_store::testing::TestStore;
use gristmill_store::{LimitOrigin, LimitSpec, QueueSpec, SaveLimit};
use gristmill_worker::WorkerOptions;
use serde_json::json;
use uuid::Uuid;

use crate::env::{TestEnv, env, ground_on};
use crate::loops::Process;
use crate::messages::until;

/// Counts how many jobs of its kind run at once.
#[derive(Debug, Default)]
struct Counting {
    running: AtomicUsize,
    most: AtomicUsize,
    through: AtomicUsize,
}

#[async_trait]
impl Handler for Counting {
    async fn run(&self, _: JobContext) -> Finish {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.through.fetch_add(1, Ordering::SeqCst);
        Finish::done(None)
    }
}

async fn over_rabbitmq() -> (TestEnv, Namespace) {
    let namespace = Namespace::new(&["default", "mail"]);
    let settings = namespace.settings();
    let broker = namespace.connect(&settings).await;
    let env = ground_on(TestStore::postgres(true).await, broker, settings.window);
    until(&env, Health::is_up).await;
    (env, namespace)
}

fn options(env: &TestEnv, handler: &Arc<Counting>) -> WorkerOptions {
    let mut options = env.options();
    options.registry.insert("counting", Arc::<Counting>::clone(handler));
    options
}

async fn enqueue(env: &TestEnv, count: usize, shape: impl Fn(usize, &mut NewJob)) -> Vec<JobId> {
    let jobs: Vec<NewJob> = (0..count)
        .map(|number| {
            let mut job = NewJob::new(JobId(Uuid::now_v7()), "counting", json!(null));
            shape(number, &mut job);
            job
        })
        .collect();
    let report = env.store.enqueue(&jobs).await.expect("enqueued");
    env.dispatcher.publish(&report.dispatched).await;
    jobs.iter().map(|job| job.id).collect()
}

async fn limit(env: &TestEnv, spec: LimitSpec) {
    let save = SaveLimit { name: "some".to_owned(), origin: LimitOrigin::Command, spec };
    env.store.save_limit(&save).await.expect("saved");
}

fn at_once(most: u32) -> LimitSpec {
    LimitSpec { queues: ["default".to_owned()].into(), concurrency: Some(most), ..LimitSpec::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_never_exceed_a_limit_and_everything_gets_through_without_the_probe() {
    let (env, _namespace) = over_rabbitmq().await;
    limit(&env, at_once(3)).await;
    let counting = Arc::new(Counting::default());
    let workers = [Process::start(options(&env, &counting)), Process::start(options(&env, &counting))];
    let held = enqueue(&env, 60, |_, _| {}).await;
    // Jobs under no limit are claimed by message, beside all that.
    let free = enqueue(&env, 5, |_, job| job.queue = "mail".to_owned()).await;
    for id in held.iter().chain(&free) {
        env.until(*id, JobState::Done).await;
    }
    let settled: u64 = {
        let [one, two] = workers;
        one.stop().await.settled + two.stop().await.settled
    };
    assert_eq!(settled, 65, "each ran once");
    let most = counting.most.load(Ordering::SeqCst);
    assert!((2..=3 + 5).contains(&most), "{most} ran at once");
    assert_eq!(env.store.outbox_backlog().await.expect("answers").rows, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_run_no_more_at_once_than_a_limit_allows() {
    let (env, _namespace) = over_rabbitmq().await;
    limit(&env, at_once(2)).await;
    let counting = Arc::new(Counting::default());
    let workers = [Process::start(options(&env, &counting)), Process::start(options(&env, &counting))];
    for id in enqueue(&env, 80, |number, job| job.key = Some(format!("k{}", number % 3))).await {
        env.until(id, JobState::Done).await;
    }
    for worker in workers {
        worker.stop().await;
    }
    let most = counting.most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most} ran at once");
    assert_eq!(counting.through.load(Ordering::SeqCst), 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_comes_while_messages_are_under_way_holds_and_loses_none_of_them() {
    let (env, _namespace) = over_rabbitmq().await;
    let early = enqueue(&env, 20, |_, _| {}).await;
    limit(&env, at_once(1)).await;
    let counting = Arc::new(Counting::default());
    let worker = Process::start(options(&env, &counting));
    for id in &early {
        env.until(*id, JobState::Done).await;
    }
    assert_eq!(counting.most.load(Ordering::SeqCst), 1, "their messages were only wake-ups");
    // Without the limit, the messages count again.
    let dropped = env.store.drop_limit("some", LimitOrigin::Command, false).await.expect("dropped");
    env.dispatcher.publish(&dropped.dispatched).await;
    for id in enqueue(&env, 20, |_, _| {}).await {
        env.until(id, JobState::Done).await;
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_comes_free_is_taken_at_once_and_not_at_the_next_poll() {
    let env = env().await;
    limit(&env, at_once(1)).await;
    let counting = Arc::new(Counting::default());
    let mut options = options(&env, &counting);
    // Long enough that fifty polls would take hours.
    options.settings.poll = Span(Duration::from_secs(600));
    let worker = Process::start(options);
    for id in enqueue(&env, 50, |_, _| {}).await {
        env.until(id, JobState::Done).await;
    }
    assert_eq!(counting.most.load(Ordering::SeqCst), 1);
    worker.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_lets_the_next_begin_when_its_time_has_come_and_not_at_the_next_poll() {
    let env = env().await;
    let rate = LimitSpec { rate: Some(20), concurrency: None, ..at_once(1) };
    limit(&env, rate).await;
    let counting = Arc::new(Counting::default());
    let mut options = options(&env, &counting);
    options.settings.poll = Span(Duration::from_secs(600));
    let worker = Process::start(options);
    let jobs = enqueue(&env, 10, |_, _| {}).await;
    let mut begun = Vec::new();
    for id in &jobs {
        begun.extend(env.until(*id, JobState::Done).await.started_at);
    }
    begun.sort_unstable();
    let first_to_last = begun[9] - begun[0];
    assert!(first_to_last >= chrono::TimeDelta::milliseconds(450), "nine intervals of 50 ms: {first_to_last}");
    worker.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managed_and_other_queues_share_the_slots_of_a_worker() {
    let env = env().await;
    env.store.save_queue("mail", &QueueSpec { fair: true, age_after: None }).await.expect("saved");
    let counting = Arc::new(Counting::default());
    let mut options = options(&env, &counting);
    options.settings.slots = 1;
    let jobs = enqueue(&env, 40, |number, job| {
        if number % 2 == 0 {
            "mail".clone_into(&mut job.queue);
        }
    })
    .await;
    let mut worker = gristmill_worker::Worker::enter(options).await.expect("a worker");
    for _ in 0..20 {
        assert_eq!(worker.step().await.expect("a step"), 1);
    }
    let mut done = [0, 0];
    for (number, id) in jobs.iter().enumerate() {
        done[number % 2] += usize::from(env.job(*id).await.state == JobState::Done);
    }
    assert_eq!(done, [10, 10]);
    worker.retire().await.expect("retired");
}
