//! One priority of one queue, for as long as it is wanted: declare, consume, and again after every loss.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use gristmill_core::job::Priority;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::declaring::Declared;
use super::inbox::{Asked, Inbox};
use super::link::{Link, Live, Target, pause};
use super::prefetch::{self, Observed};
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

/// How long a queue that was deleted under a consumer stays away before the consumer declares it again. A worker that
/// serves all queues has by then learnt whether the store still knows the queue.
const DELETED_FOR: Duration = Duration::from_secs(4);

/// How many looks at what is held there are within the longest time that a message is held.
const LOOKS: u32 = 4;

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
    /// The most that one priority of one queue holds, at least 1.
    pub(crate) prefetch: u16,
    /// How long a message is held at most before it is handed out.
    pub(crate) hold: Duration,
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
                    End::Deleted => {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(DELETED_FOR) => {}
                        }
                        "the broker ended it: was the queue deleted?".to_owned()
                    }
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
    timeout(ANSWER_TIMEOUT, work).await.unwrap_or_else(|_| {
        Err(BrokerError::Unavailable(format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())))
    })
}

/// Why consuming ended.
enum End {
    /// It is no longer wanted.
    Stopped,
    /// Nothing came for a long time.
    Silent,
    /// The channel or the connection is gone.
    Lost(String),
    /// The broker has ended it, as it does when the queue is deleted.
    Deleted,
}

/// One consumption, on a channel of its own, because closing a channel gives back everything on it, and other
/// priorities must not be affected.
struct LaneConsumer<'a> {
    shared: &'a Shared,
    source: &'a Source,
    live: &'a Live,
    name: ShortString,
    unacked: Arc<UnackedDeliveries>,
    /// `None` while no caller has room for messages.
    consumer: Option<lapin::Consumer>,
    /// The consumption has ended, and this is what its stream said last.
    last: Option<Next>,
    /// How many messages it holds at most. 0 without a consumer.
    prefetch: u16,
    asked: watch::Receiver<Option<Asked>>,
    looked: Instant,
}

impl<'a> LaneConsumer<'a> {
    async fn open(shared: &'a Shared, source: &'a Source, live: &'a Live) -> Result<Self, BrokerError> {
        let name = shared.declare(live, source).await?;
        let explain = |error: lapin::Error| shared.target.address.explain(&error, Some(name.as_str()));
        let channel = live.connection.create_channel().await.map_err(explain)?;
        let unacked = Arc::new(UnackedDeliveries::new(channel, live.gone.clone()));
        let (asked, looked, name_of_it) = (shared.inbox.asked(), Instant::now(), name.clone());
        let (consumer, last, prefetch) = (None, None, 0);
        let mut opened =
            Self { shared, source, live, name: name_of_it, unacked, consumer, last, prefetch, asked, looked };
        opened.consume(shared.prefetch).await.map_err(explain)?;
        Ok(opened)
    }

    /// Begins to consume. The prefetch is for each consumer and never for the channel: quorum queues support no other
    /// kind, and answer a global prefetch by closing the connection. 0 would mean no bound.
    async fn consume(&mut self, prefetch: u16) -> lapin::Result<()> {
        let channel = &self.unacked.channel;
        channel.basic_qos(prefetch.max(1), BasicQosOptions { global: false }).await?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        self.consumer = Some(channel.basic_consume(self.name.clone(), tag, options, FieldTable::default()).await?);
        self.prefetch = prefetch.max(1);
        Ok(())
    }

    /// Passes messages on until the consumption ends.
    async fn pump(mut self, stop: &CancellationToken) -> End {
        let look_every = self.shared.hold / LOOKS;
        let end = loop {
            let (any, look_at, paused) = (self.unacked.any(), self.looked + look_every, self.consumer.is_none());
            tokio::select! {
                () = stop.cancelled() => {
                    self.end().await;
                    return End::Stopped;
                }
                () = self.live.gone.cancelled() => break End::Lost("the connection is lost".to_owned()),
                next = timeout(SILENCE, next(&mut self.last, &mut self.consumer)), if !paused => match next {
                    Ok(Some(Ok(delivery))) => self.take(delivery).await,
                    Ok(Some(Err(error))) => break End::Lost(error.to_string()),
                    Ok(None) => break End::Deleted,
                    Err(_) if self.unacked.is_empty().await => {
                        self.end().await;
                        return End::Silent;
                    }
                    Err(_) => {}
                },
                () = tokio::time::sleep_until(look_at), if any && !paused => {
                    if let Err(reason) = self.look().await {
                        break End::Lost(reason);
                    }
                }
                Ok(()) = self.asked.changed(), if paused => {
                    let room = self.asked.borrow_and_update().map_or(0, |asked| asked.room);
                    let prefetch = prefetch::resume(room, self.shared.prefetch);
                    if let Err(reason) = answered(self.consume(prefetch)).await {
                        break End::Lost(reason);
                    }
                }
            }
        };
        // Handing out what still waits here would be in vain: the broker has it again, or lost it.
        drop(self.waiting());
        end
    }

    /// Takes a message, and those that have come with it.
    async fn take(&mut self, first: lapin::message::Delivery) {
        let mut deliveries = vec![first];
        while let Some(next) = self.consumer.as_mut().and_then(|consumer| consumer.next().now_or_never()) {
            match next {
                Some(Ok(delivery)) => deliveries.push(delivery),
                end => {
                    self.last = Some(end);
                    break;
                }
            }
        }
        self.enter(deliveries).await;
    }

    async fn enter(&self, deliveries: Vec<lapin::message::Delivery>) {
        self.unacked.enter(deliveries.iter().map(|delivery| delivery.delivery_tag)).await;
        let arrived = Instant::now();
        let taken = deliveries.into_iter().map(|delivery| self.delivery(delivery, arrived));
        self.shared.inbox.push(self.source.priority(), taken);
    }

    fn delivery(&self, delivery: lapin::message::Delivery, arrived: Instant) -> Delivery {
        let lapin::message::Delivery { delivery_tag, redelivered, data, properties, .. } = delivery;
        let priority = self.source.priority();
        let message = Message::decode(&data);
        let queue = match (self.source, &message) {
            (Source::Returned, Ok(message)) => message.queue.clone(),
            (source, _) => source.queue().to_owned(),
        };
        let data = if message.is_ok() { data } else { Vec::new() };
        let receipt = Receipt { unacked: Arc::clone(&self.unacked), tag: delivery_tag };
        let receipt = delivery::Receipt::RabbitMq(receipt);
        Delivery { message, queue, priority, redelivered, data, properties, arrived, receipt }
    }

    /// Adapts what is held to what goes through. The error says why consuming ends.
    async fn look(&mut self) -> Result<(), String> {
        self.looked = Instant::now();
        let ours = |delivery: &Delivery| self.is_ours(delivery).then_some(delivery.arrived);
        let oldest = self.shared.inbox.first(self.source.priority(), ours).map(|arrived| arrived.elapsed());
        // Seen now, so that a caller which asks from now on is noticed although consuming has stopped meanwhile.
        let asked = self.asked.borrow_and_update().map(|asked| asked.at.elapsed());
        let observed = Observed { handed_out: self.unacked.take_handed_out(), oldest, asked };
        let wanted = prefetch::adapt(self.prefetch, self.shared.prefetch, self.shared.hold, observed);
        if wanted == self.prefetch {
            return Ok(());
        }
        let shrinks = wanted < self.prefetch;
        tracing::debug!(queue = %self.name, from = self.prefetch, to = wanted, "holds another number of messages");
        if !self.cancel().await {
            return Err("it does not end a consumption".to_owned());
        }
        if shrinks {
            self.give_back().await;
        }
        if wanted > 0 { answered(self.consume(wanted)).await } else { Ok(()) }
    }

    /// Stops consuming, and takes what is under way. Returns whether the broker has answered.
    async fn cancel(&mut self) -> bool {
        self.prefetch = 0;
        let Some(mut consumer) = self.consumer.take() else { return true };
        let cancelled = self.unacked.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        if answered(cancelled).await.is_err() {
            return false;
        }
        let mut deliveries = Vec::new();
        while let Some(Ok(delivery)) = consumer.next().await {
            deliveries.push(delivery);
        }
        self.enter(deliveries).await;
        true
    }

    /// Gives back what has not been handed out.
    async fn give_back(&self) {
        let waiting = self.waiting();
        let receipts = waiting.iter().filter_map(|delivery| delivery.receipt.over_rabbitmq());
        self.unacked.settle(receipts.map(|receipt| receipt.tag), Settle::Requeue).await;
    }

    /// Ends it in order: takes no more messages, gives back those that have not been handed out, and waits for those
    /// that are being dealt with.
    async fn end(mut self) {
        if !self.cancel().await {
            // The connection is gone, and everything with it.
            drop(self.waiting());
            return;
        }
        self.give_back().await;
        tokio::select! {
            () = self.unacked.emptied() => {}
            () = self.shared.over.cancelled() => {}
            () = tokio::time::sleep(SETTLE_TIMEOUT) => {}
        }
        self.unacked.close().await;
    }

    fn waiting(&self) -> Vec<Delivery> {
        self.shared.inbox.remove(self.source.priority(), |delivery| self.is_ours(delivery))
    }

    fn is_ours(&self, delivery: &Delivery) -> bool {
        delivery.receipt.over_rabbitmq().is_some_and(|receipt| Arc::ptr_eq(&receipt.unacked, &self.unacked))
    }
}

/// What the stream of a consumption says.
type Next = Option<lapin::Result<lapin::message::Delivery>>;

async fn next(last: &mut Option<Next>, consumer: &mut Option<lapin::Consumer>) -> Next {
    match (last.take(), consumer) {
        (Some(last), _) => last,
        (None, Some(consumer)) => consumer.next().await,
        (None, None) => std::future::pending().await,
    }
}

/// Waits for the broker's answer. The error is for people.
async fn answered(asked: impl Future<Output = lapin::Result<()>>) -> Result<(), String> {
    match timeout(ANSWER_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}
