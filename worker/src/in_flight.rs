//! What this process has in flight: every attempt from its claim until its ending has been written down.
//!
//! After a claim whose result is unknown, this separates the jobs that run here from those that do not. It also lets an
//! attempt learn that it no longer counts: each one has a token that calls it off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::job::{ClaimedJob, Fence};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// All attempts in flight, shared by the claimer, the revocations and the guards.
///
/// The guards of an attempt are counted: an attempt that was given back unspent may be claimed again, as the same
/// fence, before the first guard has been dropped.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    all: Arc<Mutex<HashMap<Fence, Entry>>>,
    /// Whether there are any.
    any: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Entry {
    guards: u32,
    /// Fires when the attempt no longer counts.
    revoked: CancellationToken,
    /// It has ended, and waits to be written down.
    ended: bool,
}

/// Keeps one attempt in flight for as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    fence: Fence,
    revoked: CancellationToken,
    all: InFlight,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { all: Arc::default(), any: watch::Sender::new(false) }
    }
}

impl InFlight {
    /// Adds the jobs that were just claimed. Each is removed by its [`InFlightGuard`].
    pub(crate) fn claimed(&self, jobs: &[ClaimedJob]) {
        let mut all = self.all();
        for job in jobs {
            let entry = all.entry(job.fence).or_default();
            entry.guards += 1;
            entry.ended = false;
        }
        self.note(&all);
    }

    /// The guard of a job that was claimed.
    pub(crate) fn guard(&self, job: &ClaimedJob) -> InFlightGuard {
        let revoked = self.all().get(&job.fence).map(|entry| entry.revoked.clone()).unwrap_or_default();
        InFlightGuard { fence: job.fence, revoked, all: self.clone() }
    }

    /// Every attempt in flight, always in the same order.
    pub(crate) fn known(&self) -> Vec<Fence> {
        let mut known: Vec<Fence> = self.all().keys().copied().collect();
        known.sort_unstable();
        known
    }

    /// The attempts that have ended and wait to be written down.
    pub(crate) fn unwritten(&self) -> Vec<Fence> {
        let all = self.all();
        let mut unwritten: Vec<Fence> = all.iter().filter(|(_, entry)| entry.ended).map(|(fence, _)| *fence).collect();
        unwritten.sort_unstable();
        unwritten
    }

    /// Calls off attempts that no longer count, and returns how many of them had not been called off before.
    pub(crate) fn call_off(&self, revoked: &[Fence]) -> usize {
        let all = self.all();
        let unheard = revoked.iter().filter_map(|fence| all.get(fence)).filter(|entry| !entry.revoked.is_cancelled());
        unheard.map(|entry| entry.revoked.cancel()).count()
    }

    /// Waits until any attempt is in flight.
    pub(crate) async fn any(&self) {
        // We own the sender ourselves.
        let _ = self.any.subscribe().wait_for(|any| *any).await;
    }

    /// Only the first and the last attempt change it: the others must not pay for a notification.
    fn note(&self, all: &HashMap<Fence, Entry>) {
        let any = !all.is_empty();
        if *self.any.borrow() != any {
            self.any.send_replace(any);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fence, Entry>> {
        // Nothing in here can panic halfway, so the map is intact even then.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InFlightGuard {
    /// Fires when the attempt no longer counts.
    pub(crate) fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }

    /// The attempt has ended: from now on it waits to be written down.
    pub(crate) fn ended(&self) {
        if let Some(entry) = self.all.all().get_mut(&self.fence) {
            entry.ended = true;
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(entry) = all.get_mut(&self.fence) {
            entry.guards -= 1;
            if entry.guards == 0 {
                all.remove(&self.fence);
            }
        }
        self.all.note(&all);
    }
}
