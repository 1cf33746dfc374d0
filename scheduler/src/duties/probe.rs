//! Probe: the broker says that nothing waits, while the store has had jobs queued for a long time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{LostJobs, Result, StoreHandle};
use tokio::time::Instant;

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// A younger message may still be on its way.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How many jobs of one queue are published again in one transaction.
const PAGE: u64 = 1_000;

/// How soon a queue whose jobs are being dispatched again is looked at for room. Within this time none drains its
/// window.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Publishes again the jobs whose messages the broker has lost, or for which there never were any because too many
/// became claimable at once.
///
/// A queue that the broker calls empty is gone through once, from its first job to its last, page by page, as fast as
/// the workers make room within the window. What has its message again is behind, and is not looked at a second time;
/// if the place is lost with the process, some messages are doubled, which the claim drops.
#[derive(Debug, Default)]
pub struct Prober {
    passes: BTreeMap<String, Pass>,
}

/// A queue that is being gone through.
#[derive(Debug)]
struct Pass {
    begun: Instant,
    /// The last job that was dispatched.
    after: Option<(Priority, JobId)>,
    jobs: u64,
}

impl Prober {
    /// Looks at every queue, and returns how many jobs were dispatched again. Jobs that have been queued for less than
    /// `lost_after` may have a message that is on its way.
    ///
    /// # Errors
    ///
    /// Store errors. A broker that does not answer is skipped: nothing is known then.
    pub async fn probe(&mut self, store: &StoreHandle, dispatcher: &Dispatcher, lost_after: Duration) -> Result<u64> {
        if !dispatcher.broker().carries() || !dispatcher.broker().health().borrow().is_up() {
            return Ok(0);
        }
        for queue in waiting(store).await? {
            if !self.passes.contains_key(&queue) && dispatcher.depth(&queue).await == Some(0) {
                self.passes.insert(queue, Pass { begun: Instant::now(), after: None, jobs: 0 });
            }
        }
        self.go_on(store, dispatcher, lost_after).await
    }

    /// Goes on with the queues that are being gone through. Cheap when there are none.
    ///
    /// # Errors
    ///
    /// As [`Prober::probe`].
    pub async fn go_on(&mut self, store: &StoreHandle, dispatcher: &Dispatcher, lost_after: Duration) -> Result<u64> {
        let (mut found, queues) = (0, self.passes.keys().cloned().collect::<Vec<_>>());
        for queue in queues {
            let Some(pass) = self.passes.get_mut(&queue) else { continue };
            let before = pass.jobs;
            let ended = pass.fill(store, dispatcher, &queue, lost_after).await?;
            found += pass.jobs - before;
            if ended {
                if pass.jobs > PAGE {
                    tracing::info!(queue, jobs = pass.jobs, "all jobs that had no message have one again");
                }
                self.passes.remove(&queue);
            }
        }
        Ok(found)
    }

    /// Whether any queue is being gone through.
    pub fn is_under_way(&self) -> bool {
        !self.passes.is_empty()
    }
}

impl Pass {
    /// Dispatches page after page while the queue has room. Returns whether it has come to the end.
    async fn fill(
        &mut self,
        store: &StoreHandle,
        dispatcher: &Dispatcher,
        queue: &str,
        lost_after: Duration,
    ) -> Result<bool> {
        // What gives no answer is gone through from the beginning when it does, and is empty then.
        let Some(depth) = dispatcher.depth(queue).await else { return Ok(true) };
        let mut room = dispatcher.window().saturating_sub(depth);
        while room > 0 {
            let limit = u32::try_from(room.min(PAGE)).unwrap_or(u32::MAX);
            // What became claimable after the beginning had its message then.
            let lost = LostJobs { older_than: lost_after + self.begun.elapsed(), after: self.after, limit };
            let dispatched = dispatcher.after(store.redispatch(queue, &lost)).await?;
            let jobs: Vec<(Priority, JobId)> =
                dispatched.dispatches.iter().flat_map(|row| row.jobs.iter().map(|job| (row.priority, *job))).collect();
            if self.jobs == 0 && !jobs.is_empty() {
                tracing::warn!(
                    queue,
                    jobs = jobs.len(),
                    "jobs have no message at the broker, they are published again"
                );
            }
            self.jobs += jobs.len() as u64;
            if (jobs.len() as u64) < u64::from(limit) {
                return Ok(true);
            }
            self.after = jobs.into_iter().max();
            room = room.saturating_sub(u64::from(limit));
        }
        Ok(false)
    }
}

/// Looks for what the broker has lost.
pub(super) struct Probe {
    pub(super) common: Common,
    pub(super) every: Duration,
    pub(super) prober: Prober,
}

impl Duty for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, wake: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            let Common { store, dispatcher } = &self.common;
            match wake {
                Wake::Asked | Wake::Hinted => self.prober.go_on(store, dispatcher, LOST_AFTER).await?,
                Wake::First | Wake::Beat => self.prober.probe(store, dispatcher, LOST_AFTER).await?,
            };
            Ok(if self.prober.is_under_way() { Next::In(AGAIN_AFTER) } else { Next::Beat })
        })
    }
}

/// Queues of all tenants with waiting jobs that a worker may claim: the tenants share the broker's queues.
async fn waiting(store: &StoreHandle) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for tenant in store.tenants().await? {
        let queues = store.queues(&tenant).await?.into_iter();
        names.extend(queues.filter(|queue| queue.queued > 0 && !queue.paused).map(|queue| queue.name));
    }
    Ok(names)
}
