//! Pauses: nothing new starts, what runs goes on, and a resume needs no later look.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_broker::testing::Namespace;
use gristmill_broker::{Broker, Health};
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::JobState;
use gristmill_store::testing::{TestStore, batch, eventually};
use gristmill_store::{ControlReport, Pause, PauseView};

use crate::env::{TestEnv, env, ground_on};
use crate::loops::{Process, begun};
use crate::messages::until;

/// What is paused.
#[derive(Clone, Copy)]
enum What {
    Queue,
    Batch(BatchId),
}

impl What {
    async fn pause(self, env: &TestEnv, pause: Option<&Pause>) -> ControlReport {
        let control_report = match self {
            Self::Queue => env.store.pause_queue(DEFAULT_TENANT, "default", pause, false).await,
            Self::Batch(id) => env.store.pause_batch(DEFAULT_TENANT, id, pause, false).await,
        };
        let control_report = control_report.expect("steered");
        env.dispatcher.publish(&control_report.dispatched).await;
        control_report
    }

    async fn view(self, env: &TestEnv) -> Option<PauseView> {
        match self {
            Self::Queue => {
                let queues = env.store.queues(DEFAULT_TENANT).await.expect("listed");
                queues.into_iter().find(|queue| queue.name == "default").expect("it is there").pause
            }
            Self::Batch(id) => env.store.batch(DEFAULT_TENANT, id).await.expect("asked").expect("it is there").pause,
        }
    }

    async fn enqueue(self, env: &TestEnv, what: &str) -> JobId {
        let of = match self {
            Self::Queue => None,
            Self::Batch(id) => Some(id),
        };
        env.enqueue(what, |job| job.batch = of).await
    }
}

/// The only ways to work here are hints and messages: the next poll is an hour away, and no probe runs.
async fn what_is_paused_waits_and_starts_when_it_is_resumed(env: &TestEnv) {
    let mut options = env.options();
    options.settings.poll = Span(Duration::from_secs(3_600));
    // Stopping would wait for that poll: the worker goes down with the test.
    let _process = Process::start(options);
    let new = batch();
    env.store.create_batch(&new).await.expect("created");
    let mut attempts = 0;
    for what in [What::Queue, What::Batch(new.id)] {
        let running = what.enqueue(env, "wait").await;
        attempts += 1;
        begun(env, attempts).await;
        let pause = Pause { by: Some("ann@desk".to_owned()), reason: Some("the printer burns".to_owned()) };
        what.pause(env, Some(&pause)).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(what.enqueue(env, "succeed").await);
        }
        let through = env.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
        env.until(through, JobState::Done).await;
        let dropped =
            async || matches!(env.dispatcher.broker().depth("default").await, Ok(None | Some(0))).then_some(());
        eventually("the worker drops the messages of what is paused", dropped).await;
        for id in &waiting {
            assert_eq!(env.job(*id).await.state, JobState::Queued, "nothing new starts");
        }
        assert_eq!(env.job(running).await.state, JobState::Running, "what runs goes on");
        let seen = what.view(env).await.expect("it is paused");
        assert_eq!((seen.by, seen.reason), (pause.by, pause.reason));
        env.hand.go.notify_one();
        env.until(running, JobState::Done).await;

        assert_eq!(what.pause(env, None).await.affected, 3);
        for id in &waiting {
            env.until(*id, JobState::Done).await;
        }
        assert_eq!(what.view(env).await, None);
        attempts += 4;
        begun(env, attempts).await;
    }
    assert_eq!(env.hand.begun.load(Ordering::SeqCst), attempts, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_what_is_paused_waits_and_starts_when_it_is_resumed() {
    what_is_paused_waits_and_starts_when_it_is_resumed(&env().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_what_is_paused_waits_and_starts_when_it_is_resumed() {
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let env = ground_on(TestStore::postgres(false).await, broker, 20_000);
    what_is_paused_waits_and_starts_when_it_is_resumed(&env).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_and_rabbitmq_what_is_paused_waits_and_starts_when_it_is_resumed() {
    let namespace = Namespace::new(&["default", "mail"]);
    let settings = namespace.settings();
    let broker = namespace.connect(&settings).await;
    let env = ground_on(TestStore::postgres(true).await, broker, settings.window);
    until(&env, Health::is_up).await;
    what_is_paused_waits_and_starts_when_it_is_resumed(&env).await;
}
