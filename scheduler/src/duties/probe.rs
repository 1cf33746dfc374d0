//! Probe: the broker says that nothing waits, while the store has had jobs queued for a long time.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::BoxFuture;
use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Result, StoreHandle};

use super::Common;
use crate::duty::{Duty, Next, Wake};

/// A younger message may still be on its way.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// How many jobs of one queue are published again at a time. If they were not lost after all, no more than these are
/// duplicated.
const LIMIT: u32 = 500;

/// Publishes again the jobs whose messages the broker has lost, and returns how many there were.
///
/// # Errors
///
/// Store errors. A broker that does not answer is skipped: nothing is known then.
pub async fn probe(store: &StoreHandle, dispatcher: &Dispatcher, lost_after: Duration) -> Result<u64> {
    if !dispatcher.broker().carries() || !dispatcher.broker().health().borrow().is_up() {
        return Ok(0);
    }
    let mut found = 0;
    for queue in waiting(store).await? {
        let Ok(Some(0)) = dispatcher.broker().depth(&queue).await else { continue };
        let dispatched = dispatcher.after(store.redispatch(&queue, lost_after, LIMIT)).await?;
        let jobs: usize = dispatched.dispatches.iter().map(|row| row.jobs.len()).sum();
        if jobs > 0 {
            tracing::warn!(queue, jobs, "the broker has lost messages, they are published again");
            found += jobs as u64;
        }
    }
    Ok(found)
}

/// Looks for what the broker has lost.
pub(super) struct Probe {
    pub(super) common: Common,
    pub(super) every: Duration,
}

impl Duty for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn every(&self) -> Duration {
        self.every
    }

    fn work(&mut self, _: Wake) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async move {
            probe(&self.common.store, &self.common.dispatcher, LOST_AFTER).await?;
            Ok(Next::Beat)
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
