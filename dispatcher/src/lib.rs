//! Publishing after the commit: the jobs that a transition made claimable go to the broker, within the window.

mod committed;
mod overlap;
mod published;
mod window;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use gristmill_broker::circuit_breaker::CircuitBreaker;
use gristmill_broker::{Broker, BrokerError, UnresponsiveQueue};
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_core::id::JobId;
use gristmill_store::{Dispatched, Outbox, StoreHandle, failpoint};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

pub use committed::Committed;
pub use overlap::Overlap;
use published::PublishedRows;
use window::{Ask, Question, Windows};

/// Carries what the store has committed to the broker. Clones share it.
///
/// It never fails its caller: whatever is not published stays in the outbox, and the relay takes it.
#[derive(Debug, Clone)]
pub struct Dispatcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Outbox>,
    published: PublishedRows,
    broker: Broker,
    windows: Windows,
    breaker: CircuitBreaker,
    queues: watch::Sender<BTreeSet<String>>,
    work: Notify,
    troubled: AtomicBool,
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
            published: PublishedRows::new(store.clone()),
            store,
            broker,
            windows: Windows::new(u64::from(window)),
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

    /// The most published but unclaimed messages in one queue.
    pub fn window(&self) -> u64 {
        self.0.windows.most()
    }

    /// Asks the broker how many messages wait in a queue, and remembers the answer. `None` when there is none.
    pub async fn depth(&self, queue: &str) -> Option<u64> {
        self.ask_one(queue, self.0.windows.asking(queue)).await;
        self.0.windows.depth(queue)
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
        let (open, mut held) = rows.into_iter().partition::<Vec<_>, _>(|row| self.0.windows.enters(row));
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

    /// Asks how full the rows' queues are where that is not known well enough, all at once: one of them may be slow to
    /// answer.
    async fn ask(&self, rows: &[Dispatch]) {
        let (mut first, mut beside) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            match self.0.windows.ask(row) {
                Ask::Not => {}
                Ask::Beside => drop(beside.insert(row.queue.as_str())),
                Ask::First => drop(first.insert(row.queue.as_str())),
            }
        }
        for queue in beside.difference(&first) {
            let (dispatcher, queue, question) = (self.clone(), (*queue).to_owned(), self.0.windows.asking(queue));
            tokio::spawn(async move { dispatcher.ask_one(&queue, question).await });
        }
        join_all(first.into_iter().map(|queue| self.ask_one(queue, self.0.windows.asking(queue)))).await;
    }

    async fn ask_one(&self, queue: &str, question: Question) {
        let jobs = self.waiting(queue).await;
        self.0.windows.answered(queue, question, jobs);
    }

    /// A queue that is refused counts as empty: the publish then fails and reports why.
    async fn waiting(&self, queue: &str) -> Option<u64> {
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
        let confirmed: BTreeSet<i64> = match self.confirmed(open).await {
            Ok(rows) => rows.into_iter().collect(),
            Err(reason) => {
                self.trouble(&reason);
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

    /// Publishes rows, and returns those that are confirmed. The error says why none could be. Copies of dead jobs say
    /// what the store knows of them; a job that has been redriven meanwhile gets none.
    async fn confirmed(&self, rows: &[Dispatch]) -> Result<Vec<i64>, String> {
        let dead = rows.iter().filter(|row| row.purpose == Purpose::DeadLetter);
        let dead: Vec<JobId> = dead.flat_map(|row| row.jobs.iter().copied()).collect();
        if dead.is_empty() {
            let published = self.0.broker.publish(rows).await;
            return published.map(|published| published.confirmed).map_err(|error| error.to_string());
        }
        let letters = self.0.store.dead_letters(&dead).await.map_err(|error| error.to_string())?;
        let known: BTreeSet<JobId> = letters.iter().map(|letter| letter.job).collect();
        let mut rows = rows.to_vec();
        for row in rows.iter_mut().filter(|row| row.purpose == Purpose::DeadLetter) {
            row.jobs.retain(|job| known.contains(job));
        }
        let published = self.0.broker.publish_with(&rows, &letters).await;
        published.map(|published| published.confirmed).map_err(|error| error.to_string())
    }

    async fn done(&self, rows: &[i64]) {
        if let Err(error) = self.0.published.remove(rows).await {
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
