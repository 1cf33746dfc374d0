//! One priority of one queue, for as long as it is wanted: declare, consume, and again after every loss.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gristmill_core::job::Priority;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio_util::sync::CancellationToken;

use super::declaring::Declared;
use super::inbox::Inbox;
use super::link::{Link, Live, Target, pause};
use super::unacked::{Receipt, Settle, UnackedDeliveries};
use crate::delivery::{self, Delivery};
use crate::error::BrokerError;
use crate::message::Message;

/// How long a queue that is no longer wanted keeps its channel for jobs that are still being claimed.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);

/// After this long without a message, consuming starts anew. The broker reports when a queue is deleted, but not
/// always: when it is recreated at once, 3.10 keeps our consumer and hands it messages that we never see. They come
/// back when its channel is closed.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is consumed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A priority of a queue.
    Priority(String, Priority),
    /// The return path.
    Returned,
}

impl Source {
    fn priority(&self) -> Priority {
        match self {
            Self::Priority(_, priority) => *priority,
            Self::Returned => Priority::Normal,
        }
    }

    fn queue(&self) -> &str {
        match self {
            Self::Priority(queue, _) => queue,
            Self::Returned => "",
        }
    }
}

/// The state that all feeds of a consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) link: Arc<Link>,
    pub(crate) prefetch: u16,
    pub(crate) inbox: Inbox<Delivery>,
    /// The consumer is gone: deliveries that were handed out will not be settled any more.
    pub(crate) over: CancellationToken,
}

impl Shared {
    /// Returns the name of the consumed queue, which then exists with the right arguments.
    pub(crate) async fn declare(&self, live: &Live, source: &Source) -> Result<ShortString, BrokerError> {
        match source {
            Source::Returned => Ok(self.target.names.returned()),
            Source::Priority(queue, priority) => {
                let name = self.target.names.priority(queue, *priority)?;
                self.target.ensure(live, &Declared::Priorities(queue.clone())).await?;
                Ok(name)
            }
        }
    }

    fn forget(&self, live: &Live, source: &Source) {
        if let Source::Priority(queue, _) = source {
            live.forget(&Declared::Priorities(queue.clone()));
        }
    }
}

/// Runs until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, source: Source, stop: CancellationToken) {
    let mut attempt = 0;
    let mut said = String::new();
    loop {
        let live = tokio::select! {
            () = stop.cancelled() => return,
            live = shared.link.wait() => live,
        };
        // There will never be a connection: the link has been closed.
        let Some(live) = live else { return };
        let opened = tokio::select! {
            () = stop.cancelled() => return,
            opened = within(LaneConsumer::open(&shared, &source, &live)) => opened,
        };
        let reason = match opened {
            Ok(lane_consumer) => {
                attempt = 0;
                said.clear();
                let end = lane_consumer.pump(&stop).await;
                // It may be gone with its queue: check again before consuming again.
                shared.forget(&live, &source);
                match end {
                    End::Stopped => return,
                    End::Silent => continue,
                    End::Lost(reason) => reason,
                }
            }
            Err(error) => error.to_string(),
        };
        if said != reason {
            tracing::warn!(queue = source.queue(), priority = %source.priority(), reason, "cannot consume; trying again");
            said = reason;
        }
        attempt += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause(attempt)) => {}
        }
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
    tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(BrokerError::Unavailable(format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())))
    })
}

/// Why consuming ended.
enum End {
    /// It is no longer wanted.
    Stopped,
    /// Nothing came for a long time.
    Silent,
    /// The channel or the connection is gone, or the queue.
    Lost(String),
}

/// One consumption, on a channel of its own, because closing a channel gives back everything on it, and other
/// priorities must not be affected.
struct LaneConsumer<'a> {
    shared: &'a Shared,
    source: &'a Source,
    live: &'a Live,
    unacked: Arc<UnackedDeliveries>,
    consumer: lapin::Consumer,
}

impl<'a> LaneConsumer<'a> {
    async fn open(shared: &'a Shared, source: &'a Source, live: &'a Live) -> Result<Self, BrokerError> {
        let name = shared.declare(live, source).await?;
        let explain = |error: lapin::Error| shared.target.address.explain(&error, Some(name.as_str()));
        let channel = live.connection.create_channel().await.map_err(explain)?;
        // For each consumer and never for the channel: quorum queues support no other kind, and answer a global
        // prefetch by closing the connection. 0 would mean no bound.
        channel.basic_qos(shared.prefetch.max(1), BasicQosOptions { global: false }).await.map_err(explain)?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consumer =
            channel.basic_consume(name.clone(), tag, options, FieldTable::default()).await.map_err(explain)?;
        let unacked = Arc::new(UnackedDeliveries::new(channel, live.gone.clone()));
        Ok(Self { shared, source, live, unacked, consumer })
    }

    /// Passes messages on until the consumption ends.
    async fn pump(mut self, stop: &CancellationToken) -> End {
        let reason = loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.end().await;
                    return End::Stopped;
                }
                () = self.live.gone.cancelled() => break "the connection is lost".to_owned(),
                next = tokio::time::timeout(SILENCE, self.consumer.next()) => match next {
                    Ok(Some(Ok(delivery))) => self.take(delivery).await,
                    Ok(Some(Err(error))) => break error.to_string(),
                    Ok(None) => break "the broker ended it: was the queue deleted?".to_owned(),
                    Err(_) if self.unacked.is_empty().await => {
                        self.end().await;
                        return End::Silent;
                    }
                    Err(_) => {}
                },
            }
        };
        // Handing out what still waits here would be in vain: the broker has it again, or lost it.
        drop(self.waiting());
        End::Lost(reason)
    }

    async fn take(&self, delivery: lapin::message::Delivery) {
        let lapin::message::Delivery { delivery_tag, redelivered, data, properties, acker, .. } = delivery;
        self.unacked.enter(delivery_tag, acker).await;
        let priority = self.source.priority();
        let message = Message::decode(&data);
        let queue = match (self.source, &message) {
            (Source::Returned, Ok(message)) => message.queue.clone(),
            (source, _) => source.queue().to_owned(),
        };
        let data = if message.is_ok() { data } else { Vec::new() };
        let receipt = Receipt { unacked: Arc::clone(&self.unacked), tag: delivery_tag };
        let receipt = delivery::Receipt::RabbitMq(receipt);
        self.shared.inbox.push(priority, Delivery { message, queue, priority, redelivered, data, properties, receipt });
    }

    /// Ends it in order: takes no more messages, gives back those that have not been handed out, and waits for those
    /// that are being dealt with.
    async fn end(mut self) {
        let cancelled = self.unacked.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if !matches!(tokio::time::timeout(ANSWER_TIMEOUT, cancelled).await, Ok(Ok(()))) {
            // The connection is gone, and everything with it.
            drop(self.waiting());
            return;
        }
        while let Some(Ok(delivery)) = self.consumer.next().await {
            self.take(delivery).await;
        }
        let waiting = self.waiting();
        let receipts = waiting.iter().filter_map(|delivery| delivery.receipt.over_rabbitmq());
        let tags: Vec<u64> = receipts.map(|receipt| receipt.tag).collect();
        self.unacked.settle(tags, Settle::Requeue).await;
        tokio::select! {
            () = self.unacked.emptied() => {}
            () = self.shared.over.cancelled() => {}
            () = tokio::time::sleep(SETTLE_TIMEOUT) => {}
        }
        self.unacked.close().await;
    }

    fn waiting(&self) -> Vec<Delivery> {
        let ours = |receipt: &Receipt| Arc::ptr_eq(&receipt.unacked, &self.unacked);
        self.shared.inbox.remove(|delivery| delivery.receipt.over_rabbitmq().is_some_and(ours))
    }
}
