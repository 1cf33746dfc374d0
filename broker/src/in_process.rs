//! No broker: workers ask the store itself for work, and only hints travel, within this process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use gristmill_core::dispatch::{Dispatch, Purpose};
use tokio::sync::{Notify, watch};

use crate::health::Health;

/// The broker within one process. Clones share it.
#[derive(Debug, Clone)]
pub struct InProcess {
    waiters: Arc<Mutex<Vec<Weak<Waiter>>>>,
    health: watch::Sender<Health>,
}

impl Default for InProcess {
    fn default() -> Self {
        Self { waiters: Arc::default(), health: watch::Sender::new(Health::Up) }
    }
}

impl InProcess {
    /// Wakes the consumers that wait for one of these queues.
    pub(crate) fn publish(&self, dispatches: &[Dispatch]) {
        let queues: BTreeSet<&str> = dispatches
            .iter()
            .filter(|dispatch| dispatch.purpose == Purpose::Dispatch)
            .map(|dispatch| dispatch.queue.as_str())
            .collect();
        if queues.is_empty() {
            return;
        }
        lock(&self.waiters).retain(|waiter| {
            let Some(waiter) = waiter.upgrade() else { return false };
            waiter.wake(&queues);
            true
        });
    }

    /// Hints for these queues; none means all.
    pub(crate) fn consume(&self, queues: &[String]) -> Hints {
        let waiter = Arc::new(Waiter { queues: Mutex::new(queues.iter().cloned().collect()), woken: Notify::new() });
        lock(&self.waiters).push(Arc::downgrade(&waiter));
        Hints(waiter)
    }

    /// Hints that never come: nothing is ever returned.
    pub(crate) fn deaf(&self) -> Hints {
        Hints(Arc::new(Waiter { queues: Mutex::default(), woken: Notify::new() }))
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }
}

/// What one consumer listens on.
#[derive(Debug)]
pub(crate) struct Hints(Arc<Waiter>);

impl Hints {
    /// Waits for a hint, at most `wait`. A hint that came since the last call counts: none is lost between asking the
    /// store and waiting.
    pub(crate) async fn wait(&self, wait: Duration) {
        let _ = tokio::time::timeout(wait, self.0.woken.notified()).await;
    }

    pub(crate) fn set_queues(&self, queues: &[String]) {
        *lock(&self.0.queues) = queues.iter().cloned().collect();
        // A queue that is new to this consumer may have had its hint before.
        self.0.woken.notify_one();
    }
}

#[derive(Debug)]
struct Waiter {
    queues: Mutex<BTreeSet<String>>,
    woken: Notify,
}

impl Waiter {
    fn wake(&self, queues: &BTreeSet<&str>) {
        let mine = lock(&self.queues);
        if mine.is_empty() || queues.iter().any(|queue| mine.contains(*queue)) {
            self.woken.notify_one();
        }
    }
}

/// A panic elsewhere cannot leave a list of waiters half done, so a poisoned lock means nothing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::job::Priority;
    use tokio::time::Instant;

    const LONG: Duration = Duration::from_secs(3600);

    fn dispatch(queue: &str, purpose: Purpose) -> Dispatch {
        Dispatch { outbox: 1, queue: queue.to_owned(), priority: Priority::Normal, purpose, jobs: Vec::new() }
    }

    /// With a paused clock an hour passes at once, but only if nothing else can happen.
    async fn is_woken(hints: &Hints) -> bool {
        let start = Instant::now();
        hints.wait(LONG).await;
        start.elapsed() < LONG
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_that_comes_before_the_wait_is_not_lost() {
        let connection = InProcess::default();
        let hints = connection.consume(&["mail".to_owned()]);
        connection.publish(&[dispatch("mail", Purpose::Dispatch)]);
        assert!(is_woken(&hints).await);
        assert!(!is_woken(&hints).await);
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_who_serve_the_queue_are_woken() {
        let connection = InProcess::default();
        let (mail, all) = (connection.consume(&["mail".to_owned()]), connection.consume(&[]));
        connection.publish(&[dispatch("chunks", Purpose::Dispatch)]);
        assert!(is_woken(&all).await);
        assert!(!is_woken(&mail).await);
        mail.set_queues(&["chunks".to_owned()]);
        assert!(is_woken(&mail).await, "its new queue may have had a hint before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_wakes_nobody() {
        let connection = InProcess::default();
        let all = connection.consume(&[]);
        connection.publish(&[dispatch("mail", Purpose::DeadLetter)]);
        assert!(!is_woken(&all).await);
    }
}
