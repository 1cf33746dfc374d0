//! Calls off the attempts that do not count any more, because their jobs were cancelled, or passed their deadline and
//! went to other workers: then programs end, items stop and slots are free.
//!
//! The store is asked at each hint, and every few seconds whether one came or not.

use std::sync::Arc;
use std::time::Duration;

use gristmill_store::{Result, Workers};
use tokio_util::sync::CancellationToken;

use crate::in_flight::InFlight;

/// The store is not asked more often than this, however many hints come: a cancel of a million jobs gives thousands.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls off what a process has in flight and what does not count any more.
#[derive(Debug)]
pub(crate) struct Revocations {
    pub(crate) store: Arc<dyn Workers>,
    pub(crate) in_flight: InFlight,
}

impl Revocations {
    /// Asks once, and calls off the attempts that were taken away: how many there were.
    ///
    /// # Errors
    ///
    /// Those of the store.
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

    /// Asks again and again until told to stop. A store that is away is asked at the next time: until then the
    /// fences keep whatever ends from being written down.
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
