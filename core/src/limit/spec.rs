//! Limits and queues as `config.toml`, the command line and the store spell them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Key;
use crate::duration::Span;

/// The most jobs that a limit may name as its concurrency, rate or burst.
pub const LIMIT_MAX: u32 = 1_000_000;

/// The longest period of a rate.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A limit: which jobs it covers (queues, kinds, or those kinds on those queues), and how many it allows (at once, in a
/// period, or both).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    /// Jobs on these queues, all of them together; empty is any queue.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub queues: BTreeSet<String>,
    /// Jobs of these kinds, all of them together; empty is any kind.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<String>,
    /// Whether it applies to each key separately, instead of to all together.
    #[serde(default)]
    pub per_key: bool,
    /// How many may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many may begin in each period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// The period of `rate`; a second by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Span>,
    /// How many may begin at one moment after a quiet time, 1 by default: the rest of a rate is spread evenly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// The settings of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// Whether its keys take turns: among the keys that wait in a priority, each gets one job before any gets its
    /// second.
    pub fair: bool,
    /// A job that has waited this long moves up one priority. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_after: Option<Span>,
}

/// What is wrong with a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {message}")]
pub struct WrongLimit {
    /// Which setting; empty means the limit as a whole.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl LimitSpec {
    /// Checks whether the limit makes sense.
    ///
    /// # Errors
    ///
    /// What is wrong, where, and what would be right.
    pub fn check(&self) -> Result<(), WrongLimit> {
        let wrong = |key, message: &str| Err(WrongLimit { key, message: message.to_owned() });
        if self.queues.is_empty() && self.kinds.is_empty() {
            return wrong("", "limits nothing; name `queues`, `kinds`, or both");
        }
        if self.concurrency.is_none() && self.rate.is_none() {
            return wrong("", "allows everything; give `concurrency`, `rate`, or both");
        }
        for (key, value) in [("concurrency", self.concurrency), ("rate", self.rate), ("burst", self.burst)] {
            if value.is_some_and(|value| !(1..=LIMIT_MAX).contains(&value)) {
                let message = format!("must be 1 to {LIMIT_MAX}; to stop a queue, pause it");
                return Err(WrongLimit { key, message });
            }
        }
        for (key, said) in [("per", self.per.is_some()), ("burst", self.burst.is_some())] {
            if said && self.rate.is_none() {
                return wrong(key, "belongs to a `rate`, and there is none");
            }
        }
        match self.per {
            Some(per) if per.0 < Duration::from_millis(1) || per.0 > PERIOD_MAX => {
                wrong("per", "must be 1ms to 366d, such as `1s` or `1m`")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether it applies to jobs of this kind on this queue.
    pub fn covers(&self, queue: &str, kind: &str) -> bool {
        (self.queues.is_empty() || self.queues.contains(queue)) && (self.kinds.is_empty() || self.kinds.contains(kind))
    }

    /// Whose count and rate a job falls under: that of its key, or the one shared by all.
    pub fn share(&self, key: &Key) -> Key {
        if self.per_key { key.clone() } else { Key::default() }
    }

    /// Returns the microseconds from one start to the next at the full rate, rounded up so that it is never exceeded.
    /// `None` without a rate.
    pub fn interval_micros(&self) -> Option<i64> {
        let rate = i64::from(self.rate?).max(1);
        let period = self.per.map_or(Duration::from_secs(1), |per| per.0);
        let period = i64::try_from(period.as_micros()).unwrap_or(i64::MAX / 2);
        Some(((period + rate - 1) / rate).max(1))
    }

    /// How many may begin at one moment.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(1).max(1)
    }

    /// Describes it for people: `5 at once, 100 per 1m (burst 10), each key`.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(concurrency) = self.concurrency {
            parts.push(format!("{concurrency} at once"));
        }
        if let Some(rate) = self.rate {
            let per = self.per.unwrap_or(Span(Duration::from_secs(1)));
            parts.push(format!("{rate} per {} (burst {})", crate::duration::format(per.0), self.burst()));
        }
        if self.per_key {
            parts.push("each key".to_owned());
        }
        parts.join(", ")
    }
}

impl QueueSpec {
    /// Whether it sets nothing at all.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_where_it_stands() {
        let refused = |text: &str| {
            let spec: LimitSpec = serde_json::from_str(text).expect("a spec");
            spec.check().expect_err("refused").key
        };
        assert_eq!(refused(r#"{"concurrency": 1}"#), "");
        assert_eq!(refused(r#"{"queues": ["a"]}"#), "");
        assert_eq!(refused(r#"{"queues": ["a"], "concurrency": 0}"#), "concurrency");
        assert_eq!(refused(r#"{"queues": ["a"], "concurrency": 1, "per": "1s"}"#), "per");
        assert_eq!(refused(r#"{"queues": ["a"], "concurrency": 1, "burst": 2}"#), "burst");
        assert_eq!(refused(r#"{"queues": ["a"], "rate": 1, "per": "0s"}"#), "per");
    }

    #[test]
    fn the_interval_is_rounded_so_that_the_rate_is_never_exceeded() {
        for (rate, per, micros) in [(7, 1_000, 142_858), (1, 60_000, 60_000_000), (1_000_000, 1, 1), (3, 1, 334)] {
            let per = Some(Span(Duration::from_millis(per)));
            let spec = LimitSpec { rate: Some(rate), per, ..LimitSpec::default() };
            assert_eq!(spec.interval_micros(), Some(micros), "{rate} in {per:?}");
        }
    }
}
