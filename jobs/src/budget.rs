//! The failure budget of batches under way: whoever moves a batch asks here whether it goes on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gristmill_core::batch::{BatchState, Tolerate};
use gristmill_core::id::BatchId;
use gristmill_store::{BatchProgress, Dispatched, Result, StoreHandle};

/// How many budgets are kept in memory. A process rarely sees more batches than this at once, and
/// one that it forgot is read again.
const KEPT_MAX: usize = 1_024;

/// Knows how much each batch tolerates, and halts those that are over.
#[derive(Debug)]
pub struct Budgets {
    store: StoreHandle,
    kept: Mutex<HashMap<BatchId, Tolerate>>,
}

impl Budgets {
    /// Knows nothing yet.
    pub fn new(store: StoreHandle) -> Self {
        Self { store, kept: Mutex::default() }
    }

    /// Halts those of the batches that are over their budget, and gives what may now be published.
    /// Safe to call twice: halting a halting batch is a no-op.
    ///
    /// # Errors
    ///
    /// Those of the store; what was over its budget stays so, and the next caller finds it.
    pub async fn enforce(&self, progress: &[BatchProgress]) -> Result<Vec<Dispatched>> {
        let mut dispatched = Vec::new();
        for batch in progress.iter().filter(|batch| may_halt(batch)) {
            let Some(tolerate) = self.tolerate(batch.batch).await? else { continue };
            if tolerate.exceeded_by(&batch.counts, batch.state != BatchState::Open) {
                let reason = reason(tolerate, batch);
                tracing::warn!(batch.id = %batch.batch, reason, "batch halts");
                dispatched.push(self.store.halt_batch(batch.batch, &reason).await?.dispatched);
            }
        }
        Ok(dispatched)
    }

    async fn tolerate(&self, batch: BatchId) -> Result<Option<Tolerate>> {
        if let Some(known) = self.kept().get(&batch) {
            return Ok(Some(*known));
        }
        let Some(plan) = self.store.batch_plan(batch).await? else { return Ok(None) };
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(batch, plan.definition.tolerate);
        Ok(Some(plan.definition.tolerate))
    }

    /// A panic elsewhere cannot leave the map half done, so its poison means nothing here.
    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<BatchId, Tolerate>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch whose chunks are all final is judged by its aggregate instead.
fn may_halt(batch: &BatchProgress) -> bool {
    let under_way = match batch.state {
        BatchState::Open | BatchState::Sealed => true,
        BatchState::Aggregating | BatchState::Complete | BatchState::Halted | BatchState::Cancelled => false,
    };
    under_way && !batch.halting && batch.remaining > 0 && batch.counts.quarantined > 0
}

fn reason(tolerate: Tolerate, batch: &BatchProgress) -> String {
    format!(
        "{} of {} items are quarantined, more than the budget of {tolerate}",
        batch.counts.quarantined, batch.counts.input
    )
}
