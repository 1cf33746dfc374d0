//! The step that does the actual work on each item: a Rust handler, a program or an HTTP service.

pub mod answers;
pub mod blame;
pub mod envelope;
pub mod exec;
pub mod http;
pub mod item;
pub mod processors;
mod programs;
pub mod rust;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::BatchId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use answers::Answers;
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
    /// There is no proper answer for it, and what there is does not say whether the item or the processor is to blame:
    /// [`blame`] judges that when all items of the chunk have been asked for.
    Unanswered {
        /// What there is instead.
        reason: String,
        /// Whether another try may help.
        retry: bool,
    },
}

impl ItemOut {
    /// Whether the processor has answered, whatever it was.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Ok(_) | Self::Skip | Self::Failed { .. } => true,
            Self::Unanswered { .. } => false,
        }
    }

    /// Whether another try may help.
    pub(crate) fn may_retry(&self) -> bool {
        match self {
            Self::Failed { retry, .. } | Self::Unanswered { retry, .. } => *retry,
            Self::Ok(_) | Self::Skip => false,
        }
    }
}

/// Why a whole group of items could not be processed: the chunk's attempt fails, unless one of them may be the cause.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProcessFailure {
    /// What is wrong, and what would be right.
    pub message: String,
    /// A wait that the other side asked for.
    pub retry_after: Option<Duration>,
    /// Whether no retry helps.
    pub permanent: bool,
    /// Whether one of the items may be the cause: those without an answer are processed again, in halves.
    pub suspect: bool,
    /// What had been answered before, at the places of the items; shorter than they are where nothing more was.
    pub answered: Vec<Option<ItemOut>>,
    /// Whether any item was answered, even if the answer is not to be relied on.
    pub progress: bool,
}

impl ProcessFailure {
    /// The processor is not there for any item.
    pub fn whole(message: impl Into<String>, permanent: bool) -> Self {
        Self {
            message: message.into(),
            retry_after: None,
            permanent,
            suspect: false,
            answered: Vec::new(),
            progress: false,
        }
    }
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
    /// Whether the chunk gets no other attempt if this one fails.
    pub last_attempt: bool,
    /// What earlier attempts at the chunk have brought.
    pub answers: Answers,
    /// How many bytes of answers the attempt may still keep.
    pub room: envelope::Room,
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
