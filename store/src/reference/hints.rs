//! Hints that work may have become claimable or was taken away, or that events were published, in an order: the one that has
//! waited longest wakes first, every time. A channel would wake its waiters in an order of its own drawing, and two runs of
//! one seed would differ.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Counted hints.
#[derive(Debug)]
pub(super) struct Hints {
    count: AtomicU64,
    waiting: Notify,
}

impl Default for Hints {
    /// The count begins with 1.
    fn default() -> Self {
        Self { count: AtomicU64::new(1), waiting: Notify::new() }
    }
}

impl Hints {
    /// Wakes all that wait.
    pub(super) fn hint(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.waiting.notify_waiters();
    }

    /// Waits until the count is another than the one that was seen, or the time is over; returns the count.
    pub(super) async fn wait(&self, seen: u64, at_most: Duration) -> u64 {
        let count = || self.count.load(Ordering::SeqCst);
        // Whether a hint came or the time ran out does not matter.
        let _ = timeout(at_most, async {
            loop {
                let mut hint = pin!(self.waiting.notified());
                hint.as_mut().enable();
                if count() != seen {
                    return;
                }
                hint.await;
            }
        })
        .await;
        count()
    }
}
