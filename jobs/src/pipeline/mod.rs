//! The path of a chunk's items through the stages.
//!
//! The whole chunk goes through one stage after another: pure computation runs on the threads for items, a lookup in a
//! table is one query, and the process step receives all items at once. An item that is refused, or at which something
//! panics, is set aside and nothing else is affected; the chunk's attempt fails only when a lookup or a processor
//! itself fails (`process` decides which of the two it was).
//!
//! The aggregate is computed over the items as they leave `process`: `format` decides what is
//! written, not what is counted.

mod check;
mod gather;
mod observer;
mod process;
mod trial;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::aggregate::Aggregation;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use check::{DefinitionError, ITEM_ATTEMPTS_DEFAULT, ITEM_ATTEMPTS_MAX, closing, resolve};
pub(crate) use gather::without;
pub use gather::{ChunkOutcome, PassedItem};
pub(crate) use gather::{Gatherer, Gone, Passing};
use observer::{Observer, Unobserved};
use process::ItemProcess;
pub use trial::{Trial, TriedEnd, TriedItem};

use crate::pool::{Cancelled, ItemPool, Panicked, panic_text};
use crate::process::{ItemIn, ProcessContext, ProcessFailure};
use crate::sink::{Encoding, Sink};
use crate::source::Record;
use crate::stage::enrich::{Enrich, LookupError};
use crate::stage::format::Format;
use crate::stage::mail::Mail;
use crate::stage::nulls::Nulls;
use crate::stage::parse::Parse;
use crate::stage::sanitize::Sanitize;
use crate::stage::transform::Transform;
use crate::stage::validate::Validate;
use crate::stage::{Refusal, Step};

/// The compiled stages of one definition.
#[derive(Debug)]
pub struct Pipeline {
    validate: Option<Validate>,
    sanitize: Option<Sanitize>,
    nulls: Option<Nulls>,
    parse: Parse,
    transform: Option<Transform>,
    enrich: Vec<Enrich>,
    process: Option<ItemProcess>,
    format: Option<Format>,
    mail: Option<Mail>,
    aggregation: Aggregation,
    sink: Option<Sink>,
}

/// The stages of a definition in which each item is looked at by itself, and nothing is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages<'p> {
    pub(crate) validate: Option<&'p Validate>,
    pub(crate) sanitize: Option<&'p Sanitize>,
    pub(crate) nulls: Option<&'p Nulls>,
    pub(crate) parse: &'p Parse,
    pub(crate) transform: Option<&'p Transform>,
    pub(crate) format: Option<&'p Format>,
    pub(crate) aggregation: &'p Aggregation,
    pub(crate) encoding: Option<&'p Encoding>,
}

/// Why a chunk's attempt failed as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunFailure {
    /// The processor itself failed.
    #[error("process: {0}")]
    Process(#[from] ProcessFailure),
    /// A lookup is not available.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The attempt is over for another reason.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl RunFailure {
    /// Whether no retry helps.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Process(failure) => failure.permanent,
            Self::Lookup(error) => error.permanent,
            Self::Cancelled(_) => false,
        }
    }

    /// A wait that the other side asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Process(failure) => failure.retry_after,
            Self::Lookup(_) | Self::Cancelled(_) => None,
        }
    }
}

/// One item under way. It keeps the original from the source, for the quarantine.
#[derive(Debug)]
struct ItemInFlight {
    position: u64,
    line: Option<u64>,
    original: Value,
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay(Value),
    Skipped,
    Refused(Refusal),
}

impl Pipeline {
    /// The measures, to finish the batch's result.
    pub fn aggregation(&self) -> &Aggregation {
        &self.aggregation
    }

    /// Where the items that passed every stage are written.
    pub fn sink(&self) -> Option<&Sink> {
        self.sink.as_ref()
    }

    /// Whether its chunks spend their time waiting for a program or a service.
    pub fn waits(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.processor.waits())
    }

    /// What the items become as messages.
    pub fn mail(&self) -> Option<&Mail> {
        self.mail.as_ref()
    }

    /// What the message of the first of these items lacks that passes the stages before: a value that the template takes.
    /// Not asked where a lookup or a processor would have to be, which may add it.
    pub fn mail_fault(&self, items: Vec<Value>) -> Option<String> {
        let mail = self.mail.as_ref().filter(|_| self.enrich.is_empty() && self.process.is_none())?;
        let prepared = items.into_iter().filter_map(|item| self.prepare(item, |_, _| {}).ok().flatten());
        prepared.map(|item| mail.lacks(&item)).find_map(|lacks| lacks)
    }

    /// All stages, where they look at nothing but one item, and leave nothing but rows and counts. What is written to a
    /// table needs its items later.
    pub(crate) fn stages(&self) -> Option<Stages<'_>> {
        if self.mail.is_some() {
            return None;
        }
        let encoding = match &self.sink {
            None => None,
            Some(Sink::Parts { encoding, .. }) => Some(encoding),
            Some(Sink::Sql(_)) => return None,
        };
        (self.enrich.is_empty() && self.process.is_none()).then_some(Stages {
            validate: self.validate.as_ref(),
            sanitize: self.sanitize.as_ref(),
            nulls: self.nulls.as_ref(),
            parse: &self.parse,
            transform: self.transform.as_ref(),
            format: self.format.as_ref(),
            aggregation: &self.aggregation,
            encoding,
        })
    }

    /// Takes one item through [`stages`](Self::stages).
    pub(crate) fn alone(&self, record: Record) -> Gone {
        let mut in_flight = ItemInFlight::new(record);
        let Some(item) = in_flight.take() else { return Gone { in_flight, written: None } };
        let prepared = unwound("transform", || self.prepare(item, |_, _| {}));
        let written = prepared.and_then(|item| match item {
            Some(item) => unwound("format", || self.formatted(item)).map(Some),
            None => Ok(None),
        });
        match written {
            Ok(written) => Gone { in_flight, written },
            Err(refusal) => {
                in_flight.state = State::Refused(refusal);
                Gone { in_flight, written: None }
            }
        }
    }

    /// The item as it is counted, as it is written, and the message that it becomes.
    fn formatted(&self, item: Value) -> Result<Passing, Refusal> {
        let message = self.mail.as_ref().map(|mail| mail.message(&item)).transpose()?;
        let written = match &self.format {
            Some(format) => format.apply(&item)?,
            None => item.clone(),
        };
        Ok(Passing { counted: item, written, message })
    }

    /// Takes a chunk's records through all stages.
    ///
    /// # Errors
    ///
    /// When a lookup or the processor itself failed, or the attempt is over.
    pub async fn run(
        self: &Arc<Self>,
        records: Vec<Record>,
        context: &ProcessContext,
        pool: &ItemPool,
    ) -> Result<ChunkOutcome, RunFailure> {
        let mut travellers: Vec<_> = records.into_iter().map(ItemInFlight::new).collect();
        let written = self.through(&mut travellers, Some(context), pool, &context.cancel, &mut Unobserved).await?;
        let mut gatherer = self.gatherer();
        let mut ok = Vec::new();
        for (in_flight, written) in travellers.into_iter().zip(written) {
            ok.extend(gatherer.take(Gone { in_flight, written }));
        }
        Ok(ChunkOutcome { ok, ..gatherer.outcome() })
    }

    /// Takes items through all stages, in their order, and returns what is counted and written of those that passed. Without
    /// a context for it the step `process` is left out.
    async fn through<O: Observer>(
        self: &Arc<Self>,
        travellers: &mut [ItemInFlight],
        process: Option<&ProcessContext>,
        pool: &ItemPool,
        cancel: &CancellationToken,
        observer: &mut O,
    ) -> Result<Vec<Option<Passing>>, RunFailure> {
        let me = Arc::clone(self);
        let prepare = move |item| {
            let mut seen = O::Seen::default();
            let end = me.prepare(item, |stage, item| O::see(&mut seen, stage, item));
            Ok(Some((seen, end)))
        };
        let prepared = map_under_way("transform", travellers, pool, cancel, prepare).await?;
        for (place, (in_flight, prepared)) in travellers.iter_mut().zip(prepared).enumerate() {
            let Some((seen, end)) = prepared else { continue };
            in_flight.state = State::of(end);
            observer.prepared(place, seen, &in_flight.state);
        }
        for number in 0..self.enrich.len() {
            self.enrich(number, travellers, pool, cancel).await?;
            observer.passed("enrich", travellers);
        }
        if let (Some(step), Some(context)) = (&self.process, process) {
            step.run(travellers, context).await?;
            observer.passed("process", travellers);
        }
        let me = Arc::clone(self);
        Ok(map_under_way("format", travellers, pool, cancel, move |item| me.formatted(item).map(Some)).await?)
    }

    /// Runs the stages that look at nothing but the item, and says what each that the definition has made of it.
    fn prepare(&self, mut item: Value, mut made: impl FnMut(&'static str, &Value)) -> Step {
        if let Some(validate) = &self.validate {
            validate.check(&item)?;
        }
        if let Some(sanitize) = &self.sanitize {
            sanitize.clean(&mut item);
            made("sanitize", &item);
        }
        if let Some(nulls) = &self.nulls {
            nulls.apply(&mut item);
            made("nulls", &item);
        }
        self.parse.apply(&mut item)?;
        if !self.parse.rules().is_empty() {
            made("parse", &item);
        }
        let Some(transform) = &self.transform else { return Ok(Some(item)) };
        let transformed = transform.apply(&item)?;
        if let Some(item) = &transformed {
            made("transform", item);
        }
        Ok(transformed)
    }

    async fn enrich(
        self: &Arc<Self>,
        number: usize,
        travellers: &mut [ItemInFlight],
        pool: &ItemPool,
        cancel: &CancellationToken,
    ) -> Result<(), RunFailure> {
        let items = travellers.iter().filter_map(|in_flight| match &in_flight.state {
            State::UnderWay(item) => Some(item),
            State::Skipped | State::Refused(_) => None,
        });
        let records = tokio::select! {
            records = self.enrich[number].look_up(items) => records?,
            () = cancel.cancelled() => return Err(Cancelled.into()),
        };
        let me = Arc::clone(self);
        on_pool("enrich", travellers, pool, cancel, move |mut item| {
            Ok(me.enrich[number].apply(&mut item, &records)?.then_some(item))
        })
        .await?;
        Ok(())
    }
}

impl State {
    fn of(step: Step) -> Self {
        match step {
            Ok(Some(item)) => Self::UnderWay(item),
            Ok(None) => Self::Skipped,
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

impl ItemInFlight {
    fn new(record: Record) -> Self {
        let (original, state) = match record.item {
            Ok(item) => (item.clone(), State::UnderWay(item)),
            Err(unreadable) => (unreadable.raw, State::Refused(Refusal::new("read", unreadable.reason))),
        };
        Self { position: record.position, line: record.line, original, state }
    }

    fn item_in(&self, attempt: u32) -> Option<ItemIn> {
        match &self.state {
            State::UnderWay(item) => Some(ItemIn { position: self.position, attempt, item: item.clone() }),
            State::Skipped | State::Refused(_) => None,
        }
    }

    fn take(&mut self) -> Option<Value> {
        match std::mem::replace(&mut self.state, State::Skipped) {
            State::UnderWay(item) => Some(item),
            other => {
                self.state = other;
                None
            }
        }
    }
}

/// Runs a step on all items that are still under way.
async fn on_pool(
    stage: &'static str,
    travellers: &mut [ItemInFlight],
    pool: &ItemPool,
    cancel: &CancellationToken,
    step: impl Fn(Value) -> Step + Send + Sync + 'static,
) -> Result<(), Cancelled> {
    let results = map_under_way(stage, travellers, pool, cancel, step).await?;
    for (in_flight, result) in travellers.iter_mut().zip(results) {
        if let Some(item) = result {
            in_flight.state = State::UnderWay(item);
        }
    }
    Ok(())
}

/// The same, but returns what the step made instead of putting it back. Returns one result for each traveller: `None`
/// for those that are no longer under way, whose state says why.
async fn map_under_way<R: Send + 'static>(
    stage: &'static str,
    travellers: &mut [ItemInFlight],
    pool: &ItemPool,
    cancel: &CancellationToken,
    step: impl Fn(Value) -> Result<Option<R>, Refusal> + Send + Sync + 'static,
) -> Result<Vec<Option<R>>, Cancelled> {
    let (places, items): (Vec<_>, Vec<_>) = travellers
        .iter_mut()
        .enumerate()
        .filter_map(|(place, in_flight)| in_flight.take().map(|item| (place, item)))
        .unzip();
    let mut results: Vec<_> = travellers.iter().map(|_| None).collect();
    for (place, result) in places.into_iter().zip(pool.map(items, cancel, step).await?) {
        match result.unwrap_or_else(|panic| Err(panicked(stage, &panic))) {
            Ok(Some(made)) => results[place] = Some(made),
            Ok(None) => {}
            Err(refusal) => travellers[place].state = State::Refused(refusal),
        }
    }
    Ok(results)
}

/// Runs a stage on one item.
fn unwound<R>(stage: &'static str, run: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panicked(stage, &Panicked(panic_text(&*panic)))))
}

/// A panic in our own stages is our defect, but it affects only one item.
fn panicked(stage: &'static str, panic: &Panicked) -> Refusal {
    Refusal::new(stage, panic.to_string())
}
