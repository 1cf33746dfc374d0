//! The raw limits of PostgreSQL with RabbitMQ: rows first, then their ids to a quorum queue, with confirms; consumed in
//! groups, each acknowledged at once after its claim is committed.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use uuid::Uuid;

use super::postgres::RawPostgres;
use super::{CLAIMED_AT_ONCE, CLAIMERS, ENQUEUED_AT_ONCE};
use crate::fault::Result;
use crate::pace::{by_callers, steadily};
use crate::record::Records;

/// How many messages wait for their confirms at once.
const WINDOW: usize = 500;

/// Delivery mode 2: written to disk before it is confirmed.
const PERSISTENT: u8 = 2;

/// The raw table, and a quorum queue of ids.
#[derive(Debug)]
pub struct RawRabbit {
    rows: RawPostgres,
    connection: Connection,
    queue: ShortString,
}

impl RawRabbit {
    /// Declares the queue.
    ///
    /// # Errors
    ///
    /// Those of the broker.
    pub async fn new(rows: RawPostgres, amqp: &str) -> Result<Self> {
        let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
        let queue: ShortString = format!("bench-raw-{}", Uuid::new_v4().simple()).into();
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let channel = connection.create_channel().await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), durable, arguments).await?;
        Ok(Self { rows, connection, queue })
    }

    /// Removes all jobs and messages.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn empty(&self) -> Result<()> {
        let channel = self.connection.create_channel().await?;
        channel.queue_purge(self.queue.clone(), QueuePurgeOptions::default()).await?;
        self.rows.empty().await
    }

    /// Deletes the queue.
    ///
    /// # Errors
    ///
    /// Those of the broker.
    pub async fn close(self) -> Result<()> {
        let channel = self.connection.create_channel().await?;
        channel.queue_delete(self.queue, QueueDeleteOptions::default()).await?;
        self.connection.close(200, "done".into()).await?;
        Ok(())
    }

    async fn confirming(&self) -> Result<Channel> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Enqueues jobs in groups: rows in one transaction, then their ids, all confirmed.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn enqueue(&self, jobs: u32) -> Result<()> {
        let channel = self.confirming().await?;
        let numbers: Vec<u32> = (0..jobs).collect();
        for group in numbers.chunks(ENQUEUED_AT_ONCE) {
            let ids = self.rows.insert(group).await?;
            publish(&channel, &self.queue, &ids).await?;
        }
        Ok(())
    }

    /// Enqueues jobs one by one, by so many callers, each committed and confirmed before the caller's next.
    ///
    /// # Errors
    ///
    /// Those of the servers.
    pub async fn enqueue_singly(&self, jobs: u32, callers: u32) -> Result<()> {
        let channel = self.confirming().await?;
        by_callers(callers, jobs, |share| {
            let (rows, channel, queue) = (self.rows.clone(), channel.clone(), self.queue.clone());
            async move {
                for number in share {
                    let ids = rows.insert(&[number]).await?;
                    publish(&channel, &queue, &ids).await?;
                }
                Ok(())
            }
        })
        .await
    }

    async fn consumer(&self) -> Result<(Channel, Consumer)> {
        let channel = self.connection.create_channel().await?;
        let prefetch = u16::try_from(2 * CLAIMED_AT_ONCE)?;
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        let queue = self.queue.clone();
        let consumer = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default()).await?;
        Ok((channel, consumer))
    }

    /// Consumes, claims, runs and completes so many jobs, by two claimers at once.
    ///
    /// # Errors
    ///
    /// Those of the servers and of the records' file.
    pub async fn drain(&self, jobs: u32, records: &Path) -> Result<()> {
        let records = Arc::new(Records::append_to(records)?);
        let left = Arc::new(tokio::sync::watch::Sender::new(u64::from(jobs)));
        let mut consumers = Vec::new();
        for _ in 0..CLAIMERS {
            consumers.push(self.consumer().await?);
        }
        by_callers(CLAIMERS, CLAIMERS, |_| {
            let (rows, records, left) = (self.rows.clone(), Arc::clone(&records), Arc::clone(&left));
            let consumer = consumers.pop();
            async move {
                let (_channel, mut consumer) = consumer.ok_or("a consumer for each claimer")?;
                let mut seen = left.subscribe();
                loop {
                    let group = tokio::select! {
                        group = group(&mut consumer) => group?,
                        over = seen.wait_for(|left| *left == 0) => return over.map(drop).map_err(Into::into),
                    };
                    let ran = work(&rows, group, &records).await?;
                    left.send_modify(|left| *left = left.saturating_sub(ran));
                }
            }
        })
        .await
    }

    /// Enqueues jobs at a steady pace while another channel consumes and runs them.
    ///
    /// # Errors
    ///
    /// Those of the servers and of the records' file.
    pub async fn latency(&self, jobs: u32, a_second: u32, records: &Path) -> Result<()> {
        let (_consuming, mut consumer) = self.consumer().await?;
        let (rows, records) = (self.rows.clone(), Records::append_to(records)?);
        let working = tokio::spawn(async move {
            let mut done = 0;
            while done < u64::from(jobs) {
                let group = group(&mut consumer).await?;
                done += work(&rows, group, &records).await?;
            }
            Ok::<_, crate::fault::Fault>(())
        });
        let channel = self.confirming().await?;
        steadily(jobs, a_second, |number| {
            let (rows, channel, queue) = (self.rows.clone(), channel.clone(), self.queue.clone());
            async move {
                let ids = rows.insert(&[number]).await?;
                publish(&channel, &queue, &ids).await
            }
        })
        .await?;
        working.await?
    }
}

/// Messages that were received together.
struct Group {
    ids: Vec<Uuid>,
    last: lapin::message::Delivery,
}

/// Publishes ids and waits for all confirms.
async fn publish(channel: &Channel, queue: &ShortString, ids: &[Uuid]) -> Result<()> {
    for window in ids.chunks(WINDOW) {
        let mut confirms = Vec::with_capacity(window.len());
        for id in window {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let sent = channel.basic_publish(ShortString::default(), queue.clone(), options, id.as_bytes(), properties);
            confirms.push(sent.await?);
        }
        for confirm in confirms {
            if !matches!(confirm.await?, lapin::Confirmation::Ack(None)) {
                return Err("the broker refused a message".into());
            }
        }
    }
    Ok(())
}

/// Waits for a message, and takes all that are there already, up to a group.
async fn group(consumer: &mut Consumer) -> Result<Group> {
    let mut last = consumer.next().await.ok_or("the consumer ended")??;
    let mut ids = vec![Uuid::from_slice(&last.data)?];
    while ids.len() < CLAIMED_AT_ONCE {
        let Some(next) = futures::FutureExt::now_or_never(consumer.next()) else { break };
        last = next.ok_or("the consumer ended")??;
        ids.push(Uuid::from_slice(&last.data)?);
    }
    Ok(Group { ids, last })
}

/// Claims a group, acknowledges it, runs and completes it; returns its size.
async fn work(rows: &RawPostgres, group: Group, records: &Records) -> Result<u64> {
    let claimed = rows.claim_these(&group.ids).await?;
    group.last.ack(BasicAckOptions { multiple: true }).await?;
    rows.run(&claimed, records).await?;
    Ok(claimed.len() as u64)
}

/// How many messages are ready in a queue; 0 when there is none of that name.
///
/// # Errors
///
/// Those of the broker.
pub async fn depth(amqp: &str, queue: &str) -> Result<u64> {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
    let depth = found.map_or(0, |queue| queue.message_count());
    connection.close(200, "done".into()).await?;
    Ok(u64::from(depth))
}

/// Deletes queues and exchanges; those that are not there are no error.
///
/// # Errors
///
/// Those of the broker.
pub async fn delete(amqp: &str, queues: &[String], exchanges: &[String]) -> Result<()> {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in queues {
        channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in exchanges {
        channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}
