//! The failure budget of batches under way: every caller that moves a batch asks here whether it goes on.

use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_store::{BatchProgress, Completions, Dispatched, Result};

/// Halts batches that are over their budget.
#[derive(Debug)]
pub struct FailureBudgets {
    store: Arc<dyn Completions>,
}

impl FailureBudgets {
    /// Creates the check over a store.
    pub fn new(store: Arc<dyn Completions>) -> Self {
        Self { store }
    }

    /// Halts those of the batches that are over their budget, and returns what may now be published. Safe to call twice
    /// and too late: halting a halting batch is a no-op, and so is halting one that was restarted since it was looked
    /// at.
    ///
    /// # Errors
    ///
    /// Store errors; what was over its budget stays so, and the next caller finds it.
    pub async fn enforce(&self, progress: &[BatchProgress]) -> Result<Vec<Dispatched>> {
        let mut dispatched = Vec::new();
        for batch in progress.iter().filter(|batch| may_halt(batch)) {
            if batch.failure_budget.exceeded_by(&batch.counts, batch.state != BatchState::Open) {
                let reason = reason(batch);
                tracing::warn!(batch.id = %batch.batch, reason, "batch halts");
                dispatched.push(self.store.halt_batch(batch.batch, batch.generation, &reason).await?.dispatched);
            }
        }
        Ok(dispatched)
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

fn reason(batch: &BatchProgress) -> String {
    format!(
        "{} of {} items are quarantined, more than the budget of {}",
        batch.counts.quarantined, batch.counts.input, batch.failure_budget
    )
}
