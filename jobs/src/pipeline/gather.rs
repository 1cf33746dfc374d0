//! What a chunk's items come to: the counts, the aggregate, and what is set aside.

use gristmill_core::aggregate::{Absorber, Aggregation, Datum, Partial, Places};
use gristmill_core::chunk::{ChunkResult, SetAside};
use gristmill_store::RefusedRow;
use serde_json::Value;

use super::{ItemInFlight, Pipeline, State};
use crate::sink::{Encoded, Sink};
use crate::stage::Refusal;
use crate::stage::mail::ItemMessage;

/// What became of a chunk's items, before anything is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChunkOutcome {
    /// The items that passed every stage, as they are written, in the order of the input.
    pub ok: Vec<Value>,
    /// Those of them that were written as rows, in the order of the input: either `ok` is empty, or this is.
    pub encoded: Encoded,
    /// How many were skipped on purpose.
    pub skipped: u64,
    /// Those that were refused, in the order of the input.
    pub set_aside: Vec<SetAside>,
    /// The chunk's share of the aggregate.
    pub partial: Partial,
    /// The items of `ok` as they were before, where what they are written to may still refuse some of them.
    pub passed: Vec<PassedItem>,
    /// The messages that they become, each with the place of its item.
    pub messages: Vec<(u64, ItemMessage)>,
}

impl ChunkOutcome {
    /// How many items passed every stage.
    pub fn passed(&self) -> u64 {
        self.ok.len() as u64 + self.encoded.items
    }
}

/// An item that passed every stage, and that may still turn out to be refused.
#[derive(Debug, Clone, PartialEq)]
pub struct PassedItem {
    position: u64,
    line: Option<u64>,
    /// As it came from the source.
    original: Value,
    /// As it was counted.
    counted: Value,
}

/// An item that has gone through the stages: what it came to, and what it is counted and written as if it passed.
#[derive(Debug)]
pub(crate) struct Gone {
    pub(super) in_flight: ItemInFlight,
    pub(super) written: Option<Passing>,
}

/// What an item is if it passes.
#[derive(Debug)]
pub(crate) struct Passing {
    /// As it is counted.
    pub(super) counted: Value,
    /// As it is written.
    pub(super) written: Value,
    /// The message that it becomes.
    pub(super) message: Option<ItemMessage>,
}

/// Counts items, and absorbs those that passed. Absorbing is the last step that may refuse an item, so that no item is
/// ever both written and set aside.
#[derive(Debug)]
pub(crate) struct Gatherer<'p> {
    absorber: Absorber<'p>,
    outcome: ChunkOutcome,
    /// Whether what they are written to may still refuse some of them.
    refusable: bool,
}

impl Pipeline {
    /// Begins an outcome.
    pub(crate) fn gatherer(&self) -> Gatherer<'_> {
        Gatherer {
            absorber: self.aggregation.absorber(),
            outcome: ChunkOutcome::default(),
            refusable: matches!(self.sink, Some(Sink::Sql(_))),
        }
    }
}

impl Gatherer<'_> {
    /// Counts an item. Returns what is to be written if it passed.
    pub(crate) fn take(&mut self, Gone { mut in_flight, written }: Gone) -> Option<Value> {
        if let Some(Passing { counted, written, message }) = written {
            match self.absorber.absorb(&counted) {
                Ok(()) => {
                    self.outcome.messages.extend(message.map(|message| (in_flight.position, message)));
                    if self.refusable {
                        let ItemInFlight { position, line, original, .. } = in_flight;
                        self.outcome.passed.push(PassedItem { position, line, original, counted });
                    }
                    return Some(written);
                }
                Err(error) => in_flight.state = State::Refused(Refusal::new("aggregate", error.to_string())),
            }
        }
        match in_flight.state {
            State::Refused(refusal) => self.outcome.set_aside.push(SetAside {
                position: in_flight.position,
                line: in_flight.line,
                stage: refusal.stage.to_owned(),
                reason: refusal.reason,
                item: in_flight.original,
            }),
            State::Skipped | State::UnderWay(_) => self.skip(),
        }
        None
    }

    /// Counts an item that is skipped on purpose.
    pub(crate) fn skip(&mut self) {
        self.outcome.skipped += 1;
    }

    /// Absorbs a row; see [`Absorber::absorb_at`].
    pub(crate) fn absorb_at<'d>(&mut self, places: &Places, datum: impl Fn(usize) -> &'d Datum<'d>) -> bool {
        self.absorber.absorb_at(places, datum)
    }

    /// What all items come to, but for what is written of them.
    pub(crate) fn outcome(self) -> ChunkOutcome {
        ChunkOutcome { partial: self.absorber.partial(), ..self.outcome }
    }
}

/// The result of a chunk without the items whose rows were refused: each is set aside with the reason, and the
/// aggregate is made anew from the others. A refused row is known by its place among the items that passed.
///
/// # Errors
///
/// When the others alone cannot be aggregated.
pub(crate) fn without(
    result: &ChunkResult,
    aggregation: &Aggregation,
    passed: &[PassedItem],
    refused: &[RefusedRow],
) -> Result<ChunkResult, String> {
    let mut result = result.clone();
    let mut absorber = aggregation.absorber();
    let mut reasons: std::collections::HashMap<usize, &str> =
        refused.iter().map(|row| (row.index, row.reason.as_str())).collect();
    for (index, item) in passed.iter().enumerate() {
        let Some(reason) = reasons.remove(&index) else {
            absorber.absorb(&item.counted).map_err(|error| error.to_string())?;
            continue;
        };
        result.set_aside.push(SetAside {
            position: item.position,
            line: item.line,
            stage: "output".to_owned(),
            reason: reason.to_owned(),
            item: item.original.clone(),
        });
        result.ok -= 1;
        result.quarantined += 1;
    }
    result.set_aside.sort_by_key(|item| item.position);
    result.partial = absorber.partial();
    Ok(result)
}
