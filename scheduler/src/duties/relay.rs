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
/// relay takes after that is not published by both.
const HELD_FOR: Duration = Duration::from_secs(25);

/// How often the queues of rows in hand are fed, between two looks for rows.
const FEED_EVERY: Duration = Duration::from_millis(200);

/// How long one feeding waits for the broker. What takes longer goes on beside the next one.
const PATIENCE: Duration = Duration::from_millis(500);

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
    /// Takes unpublished rows, at most so many that `limit` are in hand, publishes what may pass, and returns how many
    /// jobs that were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn relay(&mut self, store: &dyn Outbox, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
        self.hand.retain(|(taken, _)| taken.elapsed() < HELD_FOR);
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(self.in_hand());
        // While the broker is away, rows are safer with the store, where another relay finds them.
        if room > 0 && dispatcher.broker().health().borrow().is_up() {
            let now = Instant::now();
            let rows = store.outbox_take(OLDER_THAN, u32::try_from(room).unwrap_or(u32::MAX)).await?;
            self.hand.extend(rows.into_iter().map(|row| (now, row)));
        }
        Ok(self.feed(dispatcher).await)
    }

    /// Publishes what may pass of the rows in hand, and returns how many jobs have been published since the last call.
    /// Cheap when there are none.
    pub async fn feed(&mut self, dispatcher: &Dispatcher) -> u64 {
        let mut published = 0;
        while let Some(fed) = self.under_way.try_join_next_with_id() {
            published += self.back(fed);
        }
        self.send(dispatcher);
        let deadline = Instant::now() + PATIENCE;
        while let Ok(Some(fed)) = timeout_at(deadline, self.under_way.join_next_with_id()).await {
            published += self.back(fed);
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

/// Looks for rows at its rhythm, and feeds the queues more often while there are rows in hand.
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

    fn work(&mut self, wake: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            let Common { store, dispatcher } = &self.common;
            if wake == Wake::Asked {
                self.relay.feed(dispatcher).await;
            } else {
                self.relay.relay(&**store, dispatcher, self.rows_max).await?;
            }
            Ok(if self.relay.in_hand() == 0 { Next::Beat } else { Next::In(FEED_EVERY) })
        })
    }
}
