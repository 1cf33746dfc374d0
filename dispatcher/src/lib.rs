//! Publishing after the commit: the jobs that a transition made claimable go to the broker, within the window.

mod committed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use gristmill_broker::circuit_breaker::CircuitBreaker;
use gristmill_broker::{Broker, BrokerError, UnresponsiveQueue};
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_store::{Dispatched, Outbox, StoreHandle, failpoint};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use committed::Committed;

/// How long a queue's depth is trusted. Asking the broker for every publish would cost more than the publish; within
/// this time the dispatcher adds its own publishes to the last answer.
const DEPTH_AGE: Duration = Duration::from_millis(200);

/// Carries what the store has committed to the broker. Clones share it.
///
/// It never fails its caller: whatever is not published stays in the outbox, and the relay takes it.
#[derive(Debug, Clone)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Outbox>,
    broker: Broker,
    window: u64,
    depths: Mutex<BTreeMap<String, Depth>>,
    breaker: CircuitBreaker,
    queues: watch::Sender<BTreeSet<String>>,
    work: Notify,
    troubled: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Depth {
    /// `None` when there was no answer.
    jobs: Option<u64>,
    asked: Instant,
}

/// What became of dispatches, in jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Confirmed by the broker, and gone from the outbox.
    pub published: u64,
    /// Outbox rows that wait in the store, because their queue is full or the broker is away.
    pub held: Vec<Dispatch>,
}

impl Dispatcher {
    /// Creates a dispatcher from that store to that broker. `window` is the most published but unclaimed messages in
    /// one queue.
    pub fn new(store: StoreHandle, broker: Broker, window: u32) -> Self {
        gristmill_broker::failpoint::listen(failpoint::point);
        Self(Arc::new(Inner {
            store,
            broker,
            window: u64::from(window),
            depths: Mutex::default(),
            breaker: CircuitBreaker::default(),
            queues: watch::Sender::new(BTreeSet::new()),
            work: Notify::new(),
            troubled: AtomicBool::new(false),
        }))
    }

    /// The broker that it publishes to.
    pub fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// Returns the queues on which this process has published, so that workers of the same process need not wait until
    /// they find them in the store.
    pub fn queues(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.queues.subscribe()
    }

    /// Returns the broker's queues that did not answer this process recently, the longest silence first.
    pub fn unresponsive(&self) -> Vec<UnresponsiveQueue> {
        let mut unresponsive = self.0.broker.unresponsive();
        unresponsive.extend(self.0.breaker.unresponsive());
        unresponsive.sort_by_key(|silence| silence.since);
        unresponsive
    }

    /// Waits until this process has made work claimable. A hint, never the truth.
    pub async fn work(&self) {
        self.0.work.notified().await;
    }

    /// Awaits a transition of the store and publishes what its commit left behind. When the transition fails, nothing
    /// is published.
    ///
    /// # Errors
    ///
    /// The error of the transition.
    pub async fn after<T: Committed, E>(&self, transition: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let committed = transition.await?;
        self.hand_over(&committed).await;
        Ok(committed)
    }

    /// Publishes what a commit left behind in its own task, so that the next commit need not wait for the broker's
    /// confirms, which take as long as a commit does. No task is spawned when nothing was left.
    pub fn beside(&self, tasks: &TaskTracker, committed: &impl Committed) {
        for left in committed.left().iter().filter(|left| left.moved > 0 || !left.dispatches.is_empty()) {
            let (dispatcher, left) = (self.clone(), left.clone());
            tasks.spawn(async move { dispatcher.publish(&left).await });
        }
    }

    /// Publishes what a commit left behind.
    pub async fn hand_over(&self, committed: &impl Committed) {
        for left in committed.left() {
            self.publish(left).await;
        }
    }

    /// Publishes what a transaction made claimable, after the commit. Other crates use [`Dispatcher::after`] or a verb,
    /// which cannot forget it.
    pub async fn publish(&self, dispatched: &Dispatched) -> Carried {
        if dispatched.moved > 0 {
            self.0.work.notify_one();
        }
        if dispatched.dispatches.is_empty() {
            return Carried::default();
        }
        self.publish_rows(dispatched.dispatches.clone()).await
    }

    /// Publishes as many outbox rows as the window allows.
    pub async fn publish_rows(&self, rows: Vec<Dispatch>) -> Carried {
        self.remember(&rows);
        if !self.0.broker.carries() {
            self.wake_within(&rows).await;
            return Carried::default();
        }
        if !self.0.broker.health().borrow().is_up() {
            return Carried { published: 0, held: rows };
        }
        self.ask(&rows).await;
        let mut depths = self.0.depths.lock().await;
        let (open, mut held) = rows.into_iter().partition::<Vec<_>, _>(|row| self.enters(&mut depths, row));
        drop(depths);
        let published = self.send(&open, &mut held).await;
        Carried { published, held }
    }

    /// In-process only the hint travels; rows that an earlier configuration left in the outbox have no other use.
    async fn wake_within(&self, rows: &[Dispatch]) {
        self.0.work.notify_one();
        // The broker has nothing to confirm here, and its hints are only hints.
        let _ = self.0.broker.publish(rows).await;
        self.done(&rows.iter().map(|row| row.outbox).collect::<Vec<_>>()).await;
    }

    fn remember(&self, rows: &[Dispatch]) {
        self.0.queues.send_if_modified(|known| {
            let before = known.len();
            for row in rows.iter().filter(|row| !known.contains(&row.queue)).collect::<Vec<_>>() {
                known.insert(row.queue.clone());
            }
            known.len() > before
        });
    }

    /// Asks how full the rows' queues are, all at once: one of them may be slow to answer.
    async fn ask(&self, rows: &[Dispatch]) {
        let (begun, depths) = (Instant::now(), self.0.depths.lock().await);
        let stale = |queue: &&str| depths.get(*queue).is_none_or(|depth| depth.asked.elapsed() >= DEPTH_AGE);
        let queues = rows.iter().filter(|row| row.purpose == Purpose::Dispatch).map(|row| row.queue.as_str());
        let asked: BTreeSet<&str> = queues.filter(stale).collect();
        drop(depths);
        let answers = join_all(asked.into_iter().map(async |queue| (queue, self.depth(queue).await))).await;
        let (asked, mut depths) = (Instant::now(), self.0.depths.lock().await);
        for (queue, jobs) in answers {
            // A concurrent caller may have published since: that is included in its own answer.
            if depths.get(queue).is_none_or(|depth| depth.asked < begun) {
                depths.insert(queue.to_owned(), Depth { jobs, asked });
            }
        }
    }

    /// Whether the row's queue has room; if so, takes it. A row larger than the window passes when its queue is empty,
    /// because otherwise it could never pass. Nothing passes to an unresponsive queue: a queue that does not report its
    /// depth will not take our messages either.
    fn enters(&self, depths: &mut BTreeMap<String, Depth>, row: &Dispatch) -> bool {
        let Some(depth) = depths.get_mut(&row.queue).filter(|_| row.purpose == Purpose::Dispatch) else { return true };
        let Some(before) = depth.jobs else { return false };
        let jobs = row.jobs.len() as u64;
        let open = before == 0 || before + jobs <= self.0.window;
        if open {
            depth.jobs = Some(before + jobs);
        }
        open
    }

    /// A queue that is refused counts as empty: the publish then fails and reports why.
    async fn depth(&self, queue: &str) -> Option<u64> {
        let permit = self.0.breaker.enter(&format!("the queue `{queue}`"))?;
        match self.0.broker.depth(queue).await {
            Err(BrokerError::Unavailable(reason)) => {
                tracing::debug!(queue, reason, "the broker does not say how full a queue is");
                permit.fail();
                None
            }
            answer => {
                permit.succeed();
                Some(answer.ok().flatten().map_or(0, u64::from))
            }
        }
    }

    async fn send(&self, open: &[Dispatch], held: &mut Vec<Dispatch>) -> u64 {
        if open.is_empty() {
            return 0;
        }
        let confirmed: BTreeSet<i64> = match self.0.broker.publish(open).await {
            Ok(published) => published.confirmed.into_iter().collect(),
            Err(error) => {
                self.trouble(&error);
                held.extend_from_slice(open);
                return 0;
            }
        };
        let mut jobs = 0;
        for row in open {
            if confirmed.contains(&row.outbox) {
                jobs += row.jobs.len() as u64;
            } else {
                held.push(row.clone());
            }
        }
        if jobs > 0 {
            self.0.troubled.store(false, Ordering::Relaxed);
        }
        metrics::counter!("gristmill_published_total").increment(jobs);
        failpoint::point("publish.confirmed");
        self.done(&confirmed.into_iter().collect::<Vec<_>>()).await;
        jobs
    }

    /// A row that stays is published once more, and the claim drops the duplicates: no harm.
    async fn done(&self, rows: &[i64]) {
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.0.store.outbox_done(rows).await {
            self.trouble(&error);
        }
    }

    /// Logs once per outage, since every publish encounters it.
    fn trouble(&self, error: &dyn std::fmt::Display) {
        if !self.0.troubled.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "publishing waits: what is committed stays in the outbox until it can be published");
        }
    }
}
