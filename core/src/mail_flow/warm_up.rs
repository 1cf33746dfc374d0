//! How much one relay may take: a rate, and for a new one a number of messages a day that doubles.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

use crate::Instant;
use crate::limit::gcra::Rate;

/// A new sender is not known to its receivers: its first days have few messages, and each day twice as many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmUp {
    /// The first day, UTC.
    pub from: NaiveDate,
    /// How many messages it may take on that day, and before.
    pub first: u32,
    /// The most on any day; from the day on that would have more there is no limit.
    pub last: u32,
}

impl WarmUp {
    /// How many messages on a day. `None`: any number.
    pub fn allowance(&self, day: NaiveDate) -> Option<u32> {
        let days = u32::try_from((day - self.from).num_days().max(0)).unwrap_or(u32::MAX);
        let many = u64::from(self.first) << days.min(32);
        u32::try_from(many).ok().filter(|many| *many <= self.last)
    }
}

/// What a relay may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayTerms {
    /// How fast.
    pub rate: Option<Rate>,
    /// How many on a day.
    pub warm_up: Option<WarmUp>,
}

impl RelayTerms {
    /// Whether anything has to be counted.
    pub fn are_any(&self) -> bool {
        self.rate.is_some() || self.warm_up.is_some()
    }
}

/// What a relay has taken of that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// The instant up to which its rate is used up.
    pub used_to: Option<Instant>,
    /// The day, UTC, that is counted.
    pub day: Option<NaiveDate>,
    /// The messages of that day.
    pub messages: u32,
}

impl Spent {
    /// What is spent when it takes one message more.
    ///
    /// # Errors
    ///
    /// How long it must wait for that.
    pub fn one_more(&self, terms: &RelayTerms, now: Instant) -> Result<Self, Duration> {
        let today = now.date_naive();
        let messages = if self.day == Some(today) { self.messages } else { 0 };
        if terms.warm_up.and_then(|warm_up| warm_up.allowance(today)).is_some_and(|most| messages >= most) {
            let tomorrow = today.succ_opt().unwrap_or(today).and_time(NaiveTime::MIN).and_utc();
            return Err((tomorrow - now).to_std().unwrap_or_default());
        }
        if let Some(rate) = terms.rate.filter(|rate| rate.free(self.used_to, now) == 0) {
            return Err((rate.next(self.used_to, now) - now).to_std().unwrap_or_default());
        }
        let used_to = terms.rate.map_or(self.used_to, |rate| Some(rate.spend(self.used_to, now, 1)));
        Ok(Self { used_to, day: Some(today), messages: messages.saturating_add(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, day).expect("a day")
    }

    #[test]
    fn each_day_has_twice_as_many_until_there_is_no_limit() {
        let warm_up = WarmUp { from: day(10), first: 50, last: 200 };
        let days = [9, 10, 11, 12, 13].map(|number| warm_up.allowance(day(number)));
        assert_eq!(days, [Some(50), Some(50), Some(100), Some(200), None]);
        assert_eq!(WarmUp { last: u32::MAX, ..warm_up }.allowance(NaiveDate::MAX), None);
    }

    #[test]
    fn a_day_that_is_full_waits_for_the_next_and_a_rate_for_its_turn() {
        let noon = day(10).and_hms_opt(12, 0, 0).expect("noon").and_utc();
        let warm_up = Some(WarmUp { from: day(10), first: 2, last: 9 });
        let terms = RelayTerms { rate: Some(Rate { interval: 1_000_000, burst: 1 }), warm_up };
        let one = Spent::default().one_more(&terms, noon).expect("the first");
        assert_eq!(one.one_more(&terms, noon), Err(Duration::from_secs(1)));
        let second = noon + Duration::from_secs(1);
        let two = one.one_more(&terms, second).expect("the second");
        assert_eq!(two.one_more(&terms, noon + Duration::from_secs(9)), Err(Duration::from_secs(12 * 3_600 - 9)));
        let next = two.one_more(&terms, noon + Duration::from_secs(12 * 3_600)).expect("another day");
        assert_eq!((next.day, next.messages), (Some(day(11)), 1));
    }
}
