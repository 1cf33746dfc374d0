//! The generic cell rate algorithm: the only state of a rate is one instant.
//!
//! The instant is the *theoretical arrival time*: up to it the rate is used up. Each start moves it on by one interval;
//! a start is allowed as long as the instant is not more than `burst` intervals ahead. Hence in any period `w` at most
//! `burst + w / interval` jobs start, whatever happened before, and an unused rate is not saved up beyond the burst.

use chrono::TimeDelta;

use crate::Instant;

/// A rate: the microseconds from one start to the next, and how many may start at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds, above zero.
    pub interval: i64,
    /// At least 1.
    pub burst: u32,
}

impl Rate {
    /// Returns how many may begin now, when the rate is used up to `used_to`.
    pub fn free(self, used_to: Option<Instant>, now: Instant) -> u64 {
        let ahead = used_to.map_or(0, |used_to| micros(used_to - now).max(0));
        let room = self.interval.saturating_mul(i64::from(self.burst)).saturating_sub(ahead);
        u64::try_from(room / self.interval).unwrap_or(0)
    }

    /// Returns the instant up to which it is used after this many have begun now.
    pub fn spend(self, used_to: Option<Instant>, now: Instant, begun: u64) -> Instant {
        let from = used_to.map_or(now, |used_to| used_to.max(now));
        let by = self.interval.saturating_mul(i64::try_from(begun).unwrap_or(i64::MAX));
        from.checked_add_signed(TimeDelta::microseconds(by)).unwrap_or(Instant::MAX_UTC)
    }

    /// Returns when the next one may begin; `now` when that is at once.
    pub fn next(self, used_to: Option<Instant>, now: Instant) -> Instant {
        let Some(used_to) = used_to else { return now };
        let ahead = TimeDelta::microseconds(self.interval.saturating_mul(i64::from(self.burst) - 1));
        used_to.checked_sub_signed(ahead).map_or(now, |next| next.max(now))
    }
}

fn micros(span: TimeDelta) -> i64 {
    span.num_microseconds().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_timestamp_micros(1_700_000_000_000_000 + micros).expect("an instant")
    }

    #[test]
    fn a_quiet_rate_lets_its_burst_begin_and_then_one_an_interval() {
        let rate = Rate { interval: 100, burst: 3 };
        assert_eq!(rate.free(None, at(0)), 3);
        let used = rate.spend(None, at(0), 3);
        assert_eq!((rate.free(Some(used), at(0)), rate.next(Some(used), at(0))), (0, at(100)));
        assert_eq!((rate.free(Some(used), at(99)), rate.free(Some(used), at(100))), (0, 1));
        assert_eq!(rate.free(Some(used), at(100_000)), 3, "no more than the burst is saved up");
    }

    #[test]
    fn in_no_window_do_more_begin_than_the_bound_says() {
        // A linear congruential generator is random enough; the seed is fixed, and every failure names its step.
        let mut seed = 42_u64;
        for (interval, burst) in [(1, 1), (7, 1), (10, 3), (333, 20)] {
            let rate = Rate { interval, burst };
            let (mut used, mut begun, mut now) = (None, Vec::new(), 0_i64);
            for step in 0..2_000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                now += i64::try_from(seed >> 33).unwrap_or(0) % (interval * 2);
                let take = rate.free(used, at(now)).min(seed % 4);
                used = Some(rate.spend(used, at(now), take));
                begun.extend((0..take).map(|_| now));
                let last = begun.len().saturating_sub(60);
                for (index, from) in begun.iter().enumerate().skip(last) {
                    let found = i64::try_from(begun.len() - index).unwrap_or(i64::MAX);
                    let bound = i64::from(burst) + (now - from) / interval;
                    assert!(found <= bound, "step {step}: {found} in {} of {rate:?}", now - from);
                }
            }
        }
    }
}
