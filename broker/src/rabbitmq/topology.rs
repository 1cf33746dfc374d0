//! The exchanges and queues: their names, their arguments, and their declaration.
//!
//! No plugins and no policies, and the same from 3.10 to 4.x. Names end in `.v1` because a queue's arguments can never
//! change: other arguments will be a `.v2`.
//!
//! Everything is declared on its own channels that are then thrown away, because a refusal closes the channel on which
//! it happens.

use gristmill_core::job::Priority;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ExchangeKind};

use super::address::Address;
use crate::error::BrokerError;

/// How often a message may come back unacknowledged before it goes to the return path. Set explicitly because the
/// default differs: unlimited in 3.x, 20 from 4.0. Never −1: that is unlimited in 4.x, but 3.10 then gives up on a
/// message at its first return.
const DELIVERY_LIMIT: i64 = 100;

/// Operators look at dead letters and put them back; each look counts.
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000;

/// The broker refuses messages beyond this in one priority, long after the store should have stopped publishing.
const LENGTH_MAX: i64 = 200_000;

/// The longest name that the protocol can carry.
const NAME_BYTES_MAX: usize = 255;

const CLOSED: u16 = 200;

/// The broker's code for what is not there.
const NOT_FOUND: u16 = 404;

/// The names of exchanges and queues.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    namespace: String,
}

impl Names {
    pub(crate) fn new(namespace: &str) -> Result<Self, BrokerError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if namespace.is_empty() || namespace.len() > 64 || !namespace.chars().all(fits) {
            return Err(BrokerError::Invalid(format!(
                "[broker] namespace `{namespace}` cannot be used: write 1 to 64 letters, digits, `.`, `_` or `-`"
            )));
        }
        Ok(Self { namespace: namespace.to_owned() })
    }

    /// The exchange that every dispatch goes through.
    pub(crate) fn exchange(&self) -> ShortString {
        format!("{}.dispatch.v1", self.namespace).into()
    }

    /// The exchange and the queue of the messages that the broker gave up on.
    pub(crate) fn returned(&self) -> ShortString {
        format!("{}.returned.v1", self.namespace).into()
    }

    /// The queue of one priority, and its routing key.
    pub(crate) fn priority(&self, queue: &str, priority: Priority) -> Result<ShortString, BrokerError> {
        if queue == "dlq" {
            // Its priorities would have the names of the dead letters of queues called `high` and so on.
            return Err(BrokerError::Invalid("a queue cannot be called `dlq`: choose another name".to_owned()));
        }
        short(format!("{}.{queue}.{priority}.v1", self.namespace))
    }

    /// The queue with the copies of dead jobs.
    pub(crate) fn dead(&self, queue: &str) -> Result<ShortString, BrokerError> {
        short(format!("{}.dlq.{queue}.v1", self.namespace))
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.namespace)
    }
}

fn short(name: String) -> Result<ShortString, BrokerError> {
    let bytes = name.len();
    ShortString::try_new(name.as_str()).map_err(|_| {
        BrokerError::Invalid(format!(
            "the queue `{name}` has a name of {bytes} bytes, and RabbitMQ takes {NAME_BYTES_MAX}: give it a shorter one"
        ))
    })
}

/// Declares things on one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declare<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) address: &'a Address,
    pub(crate) names: &'a Names,
}

impl Declare<'_> {
    /// Declares the exchanges and the return path. This comes before any priority, because a priority whose target is
    /// missing holds its dead letters back for minutes.
    pub(crate) async fn exchanges(self) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        let (exchange, returned) = (self.names.exchange(), self.names.returned());
        self.exchange(&channel, &returned, ExchangeKind::Fanout).await?;
        self.queue(&channel, &returned, returned_arguments()).await?;
        self.bind(&channel, &returned, &returned).await?;
        self.exchange(&channel, &exchange, ExchangeKind::Direct).await?;
        self.done(channel).await
    }

    /// Declares the three priorities of a queue.
    pub(crate) async fn priorities(self, queue: &str) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        for priority in Priority::ALL {
            let name = self.names.priority(queue, priority)?;
            self.queue(&channel, &name, priority_arguments(self.names)).await?;
            self.bind(&channel, &name, &self.names.exchange()).await?;
        }
        self.done(channel).await
    }

    /// Declares the dead letters of a queue. They are published through the default exchange, which knows every queue
    /// by its name.
    pub(crate) async fn dead(self, queue: &str) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        self.queue(&channel, &self.names.dead(queue)?, dead_arguments()).await?;
        self.done(channel).await
    }

    /// Returns how many messages wait in a queue and have not been delivered; none when there is no such queue.
    pub(crate) async fn ready(self, name: &ShortString) -> Result<u32, BrokerError> {
        let channel = self.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(name.clone(), passive, FieldTable::default()).await {
            Ok(queue) => {
                self.done(channel).await?;
                Ok(queue.message_count())
            }
            Err(error) if error_code(&error) == Some(NOT_FOUND) => Ok(0),
            Err(error) => Err(self.address.explain(&error, Some(name.as_str()))),
        }
    }

    /// Compares what exists, of all and of these queues, with what would be declared. Declares nothing that is not
    /// there, and returns whether everything that all queues need is.
    pub(crate) async fn compare(self, queues: &[String]) -> Result<bool, BrokerError> {
        let (exchange, returned) = (self.names.exchange(), self.names.returned());
        let mut ready = self.compare_queue(&returned, returned_arguments()).await?;
        for (name, kind) in [(&returned, ExchangeKind::Fanout), (&exchange, ExchangeKind::Direct)] {
            let there = self.exchange_is_there(name).await?;
            if there {
                let channel = self.channel().await?;
                self.exchange(&channel, name, kind).await?;
                self.done(channel).await?;
            }
            ready &= there;
        }
        for queue in queues {
            for priority in Priority::ALL {
                self.compare_queue(&self.names.priority(queue, priority)?, priority_arguments(self.names)).await?;
            }
        }
        Ok(ready)
    }

    /// To declare what is there changes nothing, and is refused when its arguments differ.
    async fn compare_queue(self, name: &ShortString, arguments: FieldTable) -> Result<bool, BrokerError> {
        let there = self.queue_is_there(name).await?;
        if there {
            let channel = self.channel().await?;
            self.queue(&channel, name, arguments).await?;
            self.done(channel).await?;
        }
        Ok(there)
    }

    async fn queue_is_there(self, name: &ShortString) -> Result<bool, BrokerError> {
        let channel = self.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = channel.queue_declare(name.clone(), passive, FieldTable::default()).await;
        self.is_there(channel, name.as_str(), asked.map(drop)).await
    }

    async fn exchange_is_there(self, name: &ShortString) -> Result<bool, BrokerError> {
        let channel = self.channel().await?;
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let asked = channel.exchange_declare(name.clone(), ExchangeKind::Direct, passive, FieldTable::default()).await;
        self.is_there(channel, name.as_str(), asked).await
    }

    /// The answer that there is none has closed the channel.
    async fn is_there(self, channel: Channel, name: &str, asked: lapin::Result<()>) -> Result<bool, BrokerError> {
        match asked {
            Ok(()) => self.done(channel).await.map(|()| true),
            Err(error) if error_code(&error) == Some(NOT_FOUND) => Ok(false),
            Err(error) => Err(self.address.explain(&error, Some(name))),
        }
    }

    /// Deletes the queues of these names, if they are there, and returns how many messages were in them.
    pub(crate) async fn delete(self, names: &[ShortString]) -> Result<u32, BrokerError> {
        let (channel, mut messages) = (self.channel().await?, 0);
        for name in names {
            let deleted = channel.queue_delete(name.clone(), QueueDeleteOptions::default()).await;
            messages += deleted.map_err(|error| self.address.explain(&error, Some(name.as_str())))?;
        }
        self.done(channel).await?;
        Ok(messages)
    }

    async fn channel(self) -> Result<Channel, BrokerError> {
        self.connection.create_channel().await.map_err(|error| self.address.explain(&error, None))
    }

    async fn done(self, channel: Channel) -> Result<(), BrokerError> {
        channel.close(CLOSED, "declared".into()).await.map_err(|error| self.address.explain(&error, None))
    }

    async fn exchange(self, channel: &Channel, name: &ShortString, kind: ExchangeKind) -> Result<(), BrokerError> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(name.clone(), kind, options, FieldTable::default()).await;
        declared.map_err(|error| self.address.explain(&error, Some(name.as_str())))
    }

    async fn queue(self, channel: &Channel, name: &ShortString, arguments: FieldTable) -> Result<(), BrokerError> {
        let declared = channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments).await;
        declared.map(drop).map_err(|error| self.address.explain(&error, Some(name.as_str())))
    }

    async fn bind(self, channel: &Channel, queue: &ShortString, exchange: &ShortString) -> Result<(), BrokerError> {
        let (queue, options) = (queue.clone(), QueueBindOptions::default());
        let bound =
            channel.queue_bind(queue.clone(), exchange.clone(), queue.clone(), options, FieldTable::default()).await;
        bound.map_err(|error| self.address.explain(&error, Some(queue.as_str())))
    }
}

/// The code with which the broker refused something.
pub(crate) fn error_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}

/// At-least-once dead-lettering needs a quorum queue and `reject-publish`: with the default overflow the broker would
/// silently fall back to at-most-once.
fn priority_arguments(names: &Names) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", DELIVERY_LIMIT.into()),
        ("x-dead-letter-exchange", text(names.returned().as_str())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
        ("x-max-length", LENGTH_MAX.into()),
    ])
}

fn returned_arguments() -> FieldTable {
    table([("x-queue-type", text("quorum")), ("x-delivery-limit", DELIVERY_LIMIT.into())])
}

/// These are only copies: unless they are cleared away, the oldest are dropped.
fn dead_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", DEAD_DELIVERY_LIMIT.into()),
        ("x-max-length", LENGTH_MAX.into()),
    ])
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let names = Names::new("gristmill").unwrap();
        assert_eq!(names.exchange().as_str(), "gristmill.dispatch.v1");
        assert_eq!(names.returned().as_str(), "gristmill.returned.v1");
        assert_eq!(names.priority("mail", Priority::High).unwrap().as_str(), "gristmill.mail.high.v1");
        assert_eq!(names.dead("mail").unwrap().as_str(), "gristmill.dlq.mail.v1");
    }

    #[test]
    fn a_name_that_the_protocol_cannot_carry_is_refused() {
        let names = Names::new("g").unwrap();
        assert!(names.priority(&"q".repeat(241), Priority::High).is_ok());
        let text = names.priority(&"q".repeat(300), Priority::High).unwrap_err().to_string();
        assert!(text.contains("a name of 310 bytes"), "{text}");
        assert!(names.priority("dlq", Priority::High).is_err(), "it would be the dead letters of the queue `high`");
    }

    #[test]
    fn a_namespace_with_odd_characters_is_refused() {
        for namespace in ["", "a b", "ä", &"n".repeat(65)] {
            let text = Names::new(namespace).unwrap_err().to_string();
            assert!(text.starts_with("[broker] namespace"), "{text}");
        }
    }
}
