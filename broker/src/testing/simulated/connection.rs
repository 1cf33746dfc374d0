//! One process's connection to the simulated broker.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill_core::dispatch::Dispatch;
use lapin::BasicProperties;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::server::{Parcel, TakerId, Word};
use super::{Life, Shared};
use crate::delivery::{Delivery, Receipt};
use crate::error::BrokerError;
use crate::health::Health;
use crate::message::Message;
use crate::{ConsumeOptions, Published};

/// A process's connection to the broker. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) life: Life,
    pub(super) takers: Arc<Mutex<Vec<TakerId>>>,
}

impl Connection {
    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    pub(crate) async fn publish(&self, dispatches: &[Dispatch]) -> Result<Published, BrokerError> {
        let (mut published, mut reason) = (Published::default(), None);
        for row in dispatches {
            let wait = self.shared.server().random.millis(0, 20);
            self.life.turn().await;
            sleep(wait).await;
            self.life.turn().await;
            if let Some(refused) = self.refusal() {
                published.unconfirmed.push(row.outbox);
                reason = Some(refused);
                continue;
            }
            let word = self.shared.server().accept(row);
            self.shared.arrived.notify_waiters();
            sleep(wait).await;
            self.life.turn().await;
            match word {
                Word::Confirmed if self.refusal().is_none() => published.confirmed.push(row.outbox),
                Word::Confirmed | Word::Nothing => published.unconfirmed.push(row.outbox),
            }
        }
        match reason {
            Some(reason) if published.confirmed.is_empty() => Err(BrokerError::Unavailable(reason)),
            Some(_) | None => Ok(published),
        }
    }

    pub(crate) async fn depth(&self, queue: &str) -> Result<u32, BrokerError> {
        self.life.turn().await;
        match &*self.shared.health.borrow() {
            Health::Down { reason, .. } => Err(BrokerError::Unavailable(reason.clone())),
            Health::Up | Health::Blocked { .. } => Ok(self.shared.server().depth(queue)),
        }
    }

    pub(crate) async fn delete_queue(&self, queue: &str) -> Result<u32, BrokerError> {
        self.life.turn().await;
        match &*self.shared.health.borrow() {
            Health::Down { reason, .. } => Err(BrokerError::Unavailable(reason.clone())),
            Health::Up | Health::Blocked { .. } => Ok(self.shared.server().delete(queue)),
        }
    }

    pub(crate) fn consume(&self, options: &ConsumeOptions) -> Subscription {
        self.subscription(Some(options.queues.iter().cloned().collect()), options.prefetch)
    }

    pub(crate) fn consume_returned(&self, prefetch: u16) -> Subscription {
        self.subscription(None, prefetch)
    }

    fn subscription(&self, queues: Option<BTreeSet<String>>, prefetch: u16) -> Subscription {
        let who = self.shared.server().taker();
        self.takers.lock().unwrap_or_else(PoisonError::into_inner).push(who);
        let (queues, waiting) = (Mutex::new(queues), Mutex::default());
        Subscription { connection: self.clone(), who, queues, prefetch: usize::from(prefetch), waiting }
    }

    fn refusal(&self) -> Option<String> {
        match &*self.shared.health.borrow() {
            Health::Up => None,
            Health::Blocked { reason, .. } | Health::Down { reason, .. } => Some(reason.clone()),
        }
    }

    fn is_down(&self) -> bool {
        matches!(&*self.shared.health.borrow(), Health::Down { .. })
    }
}

/// A consumer.
#[derive(Debug)]
pub(crate) struct Subscription {
    connection: Connection,
    who: TakerId,
    /// `None` takes the messages that were given back too often.
    queues: Mutex<Option<BTreeSet<String>>>,
    prefetch: usize,
    /// Delivered by the broker, and not yet handed to a caller here.
    waiting: Mutex<VecDeque<(u64, Parcel)>>,
}

impl Subscription {
    pub(crate) async fn next(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        let deadline = Instant::now() + wait;
        loop {
            self.connection.life.turn().await;
            let arrived = self.connection.shared.arrived.notified();
            let (parcels, due) = self.look(max);
            if !parcels.is_empty() || max == 0 || Instant::now() >= deadline {
                return parcels.into_iter().map(|(tag, parcel)| delivery(tag, parcel)).collect();
            }
            let until = due.filter(|due| *due > Instant::now()).map_or(deadline, |due| due.min(deadline));
            let _ = timeout(until - Instant::now(), arrived).await;
        }
    }

    fn look(&self, max: usize) -> (Vec<(u64, Parcel)>, Option<Instant>) {
        if self.connection.is_down() {
            return (Vec::new(), None);
        }
        let mut server = self.connection.shared.server();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // What came over a lost connection belongs to another consumer by now.
        waiting.retain(|(tag, _)| server.is_held(*tag));
        let room = self.prefetch.saturating_sub(server.held_by(self.who).max(waiting.len()));
        let due = match &*self.queues.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(queues) => {
                waiting.extend(server.take(self.who, queues, room));
                server.next_due(queues)
            }
            None => {
                waiting.extend(server.take_given_up(self.who, room));
                None
            }
        };
        let max = max.min(waiting.len());
        (waiting.drain(..max).collect(), due)
    }

    pub(crate) fn set_queues(&self, queues: &[String]) {
        *self.queues.lock().unwrap_or_else(PoisonError::into_inner) = Some(queues.iter().cloned().collect());
        self.connection.shared.arrived.notify_waiters();
    }

    pub(crate) async fn ack(&self, deliveries: Vec<Delivery>) {
        self.connection.life.turn().await;
        self.connection.shared.server().ack(tags(deliveries).into_iter());
    }

    pub(crate) async fn requeue(&self, deliveries: Vec<Delivery>) {
        self.connection.life.turn().await;
        self.connection.shared.server().requeue(tags(deliveries).into_iter());
        self.connection.shared.arrived.notify_waiters();
    }

    pub(crate) async fn stop(self) {
        self.connection.life.turn().await;
        sleep_until(Instant::now() + Duration::from_millis(500)).await;
        self.connection.life.turn().await;
        self.connection.shared.server().forget(self.who);
        self.connection.shared.arrived.notify_waiters();
    }
}

fn delivery(tag: u64, parcel: Parcel) -> Delivery {
    let message = Message::decode(&parcel.bytes);
    Delivery {
        data: if message.is_ok() { parcel.bytes } else { Vec::new() },
        properties: BasicProperties::default(),
        message,
        queue: parcel.queue,
        priority: parcel.priority,
        redelivered: parcel.returns > 0,
        receipt: Receipt::Simulated(tag),
    }
}

fn tags(deliveries: Vec<Delivery>) -> Vec<u64> {
    let tag = |delivery: Delivery| match delivery.receipt {
        Receipt::Simulated(tag) => Some(tag),
        Receipt::RabbitMq(_) => None,
    };
    deliveries.into_iter().filter_map(tag).collect()
}
