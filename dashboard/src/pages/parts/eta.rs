//! When a batch will have ended: a range, or why none can be given.

use chrono::{DateTime, Utc};
use gristmill_service::documents::{EtaDocument, EtaState};
use maud::{Markup, html};

use super::number::duration;

/// When a batch will have ended, as a sentence.
pub fn eta(eta: &EtaDocument, now: DateTime<Utc>) -> Markup {
    html! {
        @match (eta.state, eta.soonest, eta.likely, eta.latest) {
            (EtaState::Between, Some(soonest), Some(likely), Some(latest)) => {
                "in " strong { (range(soonest, latest, now)) } ", likely in " (until(likely, now))
                span class="muted" { " (four times in five)" }
            }
            (EtaState::AtLeast, Some(soonest), ..) => {
                "in " strong { "at least " (until(soonest, now)) }
                span class="muted" { ": a few chunks take far longer than the others" }
            }
            (EtaState::TooEarly, ..) => { span class="muted" { "too early to say: too few chunks have finished" } }
            (EtaState::Stalled, ..) => { strong { "stalled: " } "no chunk has finished for longer than nearly all of them took" }
            _ => { span class="muted" { "no chunk runs; what they wait for decides" } }
        }
    }
}

fn until(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    duration((at - now).to_std().unwrap_or_default())
}

fn range(soonest: DateTime<Utc>, latest: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let (soonest, latest) = (until(soonest, now), until(latest, now));
    if soonest == latest { soonest } else { format!("{soonest} to {latest}") }
}
