//! The environment of the worker's tests: a store of their own, and handlers that do what a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_broker::Broker;
use gristmill_core::attempt_log::{LogLevel, LogSource};
use gristmill_core::duration::Span;
use gristmill_core::id::{DEFAULT_TENANT, JobId};
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::retry::RetryPolicy;
use gristmill_jobs::attempt_log::Voice;
use gristmill_jobs::{Finish, Handler, JobContext, Registry};
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::testing::TestStore;
use gristmill_store::{JobView, StoreHandle};
use gristmill_worker::{Settings, Worker, WorkerOptions};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

/// A store of its own and what is built on it.
pub(crate) struct TestEnv {
    pub(crate) store: StoreHandle,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) hand: Arc<Hand>,
    /// The database itself, which lives as long as the test.
    pub(crate) home: TestStore,
}

/// What the handlers of a test share.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    /// How many attempts have begun.
    pub(crate) begun: AtomicU32,
    /// One permit for each attempt that has begun.
    pub(crate) begins: Notify,
    /// Releases one handler that waits.
    pub(crate) go: Notify,
    /// How many handlers were notified that their attempt is over.
    pub(crate) cancelled: AtomicU32,
}

/// Does what its payload says.
struct Told(Arc<Hand>);

#[async_trait]
impl Handler for Told {
    async fn run(&self, context: JobContext) -> Finish {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.begins.notify_one();
        let (hand, cancel) = (Arc::clone(&self.0), context.cancel.clone());
        tokio::spawn(async move {
            cancel.cancelled().await;
            hand.cancelled.fetch_add(1, Ordering::SeqCst);
        });
        match context.job.payload["do"].as_str().expect("every payload says what to do") {
            "succeed" => Finish::done(Some(json!({ "attempt": context.job.fence.attempt }))),
            "fail" => Finish::failed("it does not work"),
            "fail once" if context.job.fence.attempt == 1 => Finish::failed("it does not work yet"),
            "fail once" => Finish::done(None),
            "give up" => Finish::permanent("it never works"),
            "panic" => panic!("the handler broke at line {}", 42),
            "wait" => {
                self.0.go.notified().await;
                Finish::done(None)
            }
            "hang" => std::future::pending().await,
            "snooze" => Finish::snooze("the shop is closed", Duration::from_secs(600)),
            "listen" => {
                context.cancel.cancelled().await;
                Finish::failed("it was told to end")
            }
            "speak" => {
                let voice = Voice::current().expect("an attempt has a voice");
                voice.say(LogSource::Handler, Some(LogLevel::Info), "good morning, password=hunter2");
                self.0.go.notified().await;
                voice.say(LogSource::Handler, Some(LogLevel::Warn), "good night");
                Finish::done(None)
            }
            other => panic!("no test does `{other}`"),
        }
    }
}

/// On SQLite, in one process.
pub(crate) async fn env() -> TestEnv {
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    ground_on(TestStore::sqlite(false).await, broker, 20_000)
}

/// On that store, over that broker.
pub(crate) fn ground_on(store: TestStore, broker: Broker, window: u32) -> TestEnv {
    let dispatcher = Dispatcher::new(store.handle(), broker, window);
    TestEnv { store: store.handle(), dispatcher, hand: Arc::default(), home: store }
}

/// Never ends by itself, whatever its payload.
struct Hanging(Arc<Hand>);

#[async_trait]
impl Handler for Hanging {
    async fn run(&self, _: JobContext) -> Finish {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.begins.notify_one();
        std::future::pending().await
    }
}

impl TestEnv {
    /// A handler that never ends by itself.
    pub(crate) fn hanging(&self) -> Arc<dyn Handler> {
        Arc::new(Hanging(Arc::clone(&self.hand)))
    }

    pub(crate) fn options(&self) -> WorkerOptions {
        let mut registry = Registry::default();
        registry.insert("told", Arc::new(Told(Arc::clone(&self.hand))));
        WorkerOptions {
            store: Arc::clone(&self.store),
            dispatcher: self.dispatcher.clone(),
            registry,
            layers: Default::default(),
            settings: Settings { poll: Span(Duration::from_millis(10)), ..Settings::default() },
            fallback_after: Duration::from_secs(30),
            role: "worker".to_owned(),
        }
    }

    pub(crate) async fn worker(&self) -> Worker {
        Worker::enter(self.options()).await.expect("a worker")
    }

    /// Enqueues a job that does so.
    pub(crate) async fn enqueue(&self, what: &str, shape: impl FnOnce(&mut NewJob)) -> JobId {
        let mut job = NewJob::new(JobId(Uuid::now_v7()), "told", json!({ "do": what }));
        job.retry = RetryPolicy::Fixed(Span(Duration::ZERO));
        shape(&mut job);
        let report = self.store.enqueue(&[job]).await.expect("enqueued");
        self.dispatcher.publish(&report.dispatched).await;
        report.jobs[0].id
    }

    pub(crate) async fn job(&self, id: JobId) -> JobView {
        self.store.job(DEFAULT_TENANT, id).await.expect("the store answers").expect("the job is there")
    }

    /// Waits until the job is in that state, at most ten seconds.
    pub(crate) async fn until(&self, id: JobId, state: JobState) -> JobView {
        let look = async {
            loop {
                let job = self.job(id).await;
                if job.state == state {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(120), look).await {
            Ok(job) => job,
            Err(_) => panic!("the job never became {state}: it is {:?}", self.job(id).await),
        }
    }
}

/// The payload of a job that does so.
pub(crate) fn told(what: &str) -> Value {
    json!({ "do": what })
}
