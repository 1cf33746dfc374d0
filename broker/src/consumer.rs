//! Taking messages from the broker: [`Consumer`].

use std::time::Duration;

use crate::delivery::Delivery;
use crate::in_process::Hints;
use crate::rabbitmq::{Settle, Subscription};
#[cfg(feature = "testing")]
use crate::testing::simulated;

/// How long a message waits for a free slot by default before it goes back to the broker, for a consumer that has one.
pub const HOLD: Duration = Duration::from_secs(1);

/// What a [`Consumer`] takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumeOptions {
    /// The queues, each with its three priorities. In-process, none means all.
    pub queues: Vec<String>,
    /// The most messages of one priority of one queue that this consumer holds unacknowledged: 1 to 65,535. It also
    /// bounds the memory, since they wait in a buffer. Fewer are held while fewer go through.
    pub prefetch: u16,
    /// How long a message waits to be handed out before it goes back to the broker, such as [`HOLD`]. While no caller
    /// has room for so long, nothing is consumed at all.
    pub hold: Duration,
}

/// Takes messages from the broker.
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
    /// Returns the messages that are there, at most `max`; waits at most `wait` for the first one. Urgent priorities
    /// come first, but never alone, so that the low priority does not starve.
    ///
    /// In-process, and while the broker is away, the result is empty. In-process it returns early when something has
    /// become claimable: then ask the store.
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

    /// Takes these queues from now on. Messages of other queues that wait here are given back.
    pub fn set_queues(&self, queues: &[String]) {
        match &self.0 {
            Kind::InProcess(hints) => hints.set_queues(queues),
            Kind::RabbitMq(subscription) => subscription.set_queues(queues),
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.set_queues(queues),
        }
    }

    /// Acknowledges deliveries that have been dealt with: the broker may forget them. If it has gone away meanwhile,
    /// nothing happens, and it will deliver them again.
    pub async fn ack(&self, deliveries: Vec<Delivery>) {
        match &self.0 {
            Kind::InProcess(_) => drop(deliveries),
            Kind::RabbitMq(subscription) => subscription.settle(deliveries, Settle::Ack).await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.ack(deliveries).await,
        }
    }

    /// Gives these back to be delivered again, to this consumer or to another one.
    pub async fn requeue(&self, deliveries: Vec<Delivery>) {
        match &self.0 {
            Kind::InProcess(_) => drop(deliveries),
            Kind::RabbitMq(subscription) => subscription.settle(deliveries, Settle::Requeue).await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.requeue(deliveries).await,
        }
    }

    /// Gives these back after a while: what is given back at once comes back at once. They go back earlier when the
    /// consumer stops.
    pub fn requeue_after(&self, deliveries: Vec<Delivery>, wait: Duration) {
        match &self.0 {
            Kind::InProcess(_) => drop(deliveries),
            Kind::RabbitMq(subscription) => subscription.requeue_after(deliveries, wait),
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.requeue_after(deliveries, wait),
        }
    }

    /// Takes no more messages, gives back those that wait here, and lets acknowledgements arrive: that takes half a
    /// second. Deliveries that are still held elsewhere also go back to the broker.
    pub async fn stop(&self) {
        match &self.0 {
            Kind::InProcess(_) => {}
            Kind::RabbitMq(subscription) => subscription.stop().await,
            #[cfg(feature = "testing")]
            Kind::Simulated(subscription) => subscription.stop().await,
        }
    }
}
