//! Relay: publishes outbox rows that their creator did not publish, as far as the window lets them through.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Dispatch, Outbox, Result};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// Younger rows are left to their creator, which is about to publish them.
const OLDER_THAN: Duration = Duration::from_secs(1);

/// How long rows are kept in hand: a little less than the store holds them for this relay, so that a row that another
/// relay takes after that is not published by both. Not much less: the rows behind them wait until they are free.
const HELD_FOR: Duration = Duration::from_secs(29);

/// What part of the rows that are handled at a time one priority of one queue may have in hand. A quarter of a thousand
/// rows of a thousand ids fills its window twelve times.
const SHARE: u32 = 4;

/// How long rows are taken and published before other work of the scheduler is looked at.
const ROUND: Duration = Duration::from_secs(1);

/// How often the queues of rows in hand are fed, between two looks for rows. Within this time no queue drains its
/// window.
const FEED_EVERY: Duration = Duration::from_millis(100);

/// How long one feeding waits for the broker. What takes longer goes on beside the next one.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much longer it waits once a queue has been fed: what is ready must not wait for a queue that gives no answer.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_millis(50);

/// Keeps rows in hand while their queues are full: asking the store again for each of them would only find them held by
/// ourselves, and an empty queue would wait for the hold to expire.
///
/// Each queue is fed by itself, so that one that does not answer holds up nothing but itself.
#[derive(Debug, Default)]
pub struct OutboxRelay {
    hand: VecDeque<Row>,
    under_way: JoinSet<Fed>,
    /// For each task under way, the queue that it feeds and how many rows it has.
    busy: HashMap<task::Id, (String, usize)>,
}

/// A row, and when it was taken from the store.
type Row = (Instant, Dispatch);

/// How many jobs were published, and the rows that were not.
type Fed = (u64, Vec<Row>);

impl OutboxRelay {
    /// Takes unpublished rows, at most `limit` at a time and of each queue and priority a share of it, publishes what
    /// may pass, and goes on while there are more and they pass. Returns how many jobs that were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn relay(&mut self, store: &dyn Outbox, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
        let (begun, mut published) = (Instant::now(), 0);
        loop {
            self.hand.retain(|(taken, _)| taken.elapsed() < HELD_FOR);
            let taken = self.take(store, dispatcher, limit).await?;
            let passed = self.feed(dispatcher).await;
            published += passed;
            if taken == 0 || passed == 0 || begun.elapsed() >= ROUND {
                return Ok(published);
            }
        }
    }

    /// Returns how many rows were taken. While the broker is away, rows are safer with the store, where another relay
    /// finds them.
    async fn take(&mut self, store: &dyn Outbox, dispatcher: &Dispatcher, limit: u32) -> Result<usize> {
        if !dispatcher.broker().health().borrow().is_up() {
            return Ok(0);
        }
        let now = Instant::now();
        let rows = store.outbox_take(OLDER_THAN, limit.div_ceil(SHARE), limit).await?;
        let taken = rows.len();
        self.hand.extend(rows.into_iter().map(|row| (now, row)));
        Ok(taken)
    }

    /// Publishes what may pass of the rows in hand, and returns how many jobs have been published since the last call.
    /// Cheap when there are none.
    pub async fn feed(&mut self, dispatcher: &Dispatcher) -> u64 {
        let mut published = 0;
        while let Some(fed) = self.under_way.try_join_next_with_id() {
            published += self.back(fed);
        }
        self.send(dispatcher);
        let mut deadline = Instant::now() + PATIENCE;
        while let Ok(Some(fed)) = timeout_at(deadline, self.under_way.join_next_with_id()).await {
            published += self.back(fed);
            deadline = deadline.min(Instant::now() + PATIENCE_WITH_OTHERS);
        }
        published
    }

    /// How many rows wait for room in their queue, or for the broker.
    pub fn in_hand(&self) -> usize {
        self.hand.len() + self.busy.values().map(|(_, rows)| rows).sum::<usize>()
    }

    /// Starts publishing the rows of every queue that has no publishing under way.
    fn send(&mut self, dispatcher: &Dispatcher) {
        let busy: HashSet<&String> = self.busy.values().map(|(queue, _)| queue).collect();
        let mut queues: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in std::mem::take(&mut self.hand) {
            if busy.contains(&row.1.queue) {
                self.hand.push_back(row);
            } else {
                queues.entry(row.1.queue.clone()).or_default().push(row);
            }
        }
        for (queue, rows) in queues {
            let count = rows.len();
            let task = self.under_way.spawn(carry(dispatcher.clone(), rows));
            self.busy.insert(task.id(), (queue, count));
        }
    }

    fn back(&mut self, fed: std::result::Result<(task::Id, Fed), JoinError>) -> u64 {
        match fed {
            Ok((task, (published, held))) => {
                self.busy.remove(&task);
                self.hand.extend(held);
                published
            }
            // Its rows return to the store when it no longer holds them for us.
            Err(error) => {
                self.busy.remove(&error.id());
                0
            }
        }
    }
}

async fn carry(dispatcher: Dispatcher, rows: Vec<Row>) -> Fed {
    let taken: HashMap<i64, Instant> = rows.iter().map(|(taken, row)| (row.outbox, *taken)).collect();
    let carried = dispatcher.publish_rows(rows.into_iter().map(|(_, row)| row).collect()).await;
    let held = carried.held.into_iter().filter_map(|row| Some((*taken.get(&row.outbox)?, row)));
    (carried.published, held.collect())
}

/// Looks for rows at its rhythm, and more often while there are rows in hand.
pub(super) struct Relay {
    common: Common,
    every: Duration,
    rows_max: u32,
    relay: OutboxRelay,
}

impl Relay {
    pub(super) fn new(common: Common, every: Duration, rows_max: u32) -> Self {
        Self { common, every, rows_max, relay: OutboxRelay::default() }
    }
}

impl Duty for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            let Common { store, dispatcher } = &self.common;
            let begun = Instant::now();
            self.relay.relay(&**store, dispatcher, self.rows_max).await?;
            Ok(match self.relay.in_hand() {
                0 if begun.elapsed() >= ROUND => Next::Now,
                0 => Next::Beat,
                _ => Next::In(FEED_EVERY),
            })
        })
    }
}
