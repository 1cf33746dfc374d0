//! Typed, asynchronous item handlers: each receives the decoded item and a context, and runs as a task on the runtime.
//!
//! Each item is a task of its own on the tokio runtime, at most `process.concurrency` of a chunk at once. When the
//! attempt is over, the tasks are aborted at their next await.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use gristmill_core::id::BatchId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{BatchContext, ItemIn, ItemOut, ItemProcessor, ProcessContext, ProcessFailure, item_key};
use crate::pool::{Cancelled, panic_text};
use crate::states::States;

/// How many items of one chunk are under way at once, by default.
pub const CONCURRENCY_DEFAULT: usize = 16;

/// The most items of one chunk that may be under way at once.
pub const CONCURRENCY_MAX: usize = 1_000;

/// An asynchronous item handler: takes an item, and returns what became of it.
pub type AsyncItemFn = Arc<dyn Fn(ItemIn, &ProcessContext) -> BoxFuture<'static, ItemOut> + Send + Sync>;

/// What a typed item handler receives in addition to its item.
#[derive(Debug, Clone)]
pub struct ItemContext {
    attempt: u32,
    position: u64,
    key: String,
    batch: Arc<BatchContext>,
    cancel: CancellationToken,
    states: States,
}

impl ItemContext {
    /// Which try at this item this is within the current attempt at the chunk, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The item's position in the whole input, counted from 0.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A key for the other side: the same at every try of this item, and at every attempt at its chunk.
    pub fn idempotency_key(&self) -> &str {
        &self.key
    }

    /// The batch that the item belongs to.
    pub fn batch_id(&self) -> BatchId {
        self.batch.id
    }

    /// The name of the batch's definition.
    pub fn batch_name(&self) -> &str {
        &self.batch.name
    }

    /// The parameters of the run: an object, or null when it was started without any.
    pub fn params(&self) -> &Value {
        &self.batch.params
    }

    /// Fires when the attempt is over for another reason: deadline, cancel, lease lost, stop.
    pub fn cancelled(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Returns what the program shares with its handlers.
    ///
    /// # Panics
    ///
    /// When the program shares nothing of that type; the item is quarantined with that reason.
    pub fn state<T: Send + Sync + 'static>(&self) -> Arc<T> {
        self.states.get().unwrap_or_else(|| panic!("no state of type {}; give it to `App::state`", type_name::<T>()))
    }
}

/// Why one item failed, and whether it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFailure {
    reason: String,
    retry: bool,
}

impl ItemFailure {
    /// It will fail every time: quarantined at once.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false }
    }

    /// It may succeed another time: tried as often as the batch's `process.item_attempts` allows, then quarantined.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true }
    }
}

impl fmt::Display for ItemFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Any error may be retried: `?` in a handler means [`ItemFailure::retry`].
impl<E: std::error::Error> From<E> for ItemFailure {
    fn from(error: E) -> Self {
        Self::retry(error.to_string())
    }
}

/// Makes an item handler from an `async fn(In, ItemContext) -> Result<Out, ItemFailure>`.
///
/// An item that does not fit `In` is quarantined with the path of the mismatch. `Out` must serialize to a JSON object;
/// when it is null, as for `None`, the item is skipped.
pub fn typed<In, Out, F, Fut>(states: States, work: F) -> AsyncItemFn
where
    In: DeserializeOwned,
    Out: Serialize + 'static,
    F: Fn(In, ItemContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Out, ItemFailure>> + Send + 'static,
{
    Arc::new(move |item, context| {
        let beside = ItemContext {
            attempt: item.attempt,
            position: item.position,
            key: item_key(context, &item),
            batch: Arc::clone(&context.batch),
            cancel: context.cancel.clone(),
            states: states.clone(),
        };
        match serde_path_to_error::deserialize::<_, In>(item.item) {
            Ok(item) => work(item, beside).map(out).boxed(),
            Err(error) => futures::future::ready(refused(misfit::<In>(&error))).boxed(),
        }
    })
}

fn misfit<In>(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let place = if path == "." { String::new() } else { format!(" at `{path}`") };
    format!("the item does not fit `{}`{place}: {}", short(type_name::<In>()), error.inner())
}

/// A type's name without its modules.
fn short(name: &str) -> &str {
    let end = name.find('<').unwrap_or(name.len());
    name[..end].rfind("::").map_or(name, |at| &name[at + 2..])
}

fn out<Out: Serialize>(result: Result<Out, ItemFailure>) -> ItemOut {
    match result.map(|out| serde_json::to_value(&out)) {
        Ok(Ok(Value::Null)) => ItemOut::Skip,
        Ok(Ok(item)) => ItemOut::Ok(item),
        Ok(Err(error)) => refused(format!("the result cannot be written as JSON: {error}")),
        Err(ItemFailure { reason, retry }) => ItemOut::Failed { reason, retry },
    }
}

fn refused(reason: String) -> ItemOut {
    ItemOut::Failed { reason, retry: false }
}

/// Processes the items of a chunk with an asynchronous handler.
#[derive(Clone)]
pub struct AsyncItem {
    work: AsyncItemFn,
    concurrency: usize,
}

impl AsyncItem {
    /// Creates a processor that has at most `concurrency` items of one chunk under way at once.
    pub fn new(work: AsyncItemFn, concurrency: usize) -> Self {
        Self { work, concurrency: concurrency.max(1) }
    }
}

impl fmt::Debug for AsyncItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncItem").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemProcessor for AsyncItem {
    async fn process(&self, items: Vec<ItemIn>, context: &ProcessContext) -> Result<Vec<ItemOut>, ProcessFailure> {
        let mut outs: Vec<Option<ItemOut>> = items.iter().map(|_| None).collect();
        let mut waiting = items.into_iter().enumerate();
        // Dropped with this future when the attempt is over: that aborts what is under way.
        let mut under_way: JoinSet<(usize, ItemOut)> = JoinSet::new();
        loop {
            while under_way.len() < self.concurrency
                && let Some((place, item)) = waiting.next()
            {
                under_way.spawn(one(Arc::clone(&self.work), place, item, context.clone()).in_current_span());
            }
            let ended = tokio::select! {
                biased;
                ended = under_way.join_next() => ended,
                () = context.cancel.cancelled() => return Err(over()),
            };
            match ended {
                Some(Ok((place, out))) => outs[place] = Some(out),
                Some(Err(error)) => return Err(broken_off(&error)),
                None => return outs.into_iter().collect::<Option<Vec<_>>>().ok_or_else(over),
            }
        }
    }
}

/// A panic is a defect in the handler: the same item would only cause it again.
async fn one(work: AsyncItemFn, place: usize, item: ItemIn, context: ProcessContext) -> (usize, ItemOut) {
    let out = std::panic::AssertUnwindSafe(async { work(item, &context).await }).catch_unwind().await;
    (place, out.unwrap_or_else(|panic| refused(format!("panicked: {}", panic_text(&*panic)))))
}

fn over() -> ProcessFailure {
    ProcessFailure::whole(Cancelled.to_string(), false)
}

/// Panics are caught: only a runtime that shuts down ends a task from outside.
fn broken_off(error: &JoinError) -> ProcessFailure {
    ProcessFailure::whole(format!("an item broke off: {error}"), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_called_by_its_own_name() {
        assert_eq!(short("shop::orders::Order"), "Order");
        assert_eq!(short("alloc::vec::Vec<shop::Order>"), "Vec<shop::Order>");
        assert_eq!(short("u32"), "u32");
    }
}
