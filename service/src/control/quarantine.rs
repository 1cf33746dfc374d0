//! Quarantined items: redrive as they are, or patched.

use gristmill_core::audit::Action;
use gristmill_core::id::BatchId;
use gristmill_store::{PatchRedrive, PatchReport, QuarantineWhich, Result};

use crate::Service;
use crate::order::Order;

impl Service {
    /// Runs quarantined items of a batch again as they are, in chunks of at most `chunk` items. Items of a batch that
    /// has ended open its next generation.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` when the batch cannot take them, with the reason.
    pub async fn redrive_quarantine(
        &self,
        order: &Order,
        batch: BatchId,
        which: QuarantineWhich,
        chunk: u64,
    ) -> Result<PatchReport> {
        self.patch_quarantine(order, &PatchRedrive { which, ..PatchRedrive::new(batch, chunk) }).await
    }

    /// Patches quarantined items of a batch and runs them again. An item that cannot be patched stays in quarantine, is
    /// counted and named, and the others go.
    ///
    /// # Errors
    ///
    /// Same as [`Service::redrive_quarantine`].
    pub async fn patch_quarantine(&self, order: &Order, patching: &PatchRedrive) -> Result<PatchReport> {
        let store = order.at(&self.store, Action::QuarantineRedrive, patching.batch);
        self.after(store.redrive_patched(&order.tenant, patching, order.dry_run)).await
    }
}
