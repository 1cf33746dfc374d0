//! How long a job waits before its next attempt.
//!
//! The exponential policy has the curve of [`backoff`](crate::backoff), with full jitter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff::{Backoff, Jitter};
use crate::duration::Span;

/// How the waits between attempts are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum RetryPolicy {
    /// Doubling from `base` up to `cap`, with full jitter.
    Exponential {
        /// The upper bound of the first wait.
        base: Span,
        /// The longest wait.
        cap: Span,
    },
    /// Always the same.
    Fixed(Span),
    /// The n-th wait is the n-th entry; the last one repeats. An empty list means no wait at all.
    List(Vec<Span>),
}

impl Default for RetryPolicy {
    /// Doubling from 1 second to 10 minutes.
    fn default() -> Self {
        Self::Exponential { base: Span(Duration::from_secs(1)), cap: Span(Duration::from_secs(600)) }
    }
}

impl RetryPolicy {
    /// Returns the wait after the failure of the given attempt (counted from 1).
    ///
    /// `random` is a uniform draw from 0 to 1 and only matters to the exponential policy.
    pub fn wait(&self, attempt: u32, random: f64) -> Duration {
        match self {
            Self::Exponential { base, cap } => Backoff::new(base.0, cap.0).jitter(Jitter::Full).wait(attempt, random),
            Self::Fixed(span) => span.0,
            Self::List(waits) => {
                let index = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
                waits.get(index).or(waits.last()).map_or(Duration::ZERO, |span| span.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(policy: &RetryPolicy, random: f64) -> Vec<u64> {
        (1..=6).map(|attempt| policy.wait(attempt, random).as_secs()).collect()
    }

    #[test]
    fn the_exponential_bound_doubles_up_to_the_cap() {
        let policy =
            RetryPolicy::Exponential { base: Span(Duration::from_secs(2)), cap: Span(Duration::from_secs(20)) };
        assert_eq!(seconds(&policy, 1.0), [2, 4, 8, 16, 20, 20]);
    }

    #[test]
    fn full_jitter_reaches_from_nothing_to_the_bound() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.wait(3, 0.0), Duration::ZERO);
        assert_eq!(policy.wait(3, 0.5), Duration::from_secs(2));
        assert_eq!(policy.wait(3, 1.0), Duration::from_secs(4));
    }

    #[test]
    fn a_thousandth_attempt_still_waits_no_longer_than_the_cap() {
        assert_eq!(RetryPolicy::default().wait(1000, 1.0), Duration::from_secs(600));
    }

    #[test]
    fn a_list_repeats_its_last_entry() {
        let policy = RetryPolicy::List(vec![Span(Duration::from_secs(1)), Span(Duration::from_secs(7))]);
        assert_eq!(seconds(&policy, 1.0), [1, 7, 7, 7, 7, 7]);
    }
}
