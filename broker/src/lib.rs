//! The transport: carries ids from the process that made a job claimable to the workers that may claim it.
//!
//! A message is `{v, job_id, queue}` and decides nothing. It may be lost, repeated, reordered or
//! late, and the outcome is the same, because only the store's guarded transitions decide.
//!
//! * [`Broker`]: RabbitMQ, or in-process, where the store itself is asked and only hints travel.
//! * [`Consumer`]: takes messages, in micro-batches, urgent priorities first.
//! * [`message`]: the wire format.
//! * [`rabbitmq`]: topology, publishing with confirms, consuming, reconnecting.

pub mod circuit_breaker;
pub mod consumer;
mod delivery;
pub mod error;
pub mod failpoint;
pub mod health;
mod in_process;
pub mod message;
pub mod rabbitmq;
pub mod settings;
#[cfg(feature = "testing")]
pub mod testing;

use gristmill_core::dispatch::{DeadLetter, Dispatch};
use tokio::sync::watch;

pub use circuit_breaker::UnresponsiveQueue;
use consumer::Kind;
pub use consumer::{ConsumeOptions, Consumer, HOLD};
pub use delivery::Delivery;
pub use error::BrokerError;
pub use health::Health;
pub use in_process::InProcess;
pub use message::{Message, Poison};
pub use rabbitmq::{Copies, RabbitMq};
pub use settings::Settings;

/// What carries the ids. Clones share their connections.
#[derive(Debug, Clone)]
pub enum Broker {
    /// Nothing but hints, within this process.
    InProcess(InProcess),
    /// Messages over RabbitMQ.
    RabbitMq(RabbitMq),
    /// Messages without a network, for simulations.
    #[cfg(feature = "testing")]
    Simulated(testing::simulated::Connection),
}

/// The result of publishing outbox rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Rows whose ids are all safe with the broker: they may be deleted.
    pub confirmed: Vec<i64>,
    /// Rows with at least one id that is not known to be safe: they must be published again, which may repeat some ids.
    pub unconfirmed: Vec<i64>,
}

/// What a look at a broker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Its address, for people. Never contains a password.
    pub address: String,
    /// Whether what all queues need has been declared there.
    pub prepared: bool,
}

impl Broker {
    /// Looks at the broker that the settings name, and changes nothing there: what exists, also of these queues, is
    /// compared with what this version would declare. A broker that cannot be reached is an error here.
    ///
    /// # Errors
    ///
    /// Same as [`Broker::connect`], and [`BrokerError::Unavailable`].
    pub async fn look(settings: &Settings, queues: &[String]) -> Result<Look, BrokerError> {
        if settings.url == "in-process" {
            return Ok(Look { address: "in-process".to_owned(), prepared: true });
        }
        rabbitmq::looking::look(settings, queues).await
    }

    /// Opens the broker that the settings name. A broker that cannot be reached is not an error: its state is
    /// [`Health::Down`], and connecting is retried until it succeeds.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Invalid`] for settings that make no sense, [`BrokerError::Login`] for a refused
    /// login, [`BrokerError::Topology`] for an exchange or queue with other arguments.
    pub async fn connect(settings: &Settings) -> Result<Self, BrokerError> {
        if settings.url == "in-process" {
            return Ok(Self::InProcess(InProcess::default()));
        }
        RabbitMq::connect(settings).await.map(Self::RabbitMq)
    }

    /// Returns its address, for people. Never contains a password.
    pub fn describe(&self) -> String {
        match self {
            Self::InProcess(_) => "in-process".to_owned(),
            Self::RabbitMq(connection) => connection.describe(),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => "simulated".to_owned(),
        }
    }

    /// Whether ids travel. If not, the store need not write an outbox, and workers ask the store.
    pub fn carries(&self) -> bool {
        match self {
            Self::InProcess(_) => false,
            Self::RabbitMq(_) => true,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => true,
        }
    }

    /// Returns its state, and every change of it.
    pub fn health(&self) -> watch::Receiver<Health> {
        match self {
            Self::InProcess(connection) => connection.health(),
            Self::RabbitMq(connection) => connection.health(),
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => connection.health(),
        }
    }

    /// Returns the queues that did not answer recently although the broker did: what is published to them waits.
    pub fn unresponsive(&self) -> Vec<UnresponsiveQueue> {
        match self {
            Self::InProcess(_) => Vec::new(),
            Self::RabbitMq(connection) => connection.unresponsive(),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Vec::new(),
        }
    }

    /// Publishes ids that have been committed as claimable.
    ///
    /// # Errors
    ///
    /// When nothing at all could be published: then every row is unconfirmed.
    pub async fn publish(&self, dispatches: &[Dispatch]) -> Result<Published, BrokerError> {
        self.publish_with(dispatches, &[]).await
    }

    /// The same, with what the copies of dead jobs among them say beside their ids.
    ///
    /// # Errors
    ///
    /// As [`Broker::publish`].
    pub async fn publish_with(
        &self,
        dispatches: &[Dispatch],
        letters: &[DeadLetter],
    ) -> Result<Published, BrokerError> {
        match self {
            Self::InProcess(connection) => {
                connection.publish(dispatches);
                let confirmed = dispatches.iter().map(|dispatch| dispatch.outbox).collect();
                Ok(Published { confirmed, unconfirmed: Vec::new() })
            }
            Self::RabbitMq(connection) => connection.publish(dispatches, letters).await,
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => connection.publish(dispatches).await,
        }
    }

    /// Returns how many messages wait in the queue's three priorities and have not been delivered; `None` when no ids
    /// travel.
    ///
    /// # Errors
    ///
    /// When the broker does not answer.
    pub async fn depth(&self, queue: &str) -> Result<Option<u32>, BrokerError> {
        match self {
            Self::InProcess(_) => {
                let _ = queue;
                Ok(None)
            }
            Self::RabbitMq(connection) => connection.depth(queue).await.map(Some),
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => connection.depth(queue).await.map(Some),
        }
    }

    /// Returns how many copies of dead jobs lie in a queue's own queue for them; none when there is no such queue, or
    /// nothing travels.
    ///
    /// # Errors
    ///
    /// When the broker does not answer.
    pub async fn copies(&self, queue: &str) -> Result<u32, BrokerError> {
        match self {
            Self::InProcess(_) => {
                let _ = queue;
                Ok(0)
            }
            Self::RabbitMq(connection) => connection.copies(queue).await,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Ok(0),
        }
    }

    /// Takes at most `limit` copies of dead jobs from the front of their queue. They are back there unless they are
    /// [removed](Copies::remove).
    ///
    /// # Errors
    ///
    /// When the broker does not answer, or there is no such queue.
    pub async fn take_copies(&self, queue: &str, limit: u32) -> Result<Copies, BrokerError> {
        match self {
            Self::InProcess(_) => {
                let _ = (queue, limit);
                Ok(Copies::none())
            }
            Self::RabbitMq(connection) => connection.take_copies(queue, limit).await,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => Ok(Copies::none()),
        }
    }

    /// Deletes everything that the broker has for a queue: its three priorities and its dead letters, with the messages
    /// in them, whose number is returned. Call it once the store has forgotten the queue: whatever still waits there
    /// means nothing then. A queue that is not there is no error, and one that is used again is made again.
    ///
    /// # Errors
    ///
    /// When the broker does not answer. Some of it may be deleted then, and the call may be repeated.
    pub async fn delete_queue(&self, queue: &str) -> Result<u32, BrokerError> {
        match self {
            Self::InProcess(_) => {
                let _ = queue;
                Ok(0)
            }
            Self::RabbitMq(connection) => connection.delete_queue(queue).await,
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => connection.delete_queue(queue).await,
        }
    }

    /// Starts to consume messages from some queues.
    ///
    /// # Errors
    ///
    /// When the broker refuses for good. A broker that is away is not an error: messages come when it is back.
    pub async fn consume(&self, options: ConsumeOptions) -> Result<Consumer, BrokerError> {
        match self {
            Self::InProcess(connection) => Ok(Consumer(Kind::InProcess(connection.consume(&options.queues)))),
            Self::RabbitMq(connection) => {
                connection.consume(&options).await.map(|subscription| Consumer(Kind::RabbitMq(subscription)))
            }
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => Ok(Consumer(Kind::Simulated(connection.consume(&options)))),
        }
    }

    /// Starts to consume the messages that the broker gave up on. Their consumer asks the store: what is still `queued`
    /// is dispatched again, everything else is dropped. Nothing comes when no ids travel.
    ///
    /// # Errors
    ///
    /// As [`Broker::consume`].
    pub async fn consume_returned(&self, prefetch: u16) -> Result<Consumer, BrokerError> {
        match self {
            Self::InProcess(connection) => {
                let _ = prefetch;
                Ok(Consumer(Kind::InProcess(connection.deaf())))
            }
            Self::RabbitMq(connection) => {
                connection.consume_returned(prefetch).await.map(|subscription| Consumer(Kind::RabbitMq(subscription)))
            }
            #[cfg(feature = "testing")]
            Self::Simulated(connection) => Ok(Consumer(Kind::Simulated(connection.consume_returned(prefetch)))),
        }
    }

    /// Waits for what is under way to arrive, then closes the connections. Stop the consumers first.
    pub async fn close(&self) {
        match self {
            Self::InProcess(_) => {}
            Self::RabbitMq(connection) => connection.close().await,
            #[cfg(feature = "testing")]
            Self::Simulated(_) => {}
        }
    }
}
