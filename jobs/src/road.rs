//! Publishing after the commit: what a transition made claimable goes on the road, within the window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_broker::Broker;
use gristmill_core::dispatch::{Dispatch, Purpose};
use gristmill_store::{Dispatched, StoreHandle, crash};
use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;

/// For how long a queue's depth is believed. Asking the broker for every publish would cost more
/// than the publish; within this time we count on from what we published ourselves.
const DEPTH_AGE: Duration = Duration::from_millis(200);

/// Carries what the store has committed to the broker. Clones share it.
///
/// It never fails its caller: what is not published stays in the outbox, and the relay takes it.
#[derive(Debug, Clone)]
pub struct Road(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: StoreHandle,
    broker: Broker,
    window: u64,
    depths: Mutex<BTreeMap<String, Depth>>,
    queues: watch::Sender<BTreeSet<String>>,
    work: Notify,
    troubled: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Depth {
    jobs: u64,
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

impl Road {
    /// A road from that store over that broker. `window` is the most published but unclaimed
    /// messages in one queue.
    pub fn new(store: StoreHandle, broker: Broker, window: u32) -> Self {
        gristmill_broker::passage::tell(crash::point);
        Self(Arc::new(Inner {
            store,
            broker,
            window: u64::from(window),
            depths: Mutex::default(),
            queues: watch::Sender::new(BTreeSet::new()),
            work: Notify::new(),
            troubled: AtomicBool::new(false),
        }))
    }

    /// The broker below.
    pub fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// Queues on which this process has published, so that workers of the same process need not
    /// wait until they find them in the store.
    pub fn queues(&self) -> watch::Receiver<BTreeSet<String>> {
        self.0.queues.subscribe()
    }

    /// Waits until this process has made work claimable. A hint, never the truth.
    pub async fn work(&self) {
        self.0.work.notified().await;
    }

    /// Publishes what a transaction made claimable. Call it after the commit.
    pub async fn publish(&self, dispatched: &Dispatched) -> Carried {
        if dispatched.moved > 0 {
            self.0.work.notify_one();
        }
        if dispatched.dispatches.is_empty() {
            return Carried::default();
        }
        self.publish_rows(dispatched.dispatches.clone()).await
    }

    /// Publishes outbox rows, as many as the window lets through.
    pub async fn publish_rows(&self, rows: Vec<Dispatch>) -> Carried {
        self.remember(&rows);
        if !self.0.broker.carries() {
            self.wake_within(&rows).await;
            return Carried::default();
        }
        if !self.0.broker.health().borrow().is_up() {
            return Carried { published: 0, held: rows };
        }
        let (mut open, mut held) = (Vec::new(), Vec::new());
        for row in rows {
            if self.enter(&row).await { open.push(row) } else { held.push(row) }
        }
        let published = self.send(&open, &mut held).await;
        Carried { published, held }
    }

    /// In one process nothing travels but the hint; rows that an earlier configuration left in the
    /// outbox have no other use.
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

    /// Whether the row's queue has room, and takes that room. A row larger than the window passes
    /// when its queue is empty: else it could never pass.
    async fn enter(&self, row: &Dispatch) -> bool {
        if row.purpose == Purpose::DeadLetter {
            return true;
        }
        let jobs = row.jobs.len() as u64;
        let mut depths = self.0.depths.lock().await;
        let known = depths.get(&row.queue).copied().filter(|depth| depth.asked.elapsed() < DEPTH_AGE);
        let depth = match known {
            Some(depth) => depth,
            None => Depth { jobs: self.depth(&row.queue).await, asked: Instant::now() },
        };
        let open = depth.jobs == 0 || depth.jobs + jobs <= self.0.window;
        let jobs = if open { depth.jobs + jobs } else { depth.jobs };
        depths.insert(row.queue.clone(), Depth { jobs, ..depth });
        open
    }

    /// A broker that cannot say how full a queue is will not take our messages either: the publish
    /// finds out and says so.
    async fn depth(&self, queue: &str) -> u64 {
        self.0.broker.depth(queue).await.ok().flatten().map_or(0, u64::from)
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
        crash::point("publish.confirmed");
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

    /// Once for an outage, since every publish meets it.
    fn trouble(&self, error: &dyn std::fmt::Display) {
        if !self.0.troubled.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "publishing waits: what is committed stays in the outbox until it can be published");
        }
    }
}
