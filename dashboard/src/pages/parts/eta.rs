//! When a batch will have ended: a range, or why none can be given.

use std::time::Duration;

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
    duration(coarse((at - now).to_std().unwrap_or_default()))
}

/// A time as exactly as an estimate deserves.
fn coarse(time: Duration) -> Duration {
    let step = match time.as_secs() {
        0..60 => 5,
        60..600 => 30,
        600..3_600 => 60,
        3_600..86_400 => 300,
        _ => 3_600,
    };
    Duration::from_secs((time.as_secs() + step / 2).max(step) / step * step)
}

fn range(soonest: DateTime<Utc>, latest: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let (soonest, latest) = (until(soonest, now), until(latest, now));
    if soonest == latest { soonest } else { format!("{soonest} to {latest}") }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use gristmill_core::eta::Estimate;

    use super::*;

    #[test]
    fn an_estimate_is_no_more_exact_than_it_can_be() {
        for (seconds, shown) in [(0, 5), (43, 45), (130, 120), (3_000, 3_000), (4_000, 3_900), (200_000, 201_600)] {
            assert_eq!(coarse(Duration::from_secs(seconds)), Duration::from_secs(shown), "{seconds}");
        }
        let now = DateTime::from_timestamp(1_000, 0).expect("an instant");
        let [soonest, likely, latest] = [50, 61, 70].map(Duration::from_secs);
        let document = EtaDocument::new(Estimate::Between { soonest, likely, latest }, now);
        let html = eta(&document, now + TimeDelta::seconds(1)).into_string().replace('\u{a0}', " ");
        assert!(html.contains("in <strong>50 s to 1 min</strong>, likely in 1 min"), "{html}");
    }
}
