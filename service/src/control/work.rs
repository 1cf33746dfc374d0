//! Work of processes: begin, give back, reconcile.

use gristmill_core::audit::Action;
use gristmill_core::id::WorkerId;
use gristmill_store::{ReconcileReport, Result, WorkGuard};

use crate::Service;
use crate::order::Order;

impl Service {
    /// Takes the right to work on the store, for as long as the guard lives. What a dead process ran on an embedded
    /// store is claimable again afterwards.
    ///
    /// # Errors
    ///
    /// Store errors: `Locked` when another process works on an embedded store.
    pub async fn begin_work(&self) -> Result<WorkGuard> {
        self.after(self.store.begin_work()).await
    }

    /// Ends the lease of a process, so that what it ran is queued again at once, unspent.
    ///
    /// # Errors
    ///
    /// Store errors; the lease runs out by itself then.
    pub async fn retire_worker(&self, worker: WorkerId) -> Result<()> {
        self.after(self.store.retire_worker(worker)).await.map(drop)
    }

    /// Compares every counter with what it counts, and repairs what can be repaired.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn reconcile(&self, order: &Order) -> Result<ReconcileReport> {
        self.after(order.at(&self.store, Action::SystemReconcile, "counters").reconcile(order.dry_run)).await
    }
}
