//! What this process holds: every attempt from its claim until its ending has been written down.
//!
//! After a claim whose result is unknown, this tells the jobs that somebody here runs from those that nobody does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill_core::job::{ClaimedJob, Fence};

/// All that is held, shared by whoever claims and whoever lets go.
///
/// Counted: an attempt that was given back unspent may be claimed again, as the same fence, before whoever held it
/// first has let it go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holdings(Arc<Mutex<HashMap<Fence, u32>>>);

/// One attempt that is held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    fence: Fence,
    all: Holdings,
}

impl Holdings {
    /// Holds what was just claimed. Each is let go by its [`Hold`].
    pub(crate) fn claimed(&self, jobs: &[ClaimedJob]) {
        let mut all = self.all();
        for job in jobs {
            *all.entry(job.fence).or_default() += 1;
        }
    }

    /// The hold on a job that was claimed.
    pub(crate) fn hold(&self, job: &ClaimedJob) -> Hold {
        Hold { fence: job.fence, all: self.clone() }
    }

    /// Every attempt that is held now.
    pub(crate) fn known(&self) -> Vec<Fence> {
        self.all().keys().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Fence, u32>> {
        // Nothing in here can panic halfway, so that the map is whole even then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.all.all();
        if let Some(count) = all.get_mut(&self.fence) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.fence);
            }
        }
    }
}
