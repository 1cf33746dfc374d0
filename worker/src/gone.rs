//! The attempts that do not count any more: cancelled, or past their deadline and given to others. Whoever runs them
//! is told, so that programs end, items stop and slots are free.
//!
//! The store is asked at each hint, and every few seconds whether one came or not.

use std::time::Duration;

use gristmill_store::{Result, StoreHandle};
use tokio_util::sync::CancellationToken;

use crate::held::Holdings;

/// The store is not asked more often than this, however many hints come: a cancel of a million jobs gives thousands.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks after what a process holds.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(crate) store: StoreHandle,
    pub(crate) held: Holdings,
}

impl Gone {
    /// Asks once, and calls off what is gone: how many attempts that were.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub(crate) async fn look(&self) -> Result<usize> {
        let held = self.held.known();
        if held.is_empty() {
            return Ok(0);
        }
        let called_off = self.held.call_off(&self.store.gone(&held).await?);
        if called_off > 0 {
            tracing::info!(attempts = called_off, "attempts were taken away and are called off");
        }
        Ok(called_off)
    }

    /// Asks again and again until told to stop. A store that is away is asked at the next time: until then the
    /// fences keep whatever ends from being written down.
    pub(crate) async fn keep(&self, every: Duration, stop: &CancellationToken) {
        let watching = async {
            let mut seen = 0;
            loop {
                self.held.any().await;
                seen = self.store.wait_for_gone(seen, every).await;
                if let Err(error) = self.look().await {
                    tracing::debug!(%error, "cannot ask which attempts are gone");
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = watching => {}
        }
    }
}
