//! How many messages wait in a queue: asked on a channel that is kept for it, for its three priorities at once.
//!
//! Each queue has a channel of its own, since one that does not answer holds up everything that comes after it on its
//! channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use gristmill_core::job::Priority;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};

use super::link::{Live, Target};
use super::topology::error_code;
use crate::error::BrokerError;

/// The most channels that are kept. Beyond that number of queues, a channel is opened for each question.
const KEPT_MAX: usize = 256;

/// The broker's code for a queue that is not there.
const NOT_FOUND: u16 = 404;

/// The channels.
#[derive(Debug, Default)]
pub(crate) struct Depths(Mutex<HashMap<String, Kept>>);

#[derive(Debug)]
struct Kept {
    live: Arc<Live>,
    channel: Channel,
}

impl Depths {
    /// Returns how many messages wait in the queue and have not been delivered; none when there is no such queue.
    pub(crate) async fn ask(&self, target: &Target, live: &Arc<Live>, queue: &str) -> Result<u64, BrokerError> {
        let names: Vec<ShortString> = Priority::ALL
            .into_iter()
            .map(|priority| target.names.priority(queue, priority))
            .collect::<Result<_, BrokerError>>()?;
        let channel = self.channel(target, live, queue).await?;
        let asked = try_join_all(names.iter().map(|name| ready(&channel, name))).await;
        match asked {
            Ok(depths) => {
                self.keep(live, queue, channel);
                Ok(depths.into_iter().sum())
            }
            // That closed the channel, and left the others without an answer: each is asked by itself.
            Err(error) if error_code(&error) == Some(NOT_FOUND) => {
                let mut depth = 0;
                for name in &names {
                    depth += u64::from(target.declare(live).ready(name).await?);
                }
                Ok(depth)
            }
            Err(error) => Err(target.address.explain(&error, Some(queue))),
        }
    }

    /// Takes the queue's channel, or opens one. A question that is broken off takes its channel with it, and the answer
    /// that comes late finds none.
    async fn channel(&self, target: &Target, live: &Arc<Live>, queue: &str) -> Result<Channel, BrokerError> {
        let kept = self.lock().remove(queue);
        match kept.filter(|kept| Arc::ptr_eq(&kept.live, live) && kept.channel.status().connected()) {
            Some(kept) => Ok(kept.channel),
            None => live.connection.create_channel().await.map_err(|error| target.address.explain(&error, None)),
        }
    }

    fn keep(&self, live: &Arc<Live>, queue: &str, channel: Channel) {
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.insert(queue.to_owned(), Kept { live: Arc::clone(live), channel });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ready(channel: &Channel, name: &ShortString) -> lapin::Result<u64> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(name.clone(), passive, FieldTable::default()).await?;
    Ok(u64::from(queue.message_count()))
}
