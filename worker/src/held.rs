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
pub(crate) struct Holdings {
    all: Arc<Mutex<HashMap<Fence, Held>>>,
    /// How many are held.
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Held {
    holders: u32,
    /// Fires when the attempt does not count any more.
    gone: CancellationToken,
}

/// One attempt that is held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    fence: Fence,
    gone: CancellationToken,
    all: Holdings,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { all: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl Holdings {
    /// Holds what was just claimed. Each is let go by its [`Hold`].
    pub(crate) fn claimed(&self, jobs: &[ClaimedJob]) {
        let mut all = self.all();
        for job in jobs {
            all.entry(job.fence).or_default().holders += 1;
        }
        self.count.send_replace(all.len());
    }

    /// The hold on a job that was claimed.
    pub(crate) fn hold(&self, job: &ClaimedJob) -> Hold {
        let gone = self.all().get(&job.fence).map(|held| held.gone.clone()).unwrap_or_default();
        Hold { fence: job.fence, gone, all: self.clone() }
    }

    /// Every attempt that is held now, always in the same order.
    pub(crate) fn known(&self) -> Vec<Fence> {
        let mut known: Vec<Fence> = self.all().keys().copied().collect();
        known.sort_unstable();
        known
    }

    /// Calls off attempts that do not count any more: how many of them had not heard of it.
    pub(crate) fn call_off(&self, gone: &[Fence]) -> usize {
        let all = self.all();
        let unheard = gone.iter().filter_map(|fence| all.get(fence)).filter(|held| !held.gone.is_cancelled());
        unheard.map(|held| held.gone.cancel()).count()
    }

    /// Waits until anything is held.
    pub(crate) async fn any(&self) {
        // The sender lives in ourselves.
        let _ = self.count.subscribe().wait_for(|count| *count > 0).await;
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fence, Held>> {
        // Nothing in here can panic halfway, so that the map is whole even then.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// Fires when the attempt does not count any more.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(held) = all.get_mut(&self.fence) {
            held.holders -= 1;
            if held.holders == 0 {
                all.remove(&self.fence);
            }
        }
        self.all.count.send_replace(all.len());
    }
}
