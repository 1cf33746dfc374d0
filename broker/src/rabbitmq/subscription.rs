//! A consumer of several queues, each with three priorities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use gristmill_core::job::Priority;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::lane_consumer::{self, Shared, Source};
use super::link::{Link, Target};
use super::unacked::{Settle, UnackedDeliveries};
use crate::delivery::Delivery;
use crate::error::BrokerError;

/// How many priorities are declared at once when a consumer starts.
const DECLARED_AT_ONCE: usize = 16;

/// Takes messages from any number of feeds.
#[derive(Debug)]
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    lane_consumers: Mutex<BTreeMap<Source, LaneConsumer>>,
}

#[derive(Debug)]
struct LaneConsumer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Starts to consume. When the broker is reachable, the queues are declared before this returns, so that starting a
    /// worker reports a queue with other arguments. A queue that does not answer is left to its feed.
    pub(crate) async fn start(
        target: Target,
        link: Arc<Link>,
        (prefetch, hold): (u16, Duration),
        sources: BTreeSet<Source>,
    ) -> Result<Self, BrokerError> {
        let over = CancellationToken::new();
        let shared = Arc::new(Shared { target, link, prefetch: prefetch.max(1), hold, inbox: Inbox::new(), over });
        if let Some(live) = shared.link.live() {
            let declared: Vec<_> =
                sources.iter().map(|source| lane_consumer::within(shared.declare(&live, source))).collect();
            let mut declared = futures::stream::iter(declared).buffer_unordered(DECLARED_AT_ONCE);
            while let Some(outcome) = declared.next().await {
                match outcome {
                    Ok(_) | Err(BrokerError::Unavailable(_)) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        let subscription = Self { shared, lane_consumers: Mutex::default() };
        subscription.set(sources);
        Ok(subscription)
    }

    pub(crate) async fn next(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        let taken = self.shared.inbox.next(max, wait).await;
        for receipt in taken.iter().filter_map(|delivery| delivery.receipt.over_rabbitmq()) {
            receipt.unacked.handed_out();
        }
        taken
    }

    /// Starts new sources and ends those that are no longer wanted. Those end by themselves.
    pub(crate) fn set(&self, sources: BTreeSet<Source>) {
        let mut lane_consumers = self.lane_consumers.lock().unwrap_or_else(PoisonError::into_inner);
        lane_consumers.retain(|source, lane_consumer| {
            let wanted = sources.contains(source);
            if !wanted {
                lane_consumer.stop.cancel();
            }
            wanted
        });
        for source in sources {
            lane_consumers.entry(source).or_insert_with_key(|source| {
                let stop = CancellationToken::new();
                let task = tokio::spawn(lane_consumer::run(Arc::clone(&self.shared), source.clone(), stop.clone()));
                LaneConsumer { stop, task }
            });
        }
    }

    pub(crate) async fn settle(&self, deliveries: Vec<Delivery>, how: Settle) {
        settle(deliveries, how).await;
    }

    pub(crate) fn requeue_after(&self, deliveries: Vec<Delivery>, wait: Duration) {
        let over = self.shared.over.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(wait, over.cancelled()).await;
            settle(deliveries, Settle::Requeue).await;
        });
    }

    pub(crate) async fn stop(&self) {
        self.end();
        let lane_consumers = std::mem::take(&mut *self.lane_consumers.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(lane_consumers.into_values().map(|lane_consumer| lane_consumer.task)).await;
    }

    fn end(&self) {
        self.shared.over.cancel();
        for lane_consumer in self.lane_consumers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            lane_consumer.stop.cancel();
        }
    }
}

async fn settle(deliveries: Vec<Delivery>, how: Settle) {
    let mut ledgers: Vec<(Arc<UnackedDeliveries>, Vec<u64>)> = Vec::new();
    for receipt in deliveries.iter().filter_map(|delivery| delivery.receipt.over_rabbitmq()) {
        match ledgers.iter_mut().find(|(unacked, _)| Arc::ptr_eq(unacked, &receipt.unacked)) {
            Some((_, tags)) => tags.push(receipt.tag),
            None => ledgers.push((Arc::clone(&receipt.unacked), vec![receipt.tag])),
        }
    }
    join_all(ledgers.iter().map(|(unacked, tags)| unacked.settle(tags.iter().copied(), how))).await;
}

/// Without an orderly stop the feeds still end in order, on their own.
impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}

/// The priorities of some queues.
pub(crate) fn sources_of(queues: &[String]) -> BTreeSet<Source> {
    queues.iter().flat_map(|queue| Priority::ALL.map(|priority| Source::Priority(queue.clone(), priority))).collect()
}
