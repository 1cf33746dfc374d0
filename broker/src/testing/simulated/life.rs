//! Whether a simulated process still gets turns.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// One incarnation of a process. Clones are the same one.
///
/// Every externally visible action of the process waits for its turn here first. A killed process never gets another
/// turn, so that nothing it does is visible any more, however many tasks it had; a stalled one goes on later, as if it
/// had not noticed.
#[derive(Debug, Clone, Default)]
pub struct Life {
    stalled: Arc<Mutex<Option<Instant>>>,
    over: CancellationToken,
}

impl Life {
    /// Waits for the next turn: immediately, until the stall is over, or for ever.
    pub async fn turn(&self) {
        if self.over.is_cancelled() {
            pending::<()>().await;
        }
        loop {
            let until = *self.stalled();
            match until {
                Some(until) if Instant::now() < until => sleep_until(until).await,
                Some(_) | None => break,
            }
        }
        if self.over.is_cancelled() {
            pending::<()>().await;
        }
    }

    /// Grants no more turns: as after SIGKILL.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Grants no turns until then: as between SIGSTOP and SIGCONT.
    pub fn stall(&self, until: Instant) {
        *self.stalled() = Some(until);
    }

    /// Whether it is stalled now.
    pub fn is_stalled(&self) -> bool {
        self.stalled().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it is killed.
    pub async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Whether it has not been killed.
    pub fn lasts(&self) -> bool {
        !self.over.is_cancelled()
    }

    fn stalled(&self) -> MutexGuard<'_, Option<Instant>> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stalled_process_goes_on_later_and_a_killed_one_never() {
        let life = Life::default();
        life.turn().await;
        let wakes = Instant::now() + Duration::from_secs(60);
        life.stall(wakes);
        life.turn().await;
        assert_eq!(Instant::now(), wakes);
        life.end();
        life.over().await;
        assert!(tokio::time::timeout(Duration::from_secs(3_600), life.turn()).await.is_err());
    }
}
