//! What was said of the end of a batch before, and how well it held.

use std::time::Duration;

use gristmill_service::documents::{EtaRecordDocument, EtaSaidDocument};
use gristmill_service::eta_record::{eta_record_by, held_before};
use gristmill_store::BatchView;
use maud::{Markup, html};

use super::near::Near;
use crate::gate::Caller;
use crate::pages::View;
use crate::pages::charts::track::{Moment, track};
use crate::pages::parts::number::{counted, duration};
use crate::pages::parts::panel::panel as part;

/// From how many seconds on an end has slipped.
const SLIPPED: i64 = 5;

/// What was said before, as a picture and in words. Nothing when there is nothing to be said, as of a batch with too many
/// chunks.
pub(super) async fn panel(caller: &Caller, view: &View, batch: &BatchView, before: bool, near: &Near) -> Markup {
    let read = near.whole().filter(|chunks| !chunks.is_empty()).map(|chunks| eta_record_by(batch, chunks));
    let Some(record) = read.filter(|record| record.said.iter().any(|said| said.eta.likely.is_some())) else {
        return Markup::default();
    };
    let inner = html! {
        p { (said(&record)) }
        (others(caller, view, batch, before).await)
        (picture(&record))
    };
    part("estimates", "How the estimate has held", inner)
}

/// What was said, as a picture.
pub(super) fn picture(record: &EtaRecordDocument) -> Markup {
    let moments: Vec<Moment> = record.said.iter().map(moment).collect();
    track("estimates-chart", "When the batch was said to end", &said(record), &moments, record.ended_at)
}

/// How the ranges of the batches before it have held, once it is asked for: their chunks have to be read for it.
async fn others(caller: &Caller, view: &View, batch: &BatchView, wanted: bool) -> Markup {
    if !wanted {
        let href = view.with("before", Some("true"));
        return html! { p { a href=(href) { "How did the ranges of the last batches of " (batch.name) " hold?" } } };
    }
    let held = view.panel(held_before(caller.store(), batch)).await;
    html! {
        p id="held-before" {
            @match held {
                None => { span class="muted" { "This could not be read within a second." } }
                Some((0, _)) => { "No range was given for a batch of " (batch.name) " before it." }
                Some((ranges, held)) => {
                    "Of " (counted(ranges, "range", "ranges")) " of the last batches of " (batch.name) ", "
                    (held) " held; four in five should."
                }
            }
        }
    }
}

fn moment(said: &EtaSaidDocument) -> Moment {
    Moment { at: said.at, soonest: said.eta.soonest, likely: said.eta.likely, latest: said.eta.latest }
}

/// What can be seen, in words.
pub(super) fn said(record: &EtaRecordDocument) -> String {
    let slipped = record.slipped_seconds.unwrap_or(0);
    let by = duration(Duration::from_secs(slipped.unsigned_abs()));
    let moved = match slipped {
        SLIPPED.. => format!("has slipped by {by} since it was first said"),
        _ if slipped <= -SLIPPED => format!("is {by} earlier than was first said"),
        _ => "is when it was first said to be".to_owned(),
    };
    match record.ended_at {
        None => format!("Its end {moved}."),
        Some(_) => format!(
            "Its end {moved}; {} of {} held.",
            record.held,
            counted(record.ranges, "range that was given", "ranges that were given")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_said_in_words() {
        let record = |slipped, ended: bool| EtaRecordDocument {
            slipped_seconds: Some(slipped),
            ended_at: ended.then_some(chrono::DateTime::UNIX_EPOCH),
            ranges: 9,
            held: 7,
            said: Vec::new(),
        };
        let shown = |slipped, ended| said(&record(slipped, ended)).replace('\u{a0}', " ");
        assert_eq!(shown(22 * 60, false), "Its end has slipped by 22 min since it was first said.");
        assert_eq!(shown(-90, false), "Its end is 1 min 30 s earlier than was first said.");
        assert_eq!(shown(2, true), "Its end is when it was first said to be; 7 of 9 ranges that were given held.");
    }
}
