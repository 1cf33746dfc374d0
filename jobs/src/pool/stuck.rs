//! Threads that do not come back from an item.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

/// Counts the threads for items that are still at work although their attempt is over. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct StuckThreads(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    now: AtomicUsize,
    /// 0 before a pool has said it.
    most: AtomicUsize,
    full: CancellationToken,
}

impl StuckThreads {
    /// How many there are now. Each has been replaced.
    pub fn count(&self) -> usize {
        self.0.now.load(Ordering::Relaxed)
    }

    /// How many the process bears; 0 while it has no threads for items.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// Whether there have been too many at one time.
    pub fn is_full(&self) -> bool {
        self.0.full.is_cancelled()
    }

    /// Returns when there are too many: the process should end.
    pub async fn full(&self) {
        self.0.full.cancelled().await;
    }

    pub(super) fn bear(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    pub(super) fn add(&self) {
        let now = self.0.now.fetch_add(1, Ordering::Relaxed) + 1;
        let most = self.most();
        tracing::error!(
            stuck = now,
            most,
            "a thread for items has not come back since its attempt was over; another takes its place"
        );
        if now >= most {
            self.0.full.cancel();
        }
    }

    pub(super) fn returned(&self) {
        let before = self.0.now.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(stuck = before.saturating_sub(1), "a thread for items that was stuck has come back");
    }
}
