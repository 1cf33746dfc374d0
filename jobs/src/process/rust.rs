//! Rust functions as item processors, run on the threads for items.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure};
use crate::pool::ItemPool;

/// A Rust item handler: takes the item and the number of the try, counted from 1.
pub type ItemFn = Arc<dyn Fn(&Value, u32) -> ItemOut + Send + Sync>;

/// A Rust function that processes one item at a time.
#[derive(Clone)]
pub struct FnItem {
    work: ItemFn,
    pool: ItemPool,
}

impl FnItem {
    /// Creates a processor that runs the function on the pool's threads.
    pub fn new(work: ItemFn, pool: ItemPool) -> Self {
        Self { work, pool }
    }
}

impl fmt::Debug for FnItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnItem").finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemProcessor for FnItem {
    fn waits(&self) -> bool {
        false
    }

    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure> {
        let work = Arc::clone(&self.work);
        let results = self.pool.map(items, &context.cancel, move |item: ItemIn| work(&item.item, item.attempt)).await;
        let results = results.map_err(|cancelled| ProcessFailure::whole(cancelled.to_string(), false))?;
        // A panic is a defect in the handler: the same item would only cause it again.
        let outs = results.into_iter().map(|result| {
            result.unwrap_or_else(|panicked| ItemOut::Failed { reason: panicked.to_string(), retry: false })
        });
        Ok(outs.collect())
    }
}
