//! The step that does the actual work on each item: a Rust handler, a program or an HTTP service.

pub mod exec;
pub mod http;
pub mod item;
pub mod processors;
pub mod rust;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::BatchId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use item::{AsyncItem, AsyncItemFn, ItemContext, ItemFailure, typed};
pub use processors::{ItemHandler, ProcessorFactory, Processors};
pub use rust::{FnItem, ItemFn};

/// One item on its way into the processor.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemIn {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// Which try at this item this is within the current attempt at the chunk, counted from 1.
    pub attempt: u32,
    /// The item as the earlier stages have left it.
    pub item: Value,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemOut {
    /// It goes on as this.
    Ok(Value),
    /// It is dropped on purpose.
    Skip,
    /// It failed. `retry`: another try may help.
    Failed {
        /// What is wrong.
        reason: String,
        /// Whether another try may help.
        retry: bool,
    },
}

/// Why a whole group of items could not be processed: the chunk's attempt fails.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProcessFailure {
    /// What is wrong, and what would be right.
    pub message: String,
    /// A wait that the other side asked for.
    pub retry_after: Option<Duration>,
    /// Whether no retry helps.
    pub permanent: bool,
}

/// What a processor receives in addition to the items.
#[derive(Debug, Clone)]
pub struct ProcessContext {
    /// The key of the chunk, unlike `{job}:{attempt}`: the job's id, the same for every attempt.
    pub idempotency_key: String,
    /// The W3C trace context to hand on.
    pub trace: Option<String>,
    /// Fires when the attempt is over for another reason.
    pub cancel: CancellationToken,
    /// The batch that the chunk belongs to.
    pub batch: Arc<BatchContext>,
}

/// What item handlers may know of their batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchContext {
    /// The batch.
    pub id: BatchId,
    /// The name of its definition.
    pub name: String,
    /// The parameters of the run.
    pub params: Value,
}

/// Processes items. Returns one [`ItemOut`] for each [`ItemIn`], in the same order.
#[async_trait]
pub trait ItemProcessor: Send + Sync + 'static {
    /// Whether it spends its time waiting for another process or service, so that more chunks may be under way than
    /// there are threads for them.
    fn waits(&self) -> bool {
        true
    }

    /// Processes a group of items of one chunk.
    ///
    /// # Errors
    ///
    /// When the processor itself failed, not the items.
    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure>;
}

/// The key of one item, the same at every try and every attempt.
pub(crate) fn item_key(context: &ProcessContext, item: &ItemIn) -> String {
    format!("{}:{}", context.idempotency_key, item.position)
}
