//! A consumer of several queues, each with three lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use gristmill_core::job::Lane;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::feed::{self, Shared, Source};
use super::inbox::Inbox;
use super::ledger::{Ledger, Settle};
use super::link::{Link, Target};
use crate::consumer::Delivery;
use crate::error::BrokerError;

/// How many lanes are declared at once when a consumer starts.
const DECLARED_AT_ONCE: usize = 16;

/// Takes messages from any number of feeds.
#[derive(Debug)]
pub(crate) struct Taking {
    shared: Arc<Shared>,
    feeds: Mutex<BTreeMap<Source, Feed>>,
}

#[derive(Debug)]
struct Feed {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Taking {
    /// Starts to consume. When the broker is there, the queues are declared before this returns, so
    /// that whoever starts a worker hears of a queue with other arguments. One that does not answer
    /// is left to its feed.
    pub(crate) async fn start(
        target: Target,
        link: Arc<Link>,
        prefetch: u16,
        sources: BTreeSet<Source>,
    ) -> Result<Self, BrokerError> {
        let over = CancellationToken::new();
        let shared = Arc::new(Shared { target, link, prefetch, inbox: Inbox::new(), over });
        if let Some(live) = shared.link.live() {
            let declared: Vec<_> = sources.iter().map(|source| feed::within(shared.declare(&live, source))).collect();
            let mut declared = futures::stream::iter(declared).buffer_unordered(DECLARED_AT_ONCE);
            while let Some(outcome) = declared.next().await {
                match outcome {
                    Ok(_) | Err(BrokerError::Unavailable(_)) => {}
                    Err(refusal) => return Err(refusal),
                }
            }
        }
        let taking = Self { shared, feeds: Mutex::default() };
        taking.set(sources);
        Ok(taking)
    }

    pub(crate) async fn next(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        self.shared.inbox.next(max, wait).await
    }

    /// Starts what is new and ends what is not wanted any more. Those that end do so by themselves.
    pub(crate) fn set(&self, sources: BTreeSet<Source>) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|source, feed| {
            let wanted = sources.contains(source);
            if !wanted {
                feed.stop.cancel();
            }
            wanted
        });
        for source in sources {
            feeds.entry(source).or_insert_with_key(|source| {
                let stop = CancellationToken::new();
                let task = tokio::spawn(feed::run(Arc::clone(&self.shared), source.clone(), stop.clone()));
                Feed { stop, task }
            });
        }
    }

    pub(crate) async fn settle(&self, deliveries: Vec<Delivery>, how: Settle) {
        let mut ledgers: Vec<(Arc<Ledger>, Vec<u64>)> = Vec::new();
        for receipt in deliveries.iter().filter_map(|delivery| delivery.receipt.over_rabbitmq()) {
            match ledgers.iter_mut().find(|(ledger, _)| Arc::ptr_eq(ledger, &receipt.ledger)) {
                Some((_, tags)) => tags.push(receipt.tag),
                None => ledgers.push((Arc::clone(&receipt.ledger), vec![receipt.tag])),
            }
        }
        join_all(ledgers.iter().map(|(ledger, tags)| ledger.settle(tags.iter().copied(), how))).await;
    }

    pub(crate) async fn stop(self) {
        self.end();
        let feeds = std::mem::take(&mut *self.feeds.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(feeds.into_values().map(|feed| feed.task)).await;
    }

    fn end(&self) {
        self.shared.over.cancel();
        for feed in self.feeds.lock().unwrap_or_else(PoisonError::into_inner).values() {
            feed.stop.cancel();
        }
    }
}

/// Without an orderly stop the feeds still end in order, on their own.
impl Drop for Taking {
    fn drop(&mut self) {
        self.end();
    }
}

/// The lanes of some queues.
pub(crate) fn lanes_of(queues: &[String]) -> BTreeSet<Source> {
    queues.iter().flat_map(|queue| Lane::ALL.map(|lane| Source::Lane(queue.clone(), lane))).collect()
}
