//! Copies: removes from the broker the copies of dead jobs that are dead no longer.
//!
//! RabbitMQ takes no message out of the middle of a queue. So where there are more copies than dead jobs, the queue is
//! turned over from its front: what is still dead goes to its end with what is known of it now, and the rest goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_broker::{Broker, BrokerError};
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{DeadLetter, Dispatch, Purpose, Result, StoreHandle};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// How many copies are turned over at once.
const GROUP: u32 = 500;

/// Removes the copies of jobs that are dead no longer from all queues, and returns how many.
///
/// # Errors
///
/// Store errors. A broker that does not answer is left alone until the next time.
pub async fn copies(store: &StoreHandle, dispatcher: &Dispatcher) -> Result<u64> {
    let broker = dispatcher.broker();
    if !broker.carries() || !broker.health().borrow().is_up() {
        return Ok(0);
    }
    let mut removed = 0;
    for (queue, dead) in dead_jobs(store).await? {
        let Ok(copies) = broker.copies(&queue).await else { continue };
        if u64::from(copies) > dead {
            removed += turn_over(store, broker, &queue, copies).await?;
        }
    }
    if removed > 0 {
        tracing::info!(removed, "copies of jobs that are dead no longer were taken from the broker");
    }
    Ok(removed)
}

/// How many jobs are dead, by queue. The tenants share the broker's queues.
async fn dead_jobs(store: &StoreHandle) -> Result<BTreeMap<String, u64>> {
    let mut dead = BTreeMap::new();
    for tenant in store.tenants().await? {
        for queue in store.queues(&tenant).await? {
            *dead.entry(queue.name).or_default() += queue.dead;
        }
    }
    Ok(dead)
}

/// Goes through so many copies once. Returns how many were removed.
async fn turn_over(store: &StoreHandle, broker: &Broker, queue: &str, copies: u32) -> Result<u64> {
    let (mut left, mut removed, mut seen) = (copies, 0, BTreeSet::new());
    while left > 0 {
        let Ok(taken) = broker.take_copies(queue, GROUP.min(left)).await else { break };
        if taken.jobs.is_empty() {
            break;
        }
        left = left.saturating_sub(u32::try_from(taken.jobs.len()).unwrap_or(u32::MAX));
        let jobs: Vec<JobId> = taken.jobs.iter().copied().filter(|job| seen.insert(*job)).collect();
        let letters = store.dead_letters(&jobs).await?;
        let gone = (taken.jobs.len() - letters.len()) as u64;
        // First to the end, then away from the front: if this process dies in between, a copy is doubled, not lost.
        match append(broker, queue, &letters).await {
            Ok(true) if taken.remove().await.is_ok() => removed += gone,
            Ok(_) | Err(_) => break,
        }
    }
    Ok(removed)
}

/// Publishes copies. Returns whether the broker has confirmed all of them.
async fn append(broker: &Broker, queue: &str, letters: &[DeadLetter]) -> std::result::Result<bool, BrokerError> {
    if letters.is_empty() {
        return Ok(true);
    }
    // No outbox row backs it: the copy at the front is kept until the confirm.
    let row = Dispatch {
        outbox: -1,
        queue: queue.to_owned(),
        priority: Priority::Normal,
        purpose: Purpose::DeadLetter,
        jobs: letters.iter().map(|letter| letter.job).collect(),
    };
    Ok(broker.publish_with(&[row], letters).await?.unconfirmed.is_empty())
}

/// Looks for copies that mean nothing any more.
pub(super) struct CopiesDuty {
    pub(super) common: Common,
    pub(super) every: Duration,
}

impl Duty for CopiesDuty {
    fn name(&self) -> &'static str {
        "copies"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            copies(&self.common.store, &self.common.dispatcher).await?;
            Ok(Next::Beat)
        })
    }
}
