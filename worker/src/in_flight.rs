//! What this process holds: every attempt from its claim until its ending has been written down.
//!
//! After a claim whose result is unknown, this tells the jobs that somebody here runs from those that nobody does.
//! And it is how an attempt learns that it does not count any more: each is held together with what calls it off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::job::{ClaimedJob, Fence};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// All that is held, shared by whoever claims, whoever calls off, and whoever lets go.
///
/// Counted: an attempt that was given back unspent may be claimed again, as the same fence, before whoever held it
/// first has let it go.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    all: Arc<Mutex<HashMap<Fence, Entry>>>,
    /// How many are held.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: u32,
    /// Fires when the attempt does not count any more.
    revoked: CancellationToken,
}

/// One attempt that is held for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    fence: Fence,
    revoked: CancellationToken,
    all: InFlight,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { all: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl InFlight {
    /// Holds what was just claimed. Each is let go by its [`InFlightGuard`].
    pub(crate) fn claimed(&self, jobs: &[ClaimedJob]) {
        let mut all = self.all();
        for job in jobs {
            all.entry(job.fence).or_default().holders += 1;
        }
        self.count.send_replace(all.len());
    }

    /// The hold on a job that was claimed.
    pub(crate) fn guard(&self, job: &ClaimedJob) -> InFlightGuard {
        let revoked = self.all().get(&job.fence).map(|in_flight| in_flight.revoked.clone()).unwrap_or_default();
        InFlightGuard { fence: job.fence, revoked, all: self.clone() }
    }

    /// Every attempt that is held now, always in the same order.
    pub(crate) fn known(&self) -> Vec<Fence> {
        let mut known: Vec<Fence> = self.all().keys().copied().collect();
        known.sort_unstable();
        known
    }

    /// Calls off attempts that do not count any more: how many of them had not heard of it.
    pub(crate) fn call_off(&self, revoked: &[Fence]) -> usize {
        let all = self.all();
        let unheard =
            revoked.iter().filter_map(|fence| all.get(fence)).filter(|in_flight| !in_flight.revoked.is_cancelled());
        unheard.map(|in_flight| in_flight.revoked.cancel()).count()
    }

    /// Waits until anything is held.
    pub(crate) async fn any(&self) {
        // The sender lives in ourselves.
        let _ = self.count.subscribe().wait_for(|count| *count > 0).await;
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fence, Entry>> {
        // Nothing in here can panic halfway, so that the map is whole even then.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightGuard {
    /// Fires when the attempt does not count any more.
    pub(crate) fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(in_flight) = all.get_mut(&self.fence) {
            in_flight.holders -= 1;
            if in_flight.holders == 0 {
                all.remove(&self.fence);
            }
        }
        self.all.count.send_replace(all.len());
    }
}
