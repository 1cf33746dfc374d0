//! The waits that grow: how long until a failed operation is tried again.
//!
//! Every wait of this kind in Gristmill is one of the policies below, or one that a job's
//! [`RetryPolicy`](crate::retry::RetryPolicy) spells out. The curve comes from the crate `backoff`, which only this
//! file uses, and only for its arithmetic: its own clock and randomness are switched off, because the random number is
//! an argument here.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Connecting to the broker, and consuming from one of its queues. At most 3 seconds, so that a broker that comes back
/// carries what waited for it within 5 seconds, the relay included: a refused connection is cheap. Full jitter keeps a
/// thousand workers from coming back at the same moment.
pub const BROKER: Backoff = Backoff::millis(250, 3_000).jitter(Jitter::Full).at_least(Duration::from_millis(50));

/// Listening for PostgreSQL's notifications. Polling replaces them meanwhile, so this may take its time.
pub const HINTS: Backoff = Backoff::millis(200, 30_000).jitter(Jitter::Half);

/// Opening SQLite's file while another process opens it for the first time.
pub const OPENING: Backoff = Backoff::millis(10, 80).jitter(Jitter::Half);

/// Recording what has been done, such as completions and the chunks of a plan, while the store is away. It starts
/// short, because transactions do not collide for long.
pub const WRITING: Backoff = Backoff::millis(50, 5_000);

/// Asking for work while the store is away.
pub const CLAIMING: Backoff = Backoff::millis(100, 5_000);

/// Taking messages that the broker returned, while the store is away.
pub const RETURNED: Backoff = Backoff::millis(500, 5_000);

/// Recording that an email was sent. Few tries, far apart: the attempt is waiting for them.
pub const EMAIL_SENT: Backoff = Backoff::millis(100, 1_000).factor(10);

/// Asking for a mail server again that no message could be handed to. The wait grows with how often a message has come
/// for nothing.
pub const MAIL_UNREACHED: Backoff = Backoff::millis(15_000, 900_000);

/// Asking for a mail relay or a domain again that has no place for a message just now.
pub const MAIL_TURN: Backoff = Backoff::millis(1_000, 60_000);

/// How waits grow: from `base`, by `factor` with each failure, up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    factor: u32,
    jitter: Jitter,
    at_least: Duration,
}

/// Which part of a wait is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// None of it.
    None,
    /// The second half.
    Half,
    /// All of it, which spreads a herd best (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
    /// 2015).
    Full,
}

impl Backoff {
    /// Waits that double from `base` up to `cap`, without jitter.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, factor: 2, jitter: Jitter::None, at_least: Duration::ZERO }
    }

    const fn millis(base: u64, cap: u64) -> Self {
        Self::new(Duration::from_millis(base), Duration::from_millis(cap))
    }

    /// The same with another factor; 1 makes all waits equal.
    pub const fn factor(self, factor: u32) -> Self {
        Self { factor, ..self }
    }

    /// The same with jitter.
    pub const fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// The same, but no wait is shorter than this, whatever the jitter.
    pub const fn at_least(self, at_least: Duration) -> Self {
        Self { at_least, ..self }
    }

    /// Returns the wait after this many failures in a row (counted from 1).
    ///
    /// `random` is a uniform draw from 0 to 1. It has no effect without jitter.
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let bound = self.bound(failures);
        let random = random.clamp(0.0, 1.0);
        let wait = match self.jitter {
            Jitter::None => bound,
            Jitter::Half => bound.mul_f64(0.5 + random / 2.0),
            Jitter::Full => bound.mul_f64(random),
        };
        wait.max(self.at_least)
    }

    /// `base × factor^(failures − 1)`, at most `cap`.
    fn bound(&self, failures: u32) -> Duration {
        let base = self.base.min(self.cap);
        let mut curve = ExponentialBackoff {
            current_interval: base,
            initial_interval: base,
            randomization_factor: 0.0,
            multiplier: f64::from(self.factor),
            max_interval: self.cap,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // After 64 doublings any base exceeds any cap, so the loop is bounded.
        let mut wait = base;
        for _ in 0..failures.clamp(1, 64) {
            wait = curve.next_backoff().unwrap_or(self.cap);
        }
        wait.min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(policy: Backoff, random: f64) -> Vec<u128> {
        (1..=6).map(|failures| policy.wait(failures, random).as_millis()).collect()
    }

    #[test]
    fn waits_grow_by_the_factor_up_to_the_cap() {
        assert_eq!(millis(Backoff::millis(100, 1_500), 0.3), [100, 200, 400, 800, 1_500, 1_500]);
        assert_eq!(millis(Backoff::millis(100, 1_500).factor(10), 0.3), [100, 1_000, 1_500, 1_500, 1_500, 1_500]);
        assert_eq!(millis(Backoff::millis(100, 1_500).factor(1), 0.3), [100; 6]);
        assert_eq!(millis(Backoff::millis(9_000, 1_500), 0.3), [1_500; 6], "a base beyond the cap is the cap");
        assert_eq!(WRITING.wait(u32::MAX, 0.0), Duration::from_secs(5));
    }

    #[test]
    fn jitter_takes_nothing_the_second_half_or_all_of_a_wait() {
        let policy = Backoff::millis(1_000, 8_000);
        for (jitter, least, most) in
            [(Jitter::None, 4_000, 4_000), (Jitter::Half, 2_000, 4_000), (Jitter::Full, 0, 4_000)]
        {
            let policy = policy.jitter(jitter);
            assert_eq!(policy.wait(3, 0.0).as_millis(), least, "{jitter:?}");
            assert_eq!(policy.wait(3, 1.0).as_millis(), most, "{jitter:?}");
            assert_eq!(policy.wait(3, 7.0).as_millis(), most, "{jitter:?}: a draw beyond 1 is 1");
        }
    }

    #[test]
    fn a_broker_that_comes_back_is_found_within_three_seconds_and_never_tried_without_a_pause() {
        for failures in [1, 2, 5, 1_000] {
            assert_eq!(BROKER.wait(failures, 0.0), Duration::from_millis(50));
            assert!(BROKER.wait(failures, 1.0) <= Duration::from_secs(3));
        }
        assert_eq!(BROKER.wait(1_000, 1.0), Duration::from_secs(3));
    }

    #[test]
    fn the_record_of_an_email_is_tried_again_after_a_tenth_of_a_second_and_after_a_second() {
        assert_eq!(millis(EMAIL_SENT, 0.5)[..2], [100, 1_000]);
    }
}
