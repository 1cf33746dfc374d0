//! Chunks: split.

use gristmill_core::audit::Action;
use gristmill_core::id::JobId;
use gristmill_store::{ControlReport, Result};

use crate::Service;
use crate::order::Order;

impl Service {
    /// Replaces a chunk that is dead or waits with two halves; `chunk` is the id of its job.
    ///
    /// # Errors
    ///
    /// Store errors: `NotFound`, or `Conflict` when it cannot be split, with the reason.
    pub async fn split_chunk(&self, order: &Order, chunk: JobId) -> Result<ControlReport> {
        let store = order.at(&self.store, Action::ChunkSplit, chunk);
        self.after(store.split_chunk(&order.tenant, chunk, order.dry_run)).await
    }
}
