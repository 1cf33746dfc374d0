//! Pauses: nothing new starts, what runs goes on, and a resume needs nobody who looks later.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_broker::testing::Namespace;
use gristmill_broker::{Broker, Health};
use gristmill_core::duration::Span;
use gristmill_core::id::{BatchId, DEFAULT_TENANT, JobId};
use gristmill_core::job::JobState;
use gristmill_store::testing::{TestStore, batch, eventually};
use gristmill_store::{Pause, PauseView, Steered};

use crate::ground::{Ground, ground, ground_on};
use crate::loops::{Process, begun};
use crate::messages::until;

/// What is paused.
#[derive(Clone, Copy)]
enum What {
    Queue,
    Batch(BatchId),
}

impl What {
    async fn pause(self, ground: &Ground, pause: Option<&Pause>) -> Steered {
        let steered = match self {
            Self::Queue => ground.store.pause_queue(DEFAULT_TENANT, "default", pause, false).await,
            Self::Batch(id) => ground.store.pause_batch(DEFAULT_TENANT, id, pause, false).await,
        };
        let steered = steered.expect("steered");
        ground.road.publish(&steered.dispatched).await;
        steered
    }

    async fn view(self, ground: &Ground) -> Option<PauseView> {
        match self {
            Self::Queue => {
                let queues = ground.store.queues(DEFAULT_TENANT).await.expect("listed");
                queues.into_iter().find(|queue| queue.name == "default").expect("it is there").pause
            }
            Self::Batch(id) => ground.store.batch(DEFAULT_TENANT, id).await.expect("asked").expect("it is there").pause,
        }
    }

    async fn enqueue(self, ground: &Ground, what: &str) -> JobId {
        let of = match self {
            Self::Queue => None,
            Self::Batch(id) => Some(id),
        };
        ground.enqueue(what, |job| job.batch = of).await
    }
}

/// The only ways to work here are hints and messages: the next poll is an hour away, and nobody probes.
async fn what_is_paused_waits_and_starts_when_it_is_resumed(ground: &Ground) {
    let mut options = ground.options();
    options.settings.poll = Span(Duration::from_secs(3_600));
    // Stopping would wait for that poll: it goes down with the test.
    let _process = Process::start(options);
    let new = batch();
    ground.store.create_batch(&new).await.expect("created");
    let mut attempts = 0;
    for what in [What::Queue, What::Batch(new.id)] {
        let running = what.enqueue(ground, "wait").await;
        attempts += 1;
        begun(ground, attempts).await;
        let pause = Pause { by: Some("ann@desk".to_owned()), reason: Some("the printer burns".to_owned()) };
        what.pause(ground, Some(&pause)).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            waiting.push(what.enqueue(ground, "succeed").await);
        }
        let through = ground.enqueue("succeed", |job| job.queue = "mail".to_owned()).await;
        ground.until(through, JobState::Done).await;
        let dropped = async || matches!(ground.road.broker().depth("default").await, Ok(None | Some(0))).then_some(());
        eventually("the worker drops the messages of what is paused", dropped).await;
        for id in &waiting {
            assert_eq!(ground.job(*id).await.state, JobState::Queued, "nothing new starts");
        }
        assert_eq!(ground.job(running).await.state, JobState::Running, "what runs goes on");
        let seen = what.view(ground).await.expect("it is paused");
        assert_eq!((seen.by, seen.reason), (pause.by, pause.reason));
        ground.hand.go.notify_one();
        ground.until(running, JobState::Done).await;

        assert_eq!(what.pause(ground, None).await.affected, 3);
        for id in &waiting {
            ground.until(*id, JobState::Done).await;
        }
        assert_eq!(what.view(ground).await, None);
        attempts += 4;
        begun(ground, attempts).await;
    }
    assert_eq!(ground.hand.begun.load(Ordering::SeqCst), attempts, "each ran once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_what_is_paused_waits_and_starts_when_it_is_resumed() {
    what_is_paused_waits_and_starts_when_it_is_resumed(&ground().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_what_is_paused_waits_and_starts_when_it_is_resumed() {
    let broker = Broker::connect(&gristmill_broker::Settings::default()).await.expect("in-process");
    let ground = ground_on(TestStore::postgres(false).await, broker, 20_000);
    what_is_paused_waits_and_starts_when_it_is_resumed(&ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_and_rabbitmq_what_is_paused_waits_and_starts_when_it_is_resumed() {
    let namespace = Namespace::new(&["default", "mail"]);
    let settings = namespace.settings();
    let broker = namespace.connect(&settings).await;
    let ground = ground_on(TestStore::postgres(true).await, broker, settings.window);
    until(&ground, Health::is_up).await;
    what_is_paused_waits_and_starts_when_it_is_resumed(&ground).await;
}
