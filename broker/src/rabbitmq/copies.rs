//! Copies of dead jobs, taken from the front of their queue: RabbitMQ takes nothing out of the middle of one.

use gristmill_core::id::JobId;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::ShortString;

use super::link::{Live, Target};
use crate::error::BrokerError;
use crate::message::Message;

/// Copies that have been taken. They lie in their queue again unless [`Copies::remove`] is called: then, if not before,
/// the channel closes.
#[derive(Debug)]
pub struct Copies {
    /// The jobs that they are copies of, as often as there are copies.
    pub jobs: Vec<JobId>,
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Taken {
    target: Target,
    channel: Channel,
    last: u64,
}

impl Copies {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self { jobs: Vec::new(), taken: None }
    }

    /// Takes at most `limit` from the front of the queue. What cannot be read is not ours and stays there.
    pub(crate) async fn take(
        target: &Target,
        live: &Live,
        name: &ShortString,
        limit: u32,
    ) -> Result<Self, BrokerError> {
        let explain = |error: lapin::Error| target.address.explain(&error, Some(name.as_str()));
        let channel = live.connection.create_channel().await.map_err(|error| target.address.explain(&error, None))?;
        let (mut jobs, mut foreign, mut last) = (Vec::new(), Vec::new(), None);
        for _ in 0..limit {
            let got = channel.basic_get(name.clone(), BasicGetOptions::default()).await.map_err(explain)?;
            let Some(delivery) = got.map(|got| got.delivery) else { break };
            match Message::decode(&delivery.data) {
                Ok(message) => {
                    jobs.push(message.job_id);
                    last = Some(delivery.delivery_tag);
                }
                Err(_) => foreign.push(delivery.delivery_tag),
            }
        }
        for tag in foreign {
            let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            channel.basic_nack(tag, back).await.map_err(explain)?;
        }
        Ok(Self { jobs, taken: last.map(|last| Taken { target: target.clone(), channel, last }) })
    }

    /// Removes them from their queue for good.
    ///
    /// # Errors
    ///
    /// When the broker does not answer; some or all of them may then be there again.
    pub async fn remove(self) -> Result<(), BrokerError> {
        let Some(Taken { target, channel, last }) = self.taken else { return Ok(()) };
        let all = BasicAckOptions { multiple: true };
        channel.basic_ack(last, all).await.map_err(|error| target.address.explain(&error, None))?;
        // The answer comes after the acknowledgement has been handled.
        channel.close(200, "done".into()).await.map_err(|error| target.address.explain(&error, None))
    }
}
