//! A lease for a process whose work another process must take over when it dies.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::WorkerId;
use gristmill_store::{Result, StoreHandle};
use tokio::task::JoinHandle;

/// How long it counts as alive without a beat.
const LEASE: Duration = Duration::from_secs(15);

/// How often it beats: four beats may be lost before the lease is.
const BEAT: Duration = Duration::from_secs(3);

/// A lease that is prolonged until it is ended, or the process dies.
#[derive(Debug)]
pub struct Lease {
    id: WorkerId,
    store: StoreHandle,
    beating: JoinHandle<()>,
}

impl Lease {
    /// Takes a lease.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn begin(store: &StoreHandle) -> Result<Self> {
        let command = crate::process::incarnation("command", LEASE);
        let id = command.id;
        store.register_worker(&command).await?;
        let beats = Arc::clone(store);
        let beating = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                match beats.beat(id, LEASE, 0).await {
                    Ok(true) => {}
                    // Another process has taken over; whatever is still written here is refused.
                    Ok(false) => return,
                    Err(error) => tracing::debug!(%error, "a lease was not prolonged, it is tried again"),
                }
            }
        });
        Ok(Self { id, store: Arc::clone(store), beating })
    }

    /// The holder's id.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Gives it back.
    pub async fn end(self) {
        self.beating.abort();
        if let Err(error) = self.store.retire_worker(self.id).await {
            tracing::debug!(%error, "a lease runs out by itself");
        }
    }
}
