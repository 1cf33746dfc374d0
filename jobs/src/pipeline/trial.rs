//! A trial: items go through the stages as in a chunk, and what each makes of each item is kept to be shown.

use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::gather::{Gone, Passing};
use super::observer::{Observer, Unobserved};
use super::{ItemInFlight, Pipeline, RunFailure, State};
use crate::pool::ItemPool;
use crate::process::ProcessContext;
use crate::source::Record;
use crate::stage::mail::ItemMessage;

/// What became of the first items of an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The items, in the order of the input.
    pub items: Vec<TriedItem>,
    /// What the measures come to over those that passed.
    pub result: Value,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct TriedItem {
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, where the source has lines.
    pub line: Option<u64>,
    /// What it was after each stage that the definition has, `read` first. The stage that refused it is not among them.
    pub steps: Vec<(&'static str, Value)>,
    /// Where it ended.
    pub end: TriedEnd,
}

/// Where an item ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TriedEnd {
    /// It passed every stage.
    Passed,
    /// This stage skipped it on purpose.
    Skipped(&'static str),
    /// It would be set aside.
    Refused {
        /// The stage that refused it.
        stage: String,
        /// Why.
        reason: String,
    },
}

/// What has been seen of items on trial.
struct OnTrial {
    steps: Vec<Vec<(&'static str, Value)>>,
    /// The stage that skipped each.
    skipped: Vec<Option<&'static str>>,
}

impl Pipeline {
    /// Takes records through all stages and keeps what each makes of them. Nothing is written. Without a context for it
    /// the step `process` is left out.
    ///
    /// # Errors
    ///
    /// When a lookup or the processor itself failed.
    pub async fn trial(
        self: &Arc<Self>,
        records: Vec<Record>,
        process: Option<&ProcessContext>,
        pool: &ItemPool,
    ) -> Result<Trial, RunFailure> {
        let mut tried = OnTrial::new(&records);
        let mut travellers: Vec<_> = records.into_iter().map(ItemInFlight::new).collect();
        let cancel = process.map_or_else(CancellationToken::new, |context| context.cancel.clone());
        let written = self.through(&mut travellers, process, pool, &cancel, &mut tried).await?;
        Ok(self.ended(travellers, tried, written))
    }

    /// The messages that records become, and why others become none. The step `process` is left out.
    ///
    /// # Errors
    ///
    /// When a lookup failed.
    pub async fn first_messages(
        self: &Arc<Self>,
        records: Vec<Record>,
        pool: &ItemPool,
    ) -> Result<(Vec<ItemMessage>, Vec<String>), RunFailure> {
        let mut travellers: Vec<_> = records.into_iter().map(ItemInFlight::new).collect();
        let written = self.through(&mut travellers, None, pool, &CancellationToken::new(), &mut Unobserved).await?;
        let mut gatherer = self.gatherer();
        for (in_flight, written) in travellers.into_iter().zip(written) {
            gatherer.take(Gone { in_flight, written });
        }
        let outcome = gatherer.outcome();
        let messages = outcome.messages.into_iter().map(|(_, message)| message).collect();
        Ok((messages, outcome.set_aside.into_iter().map(|item| item.reason).collect()))
    }

    fn ended(&self, travellers: Vec<ItemInFlight>, tried: OnTrial, written: Vec<Option<Passing>>) -> Trial {
        let OnTrial { mut steps, skipped } = tried;
        let mut gatherer = self.gatherer();
        let mut ends: Vec<(u64, Option<u64>, bool)> = Vec::with_capacity(travellers.len());
        for ((in_flight, written), steps) in travellers.into_iter().zip(written).zip(&mut steps) {
            let (position, line) = (in_flight.position, in_flight.line);
            let message = written.as_ref().and_then(|passing| passing.message.as_ref());
            let preview = self.mail.as_ref().zip(message).map(|(mail, message)| mail.preview(message));
            let passed = gatherer.take(Gone { in_flight, written });
            ends.push((position, line, passed.is_some()));
            steps.extend(preview.filter(|_| passed.is_some()).map(|preview| ("mail", preview)));
            steps.extend(passed.filter(|_| self.format.is_some()).map(|written| ("format", written)));
        }
        let outcome = gatherer.outcome();
        let end = |position: u64, passed: bool, skipped: Option<&'static str>| {
            if passed {
                return TriedEnd::Passed;
            }
            match outcome.set_aside.iter().find(|item| item.position == position) {
                Some(item) => TriedEnd::Refused { stage: item.stage.clone(), reason: item.reason.clone() },
                None => TriedEnd::Skipped(skipped.unwrap_or("transform")),
            }
        };
        let items = ends.into_iter().zip(steps).zip(skipped).map(|(((position, line, passed), steps), skipped)| {
            TriedItem { position, line, steps, end: end(position, passed, skipped) }
        });
        Trial { items: items.collect(), result: self.aggregation.finish(&outcome.partial) }
    }
}

impl OnTrial {
    fn new(records: &[Record]) -> Self {
        let read = |record: &Record| match &record.item {
            Ok(item) => vec![("read", item.clone())],
            Err(unreadable) => vec![("read", unreadable.raw.clone())],
        };
        Self { steps: records.iter().map(read).collect(), skipped: vec![None; records.len()] }
    }
}

impl Observer for OnTrial {
    type Seen = Vec<(&'static str, Value)>;

    fn see(seen: &mut Self::Seen, stage: &'static str, item: &Value) {
        seen.push((stage, item.clone()));
    }

    fn prepared(&mut self, place: usize, seen: Self::Seen, state: &State) {
        self.steps[place].extend(seen);
        if matches!(state, State::Skipped) {
            self.skipped[place] = Some("transform");
        }
    }

    fn passed(&mut self, stage: &'static str, travellers: &[ItemInFlight]) {
        for ((in_flight, steps), skipped) in travellers.iter().zip(&mut self.steps).zip(&mut self.skipped) {
            match &in_flight.state {
                State::UnderWay(item) => steps.push((stage, item.clone())),
                State::Skipped if skipped.is_none() => *skipped = Some(stage),
                State::Skipped | State::Refused(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::definition::BatchDefinition;
    use serde_json::json;

    use super::*;
    use crate::process::Processors;

    #[tokio::test]
    async fn each_stage_shows_what_it_made_and_the_one_that_refuses_says_why() {
        let pool = ItemPool::new(1).expect("threads");
        let definition: BatchDefinition = serde_json::from_value(json!({
            "source": { "csv": "in.csv" },
            "validate": { "inline": { "required": ["n"] } },
            "nulls": ["-"],
            "parse": { "n": { "type": "integer", "optional": true } },
            "transform": "select(.n != 0) | .twice = (.n * 2)",
            "format": { "fields": ["twice"] },
            "aggregate": { "sum": { "sum": "twice" } },
        }))
        .expect("a definition");
        let pipeline = Pipeline::compile("b", &definition, "".as_ref(), &Processors::default(), &pool).expect("stages");
        let record =
            |(position, n): (u64, &str)| Record { position, line: Some(position + 2), item: Ok(json!({ "n": n })) };
        let mut records: Vec<_> = (0..).zip(["7", "x", "0", "-"]).map(record).collect();
        records.push(Record { position: 4, line: None, item: Ok(json!({ "m": "1" })) });
        let trial = Arc::new(pipeline).trial(records, None, &pool).await.expect("tried");
        let stages = |at: usize| trial.items[at].steps.iter().map(|(stage, _)| *stage).collect::<Vec<_>>();
        assert_eq!(stages(0), ["read", "nulls", "parse", "transform", "format"]);
        assert_eq!(trial.items[0].steps[3].1, json!({ "n": 7, "twice": 14 }));
        assert_eq!((&trial.items[0].end, trial.items[0].line), (&TriedEnd::Passed, Some(2)));
        assert_eq!(stages(1), ["read", "nulls"]);
        let TriedEnd::Refused { stage, reason } = &trial.items[1].end else { panic!("{:?}", trial.items[1]) };
        assert!(stage == "parse" && reason.starts_with("`n` is `x`"), "{stage}: {reason}");
        assert_eq!(trial.items[2].end, TriedEnd::Skipped("transform"));
        assert!(
            matches!(&trial.items[3].end, TriedEnd::Refused { stage, .. } if stage == "transform"),
            "null has no twice"
        );
        assert!(matches!(&trial.items[4].end, TriedEnd::Refused { stage, .. } if stage == "validate"));
        assert_eq!(trial.result, json!({ "sum": "14" }));
    }
}
