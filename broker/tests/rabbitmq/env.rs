//! A namespace for one test, what a test does with it, and its clean-up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use gristmill_broker::testing::{Admin, Namespace};
pub(crate) use gristmill_broker::testing::{PATIENCE, amqp};
use gristmill_broker::{Broker, ConsumeOptions, Consumer, Delivery, Settings};
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use tokio::time::Instant;
use uuid::Uuid;

/// One test's namespace.
#[derive(Clone)]
pub(crate) struct TestEnv {
    pub(crate) settings: Settings,
    pub(crate) namespace: Arc<Namespace>,
}

/// Runs a test in a namespace that is cleared away whatever its outcome.
pub(crate) async fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(TestEnv) -> F) {
    let namespace = Arc::new(Namespace::new(&["mail", "chunks"]));
    test(TestEnv { settings: namespace.settings(), namespace }).await;
}

impl TestEnv {
    pub(crate) async fn broker(&self) -> Broker {
        self.namespace.connect(&self.settings).await
    }

    /// The same broker through another port, such as a proxy's.
    pub(crate) async fn broker_at(&self, port: u16, change: impl FnOnce(&mut Settings)) -> Broker {
        let mut settings = self.namespace.settings_at(port);
        change(&mut settings);
        self.namespace.connect(&settings).await
    }

    /// A connection that bypasses our own code.
    pub(crate) async fn admin(&self) -> Admin {
        self.namespace.admin().await
    }

    pub(crate) fn priority(&self, queue: &str, priority: Priority) -> String {
        self.namespace.priority(queue, priority)
    }

    pub(crate) fn dead(&self, queue: &str) -> String {
        self.namespace.dead(queue)
    }
}

pub(crate) fn dispatch(outbox: i64, queue: &str, priority: Priority, jobs: usize) -> Dispatch {
    let jobs = (0..jobs).map(|_| JobId(Uuid::now_v7())).collect();
    Dispatch { outbox, queue: queue.to_owned(), priority, purpose: Purpose::Dispatch, jobs }
}

pub(crate) async fn consume(broker: &Broker, queues: &[&str], prefetch: u16) -> Consumer {
    let queues = queues.iter().map(ToString::to_string).collect();
    // Longer than any test takes: what waits here stays here.
    broker.consume(ConsumeOptions { queues, prefetch, hold: 100 * PATIENCE }).await.unwrap()
}

/// Takes exactly this many, without settling them.
pub(crate) async fn take(consumer: &Consumer, count: usize) -> Vec<Delivery> {
    let (mut taken, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while taken.len() < count {
        assert!(Instant::now() < deadline, "only {} of {count} messages came", taken.len());
        taken.extend(consumer.next(count - taken.len(), Duration::from_secs(1)).await);
    }
    taken
}

/// The ids of what was taken.
pub(crate) fn ids(deliveries: &[Delivery]) -> HashSet<JobId> {
    deliveries.iter().map(|delivery| delivery.message.as_ref().unwrap().job_id).collect()
}

/// The ids of what was published.
pub(crate) fn sent(dispatches: &[Dispatch]) -> HashSet<JobId> {
    dispatches.iter().flat_map(|dispatch| dispatch.jobs.iter().copied()).collect()
}

/// Waits until the queue has this depth.
pub(crate) async fn until_depth(broker: &Broker, queue: &str, wanted: u32) {
    let (mut depth, deadline) = (None, Instant::now() + PATIENCE);
    while depth != Some(wanted) {
        assert!(Instant::now() < deadline, "{queue} holds {depth:?} messages and never {wanted}");
        depth = broker.depth(queue).await.unwrap();
        tokio::task::yield_now().await;
    }
}
