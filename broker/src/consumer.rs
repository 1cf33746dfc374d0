//! Taking messages off the road: [`Consumer`] and what it hands out.

use std::time::Duration;

use gristmill_core::job::Priority;
use lapin::BasicProperties;

use crate::in_process::Hints;
use crate::message::{Message, Poison};
use crate::rabbitmq::{self, Settle, Subscription, headers};
#[cfg(feature = "testing")]
use crate::testing::simulated;

/// What a [`Consumer`] takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The queues, each with its three priorities. In-process, none means all.
    pub queues: Vec<String>,
    /// The most messages of one priority of one queue that are here and not acknowledged yet: 1 to
    /// 65,535. It bounds the memory, too, since what is here waits in a buffer.
    pub prefetch: u16,
}

/// One message, to be given back to its consumer by [`Consumer::ack`] or [`Consumer::requeue`].
/// Dropping it does neither: the broker gives it to somebody else when this consumer stops.
#[derive(Debug)]
pub struct Delivery {
    /// What it says, or why it cannot be read.
    pub message: Result<Message, Poison>,
    /// The queue that it came through, as it was asked for; of a returned one, the queue that it
    /// names, and nothing when it cannot be read.
    pub queue: String,
    /// The priority that it came through.
    pub priority: Priority,
    /// Whether the broker has handed it out before. A hint, never a count.
    pub redelivered: bool,
    /// The message itself, unless it is poison, which has its own.
    pub(crate) data: Vec<u8>,
    pub(crate) properties: BasicProperties,
    pub(crate) receipt: Receipt,
}

/// How a delivery finds its way back.
#[derive(Debug)]
pub(crate) enum Receipt {
    RabbitMq(rabbitmq::Receipt),
    #[cfg(feature = "testing")]
    Simulated(u64),
}

impl Receipt {
    /// Of a message that came over RabbitMQ. No consumer ever sees one of another road.
    pub(crate) fn over_rabbitmq(&self) -> Option<&rabbitmq::Receipt> {
        match self {
            Self::RabbitMq(receipt) => Some(receipt),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => None,
        }
    }
}

impl Delivery {
    /// What is kept of a message as evidence: why it cannot be read, or else for the given reason.
    pub fn evidence(&self, reason: &str) -> Poison {
        match &self.message {
            Ok(_) => Poison::new(&self.data, reason.to_owned()),
            Err(poison) => poison.clone(),
        }
    }

    /// Its properties and headers as a JSON object of at most 16 KiB.
    pub fn headers(&self) -> serde_json::Value {
        headers::as_json(&self.properties)
    }
}

/// Takes messages off the road.
#[derive(Debug)]
pub struct Consumer(pub(crate) Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    InProcess(Hints),
    RabbitMq(Subscription),
    #[cfg(feature = "testing")]
    Simulated(simulated::Subscription),
}

impl Consumer {
    /// Whatever is there, at most `max`; waits for the first one at most `wait`. Urgent priorities come
    /// first, but never alone, so that the low priority does not starve.
    ///
    /// In-process, and while the broker is away, the answer is empty. In-process it comes early
    /// when something has become claimable: then ask the store.
    pub async fn next(&self, max: usize, wait: Duration) -> Vec<Delivery> {
        match &self.0 {
            Kind::InProcess(hints) => {
                let _ = max;
                hints.wait(wait).await;
                Vec::new()
            }
            Kind::RabbitMq(subscription) => subscription.next(max, wait).await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.next(max, wait).await,
        }
    }

    /// From now on takes these queues. Messages of others that wait here are given back.
    pub fn set_queues(&self, queues: &[String]) {
        match &self.0 {
            Kind::InProcess(hints) => hints.set_queues(queues),
            Kind::RabbitMq(subscription) => subscription.set_queues(queues),
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.set_queues(queues),
        }
    }

    /// These are dealt with: the broker may forget them. When it has gone away meanwhile nothing
    /// happens, and it will hand them out once more.
    pub async fn ack(&self, deliveries: Vec<Delivery>) {
        match &self.0 {
            Kind::InProcess(_) => drop(deliveries),
            Kind::RabbitMq(subscription) => subscription.settle(deliveries, Settle::Ack).await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.ack(deliveries).await,
        }
    }

    /// These shall be handed out again, to us or to somebody else.
    pub async fn requeue(&self, deliveries: Vec<Delivery>) {
        match &self.0 {
            Kind::InProcess(_) => drop(deliveries),
            Kind::RabbitMq(subscription) => subscription.settle(deliveries, Settle::Requeue).await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.requeue(deliveries).await,
        }
    }

    /// Takes no more, gives back what waits here, and lets acknowledgements arrive: that takes half
    /// a second. Deliveries that are still held elsewhere go back to the broker, too.
    pub async fn stop(self) {
        match self.0 {
            Kind::InProcess(_) => {}
            Kind::RabbitMq(subscription) => subscription.stop().await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.stop().await,
        }
    }
}
