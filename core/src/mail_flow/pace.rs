//! How fast a domain may be sent to: what is configured, and less when its servers ask to slow down.
//!
//! Additive increase, multiplicative decrease: an answer that asks to slow down halves the pace; each minute in which
//! messages are taken adds a twentieth of the whole, until the domain is as free as it was.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Instant;
use crate::limit::gcra::Rate;

/// Messages in a minute.
pub type PerMinute = u32;

/// Where no rate is configured, a domain that has answered so well for long is free again.
pub const FREE_AGAIN: PerMinute = 600;

/// Answers within this time are one and the same: the messages that were under way together.
pub const ONE_ANSWER: Duration = Duration::from_secs(10);

/// How often the pace may rise.
pub const STEP: Duration = Duration::from_secs(60);

/// In how many steps it rises from nothing to the whole.
const STEPS: u32 = 20;

/// What is known of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Pace {
    /// The messages in a minute that it takes, learned from its answers. `None`: it has not asked for less.
    pub learned: Option<PerMinute>,
    /// When that changed last.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub learned_at: Option<Instant>,
    /// How often it has asked to slow down, until it was free again.
    pub slowed: u32,
    /// What it said last, without addresses.
    pub said: Option<String>,
}

/// What a domain's servers answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainEvent {
    /// They took messages.
    Took,
    /// They asked to slow down. With how many messages in the last minute, as far as the one who heard it knows.
    SlowDown {
        /// What they said, without addresses.
        said: String,
        /// Messages in the last minute.
        seen: PerMinute,
    },
}

impl Pace {
    /// What is known after an answer. `None` when it changes nothing.
    #[must_use]
    pub fn after(&self, event: &DomainEvent, configured: Option<PerMinute>, now: Instant) -> Option<Self> {
        let whole = configured.unwrap_or(FREE_AGAIN).max(1);
        let since = self.learned_at.map(|at| (now - at).to_std().unwrap_or_default());
        match event {
            DomainEvent::SlowDown { .. } if self.learned.is_some() && since < Some(ONE_ANSWER) => None,
            DomainEvent::SlowDown { said, seen } => {
                let was = self.learned.unwrap_or_else(|| configured.unwrap_or((*seen).clamp(1, FREE_AGAIN)));
                let slowed = self.slowed.saturating_add(1);
                let learned = Some((was / 2).max(1));
                Some(Self { learned, learned_at: Some(now), slowed, said: Some(said.clone()) })
            }
            DomainEvent::Took => {
                let learned = self.learned.filter(|_| since >= Some(STEP))?;
                let more = learned.saturating_add((whole / STEPS).max(1));
                let learned = Some(more).filter(|more| *more < whole);
                Some(match learned {
                    Some(_) => Self { learned, learned_at: Some(now), ..self.clone() },
                    None => Self::default(),
                })
            }
        }
    }

    /// How fast it may be sent to: the slower of what is configured and what was learned.
    pub fn rate(&self, configured: Option<Rate>) -> Option<Rate> {
        let learned = self.learned.map(|many| Rate { interval: 60_000_000 / i64::from(many.max(1)), burst: 1 });
        match (configured, learned) {
            (Some(configured), Some(learned)) if learned.interval < configured.interval => Some(configured),
            (configured, learned) => learned.or(configured),
        }
    }
}

/// The domain of an address, in lower case. Empty when it has none.
pub fn domain_of(address: &str) -> String {
    address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_timestamp(1_700_000_000 + seconds, 0).expect("an instant")
    }

    fn slow(seen: PerMinute) -> DomainEvent {
        DomainEvent::SlowDown { said: "421 4.7.0 slow down".to_owned(), seen }
    }

    #[test]
    fn a_domain_that_asks_for_less_gets_half_and_more_again_step_by_step() {
        let half = Pace::default().after(&slow(80), None, at(0)).expect("slower");
        assert_eq!((half.learned, half.slowed), (Some(40), 1));
        assert_eq!(half.after(&slow(80), None, at(9)), None, "the same answer to what was under way");
        let less = half.after(&slow(80), None, at(10)).expect("slower still");
        assert_eq!((less.learned, less.slowed), (Some(20), 2));
        assert_eq!(less.after(&DomainEvent::Took, None, at(69)), None);
        let (mut pace, mut steps) = (less, Vec::new());
        for minute in 1..40 {
            let Some(next) = pace.after(&DomainEvent::Took, None, at(10 + 60 * minute)) else { break };
            steps.extend(next.learned);
            pace = next;
        }
        assert_eq!((steps.first(), steps.last(), steps.len()), (Some(&50), Some(&590), 19));
        assert_eq!(pace, Pace::default(), "and free again");
    }

    #[test]
    fn it_never_stops_and_never_passes_what_is_configured() {
        let mut pace = Pace::default();
        for step in 0..20 {
            pace = pace.after(&slow(1), Some(30), at(step * 10)).expect("slower");
        }
        assert_eq!(pace.learned, Some(1));
        let configured = Rate { interval: 2_000_000, burst: 5 };
        assert_eq!(pace.rate(Some(configured)), Some(Rate { interval: 60_000_000, burst: 1 }));
        let faster = Pace { learned: Some(40), ..Pace::default() };
        assert_eq!(faster.rate(Some(configured)), Some(configured), "the configuration was made slower since");
        assert_eq!(Pace::default().rate(Some(configured)), Some(configured));
        assert_eq!(Pace::default().rate(None), None);
    }

    #[test]
    fn the_domain_of_an_address_is_behind_its_last_at() {
        assert_eq!(domain_of("\"a@b\"@Example.ORG"), "example.org");
        assert_eq!(domain_of("nobody"), "");
    }
}
