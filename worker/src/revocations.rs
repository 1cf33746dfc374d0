//! Calls off the attempts that no longer count, because their jobs were cancelled, or passed their deadline and went to
//! other workers: then programs end, items stop and slots become free.
//!
//! The store is asked at each hint, and every few seconds whether or not one came.

use std::sync::Arc;
use std::time::Duration;

use gristmill_store::{Result, Workers};
use tokio_util::sync::CancellationToken;

use crate::in_flight::InFlight;

/// The store is not asked more often than this, however many hints come: cancelling a million jobs sends thousands.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls off attempts that this process has in flight but that no longer count.
#[derive(Debug)]
pub(crate) struct Revocations {
    pub(crate) store: Arc<dyn Workers>,
    pub(crate) in_flight: InFlight,
}

impl Revocations {
    /// Asks once, calls off the attempts that were taken away, and returns how many there were.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub(crate) async fn poll(&self) -> Result<usize> {
        let in_flight = self.in_flight.known();
        if in_flight.is_empty() {
            return Ok(0);
        }
        let called_off = self.in_flight.call_off(&self.store.revoked(&in_flight).await?);
        if called_off > 0 {
            tracing::info!(attempts = called_off, "attempts were taken away and are called off");
        }
        Ok(called_off)
    }

    /// Asks again and again until stopped. An unavailable store is asked again at the next time: until then the fences
    /// keep whatever ends from being written down.
    pub(crate) async fn keep(&self, every: Duration, stop: &CancellationToken) {
        let watching = async {
            let mut seen = 0;
            loop {
                self.in_flight.any().await;
                seen = self.store.wait_for_revocation(seen, every).await;
                if let Err(error) = self.poll().await {
                    tracing::debug!(%error, "cannot ask which attempts were taken away");
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
