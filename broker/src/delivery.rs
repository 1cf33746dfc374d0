//! A message that a consumer has received.

use gristmill_core::job::Priority;
use lapin::BasicProperties;
use tokio::time::Instant;

use crate::message::{Message, Poison};
use crate::rabbitmq::{headers, unacked};

/// One message, to be given back to its consumer by [`Consumer::ack`](crate::Consumer::ack) or [`Consumer::requeue`](crate::Consumer::requeue).
/// Dropping it does neither: the broker gives it to another consumer when this consumer stops.
#[derive(Debug)]
pub struct Delivery {
    /// Its content, or why it cannot be read.
    pub message: Result<Message, Poison>,
    /// The queue that it came through, as the consumer requested it; for a returned message, the queue that it names,
    /// and nothing when it cannot be read.
    pub queue: String,
    /// The priority that it came through.
    pub priority: Priority,
    /// Whether the broker has delivered it before. A hint, never a count.
    pub redelivered: bool,
    /// The message itself, unless it is poison, which has its own.
    pub(crate) data: Vec<u8>,
    pub(crate) properties: BasicProperties,
    /// When it arrived here.
    pub(crate) arrived: Instant,
    pub(crate) receipt: Receipt,
}

/// How a delivery finds its way back to the broker.
#[derive(Debug)]
pub(crate) enum Receipt {
    RabbitMq(unacked::Receipt),
    #[cfg(feature = "testing")]
    Simulated(u64),
}

impl Receipt {
    /// The receipt of a message that came over RabbitMQ. A consumer never sees one of another broker.
    pub(crate) fn over_rabbitmq(&self) -> Option<&unacked::Receipt> {
        match self {
            Self::RabbitMq(receipt) => Some(receipt),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => None,
        }
    }
}

impl Delivery {
    /// What is kept of a message as evidence: why it cannot be read, or else the given reason.
    pub fn evidence(&self, reason: &str) -> Poison {
        match &self.message {
            Ok(_) => Poison::new(&self.data, reason.to_owned()),
            Err(poison) => poison.clone(),
        }
    }

    /// Returns its properties and headers as a JSON object of at most 16 KiB.
    pub fn headers(&self) -> serde_json::Value {
        headers::as_json(&self.properties)
    }
}
