//! Batches: pause, resume, cancel, restart.

use gristmill_core::audit::Action;
use gristmill_core::id::BatchId;
use gristmill_store::{ControlReport, Restart, Result};

use super::pause;
use crate::Service;
use crate::order::Order;

impl Service {
    /// Stops the claiming of a batch's jobs; what runs is finished. The first pause and its reason stay.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for a batch that has ended.
    pub async fn pause_batch(&self, order: &Order, batch: BatchId) -> Result<ControlReport> {
        let pause = pause(order);
        let store = order.at(&self.store, Action::BatchPause, batch);
        self.after(store.pause_batch(&order.tenant, batch, Some(&pause), order.dry_run)).await
    }

    /// Lets the jobs of a batch be claimed again.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`.
    pub async fn resume_batch(&self, order: &Order, batch: BatchId) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::BatchResume, batch);
        self.after(store.pause_batch(&order.tenant, batch, None, order.dry_run)).await
    }

    /// Cancels a batch for good: its unfinished jobs become `cancelled`, and no aggregate will run.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` for a batch that has ended.
    pub async fn cancel_batch(&self, order: &Order, batch: BatchId) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::BatchCancel, batch);
        self.after(store.cancel_batch(&order.tenant, batch, &order.reason(), order.dry_run)).await
    }

    /// Lets a batch that is `halted` or `cancelled` go on in its next generation.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` when it cannot be restarted, with the reason.
    pub async fn restart_batch(&self, order: &Order, restart: &Restart) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::BatchRestart, restart.batch);
        self.after(store.restart_batch(&order.tenant, restart, order.dry_run)).await
    }
}
