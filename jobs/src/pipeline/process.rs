//! The process step: each item is asked for until it has an answer, and where one stays without, it is judged whose fault that is.
//!
//! Up to `attempts` rounds; each further round has only the items whose failure may be temporary. A failed try is
//! repeated with its original input. When the processor fails at a group of items and one of them may be the cause, the
//! group is halved, breadth first, so that a single culprit never stands between the others and their answers, and a
//! processor that is down is noticed after a few groups.

use std::collections::VecDeque;
use std::sync::Arc;

use gristmill_store::failpoint;

use super::{ItemInFlight, RunFailure, State};
use crate::pool::Cancelled;
use crate::process::blame::{Blame, Trial, halves};
use crate::process::{ItemOut, ItemProcessor, ProcessContext, ProcessFailure};
use crate::stage::{Refusal, shown};

pub(super) struct ItemProcess {
    pub(super) processor: Arc<dyn ItemProcessor>,
    pub(super) attempts: u32,
}

impl std::fmt::Debug for ItemProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ItemProcess").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// The items of one chunk that reach the step, and what became of each so far.
struct Asked<'a> {
    travellers: &'a [ItemInFlight],
    /// The place of each among the travellers.
    places: Vec<usize>,
    /// Parallel to `places`.
    outs: Vec<Option<ItemOut>>,
    trial: Trial,
}

impl ItemProcess {
    pub(super) async fn run(
        &self,
        travellers: &mut [ItemInFlight],
        context: &ProcessContext,
    ) -> Result<(), RunFailure> {
        let mut asked = Asked::new(travellers, context);
        let ended = match self.rounds(&mut asked, context).await {
            Ok(()) => asked.judged().map_err(RunFailure::from),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = ended {
            asked.keep(context);
            return Err(failure);
        }
        let Asked { places, outs, .. } = asked;
        for (place, out) in places.into_iter().zip(outs) {
            travellers[place].state = self.state_of(out);
        }
        Ok(())
    }

    async fn rounds(&self, asked: &mut Asked<'_>, context: &ProcessContext) -> Result<(), RunFailure> {
        for attempt in 1..=self.attempts {
            let open = asked.open();
            if open.is_empty() {
                break;
            }
            self.round(asked, open, attempt, context).await?;
        }
        Ok(())
    }

    /// Asks for all of these items, in halves where that does not work, until each has been answered or has failed alone.
    async fn round(
        &self,
        asked: &mut Asked<'_>,
        open: Vec<usize>,
        attempt: u32,
        context: &ProcessContext,
    ) -> Result<(), RunFailure> {
        let mut pieces = VecDeque::from([open]);
        while let Some(piece) = pieces.pop_front() {
            let items = piece.iter().filter_map(|one| asked.travellers[asked.places[*one]].item_in(attempt)).collect();
            let outs = tokio::select! {
                outs = self.processor.process(items, context) => outs,
                () = context.cancel.cancelled() => return Err(Cancelled.into()),
            };
            match outs {
                Ok(outs) => asked.answered(&piece, outs)?,
                Err(failure) => {
                    pieces.extend(asked.failed(piece, failure)?);
                    failpoint::point("chunk.halving");
                }
            }
        }
        Ok(())
    }

    /// What an item is after the last round.
    fn state_of(&self, out: Option<ItemOut>) -> State {
        let refused = |reason| State::Refused(Refusal::new("process", reason));
        match out {
            Some(ItemOut::Ok(item)) if item.is_object() => State::UnderWay(item),
            Some(ItemOut::Ok(other)) => {
                refused(format!("the processor answered {}; an item must be an object", shown(&other)))
            }
            Some(ItemOut::Skip) => State::Skipped,
            Some(ItemOut::Failed { reason, retry: true } | ItemOut::Unanswered { reason, retry: true }) => {
                refused(format!("{reason} (tried {} times)", self.attempts))
            }
            Some(ItemOut::Failed { reason, retry: false } | ItemOut::Unanswered { reason, retry: false }) => {
                refused(reason)
            }
            None => refused("the processor was not asked for it".to_owned()),
        }
    }
}

impl<'a> Asked<'a> {
    /// Begins with what earlier attempts at the chunk have brought.
    fn new(travellers: &'a [ItemInFlight], context: &ProcessContext) -> Self {
        let (mut places, mut outs) = (Vec::new(), Vec::new());
        for (place, in_flight) in travellers.iter().enumerate() {
            if let State::UnderWay(item) = &in_flight.state {
                places.push(place);
                outs.push(context.answers.recall(in_flight.position, item));
            }
        }
        let trial = Trial::new(context.last_attempt, outs.iter().flatten().count());
        Self { travellers, places, outs, trial }
    }

    /// Those that have not been asked for, or may be once more.
    fn open(&self) -> Vec<usize> {
        let again = |one: &usize| self.outs[*one].as_ref().is_none_or(ItemOut::may_retry);
        (0..self.places.len()).filter(again).collect()
    }

    fn answered(&mut self, piece: &[usize], outs: Vec<ItemOut>) -> Result<(), ProcessFailure> {
        if outs.len() != piece.len() {
            let message = format!("{} items went in and {} answers came out", piece.len(), outs.len());
            return Err(ProcessFailure::whole(message, true));
        }
        self.note(piece, outs.into_iter().map(Some));
        Ok(())
    }

    /// Notes what had been answered before a processor failed, and returns the pieces to be asked for instead.
    fn failed(&mut self, piece: Vec<usize>, mut failure: ProcessFailure) -> Result<Vec<Vec<usize>>, ProcessFailure> {
        let before = std::mem::take(&mut failure.answered);
        let answered = before.iter().map(Option::is_some).chain(std::iter::repeat(false));
        let left: Vec<usize> = piece.iter().copied().zip(answered).filter(|(_, is)| !is).map(|(one, _)| one).collect();
        self.note(&piece, before);
        if !failure.suspect {
            return Err(failure);
        }
        if failure.progress {
            self.trial.progresses();
        } else if self.trial.fails() {
            failure.message.push_str("; the same happens to one group of items after another");
            return Err(failure);
        }
        match left[..] {
            [] => Ok(Vec::new()),
            [alone] => {
                self.outs[alone] = Some(ItemOut::Unanswered { reason: failure.message, retry: false });
                Ok(Vec::new())
            }
            _ => Ok(halves(left).into()),
        }
    }

    /// Notes outcomes, and counts the items whose first answer this is.
    fn note(&mut self, piece: &[usize], outs: impl IntoIterator<Item = Option<ItemOut>>) {
        for (one, out) in piece.iter().zip(outs) {
            let Some(out) = out else { continue };
            let before = self.outs[*one].as_ref().is_some_and(ItemOut::is_answer);
            if out.is_answer() {
                self.trial.answers(usize::from(!before));
            }
            self.outs[*one] = Some(out);
        }
    }

    /// Judges those without an answer.
    fn judged(&self) -> Result<(), ProcessFailure> {
        let unanswered = || self.outs.iter().flatten().filter(|out| !out.is_answer());
        match (self.trial.judge(unanswered().count()), unanswered().next()) {
            (Blame::Processor, Some(ItemOut::Unanswered { reason, .. })) => {
                let (of, all) = (unanswered().count(), self.outs.len());
                Err(ProcessFailure::whole(format!("{of} of {all} items have no answer; the first: {reason}"), false))
            }
            _ => Ok(()),
        }
    }

    /// Keeps what has been answered for the next attempt.
    fn keep(&self, context: &ProcessContext) {
        for (place, out) in self.places.iter().zip(&self.outs) {
            let in_flight = &self.travellers[*place];
            if let (State::UnderWay(item), Some(out)) = (&in_flight.state, out) {
                context.answers.keep(in_flight.position, item, out);
            }
        }
    }
}
