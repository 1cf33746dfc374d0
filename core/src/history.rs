//! What has passed through queues: how much in each minute and hour, and how long it waited and ran.
//!
//! Times are kept as histograms whose buckets have the same bounds everywhere, so that those of any minutes, queues and
//! kinds can be added. A percentile is read from a bucket by straight interpolation: it is off by the width of its
//! bucket at most, which is two thirds of its lower bound.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DurationRound, TimeDelta};
use serde::{Deserialize, Serialize};

use crate::Instant;
use crate::settle::Verdict;

/// The bounds between the buckets in milliseconds, rising. Bucket `n` holds times from bound `n - 1` on and below bound
/// `n`; the last one holds what took a day or longer.
pub const BOUNDS_MS: [u64; 47] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000,
    10_000, 15_000, 20_000, 30_000, 45_000, 60_000, 90_000, 120_000, 180_000, 300_000, 420_000, 600_000, 900_000,
    1_200_000, 1_800_000, 2_700_000, 3_600_000, 5_400_000, 7_200_000, 10_800_000, 18_000_000, 28_800_000, 43_200_000,
    86_400_000,
];

crate::words! {
    /// What happened to a job that is counted.
    #[derive(PartialOrd, Ord)]
    pub enum Passed {
        /// It was enqueued.
        Enqueued = "enqueued",
        /// An attempt ended well: it is done.
        Done = "done",
        /// An attempt failed, and another one follows.
        Failed = "failed",
        /// An attempt failed that was its last: it is dead.
        Dead = "dead",
    }
}

impl Passed {
    /// What an attempt counts as. `None` for one that neither succeeded nor failed: it was given back or taken away.
    pub fn of(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Done => Some(Self::Done),
            Verdict::Retry { .. } => Some(Self::Failed),
            Verdict::Dead => Some(Self::Dead),
            Verdict::Requeue | Verdict::Release | Verdict::Snooze { .. } | Verdict::Revoked => None,
        }
    }
}

crate::words! {
    /// The length of time that one point of history stands for.
    #[derive(PartialOrd, Ord)]
    pub enum HistoryStep {
        /// A minute.
        Minute = "minute",
        /// An hour.
        Hour = "hour",
    }
}

impl HistoryStep {
    /// How long it is.
    pub fn length(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::Hour => TimeDelta::hours(1),
        }
    }

    /// The beginning of the step in which an instant lies.
    pub fn begin(self, at: Instant) -> Instant {
        floor(at, self.length())
    }
}

/// The last multiple of a length, counted from 1970, that is not after an instant.
pub fn floor(at: Instant, length: TimeDelta) -> Instant {
    // Only an instant hundreds of years away has none.
    at.duration_trunc(length).unwrap_or(at)
}

/// The bucket of a time.
pub fn bucket(time: Duration) -> i16 {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    i16::try_from(BOUNDS_MS.partition_point(|bound| *bound <= millis)).unwrap_or(i16::MAX)
}

/// The times of a bucket: from the first on and below the second. `None` when it has no upper bound, or is none.
pub fn bounds(bucket: i16) -> (Duration, Option<Duration>) {
    let at = |index: usize| BOUNDS_MS.get(index).map(|millis| Duration::from_millis(*millis));
    let bucket = usize::try_from(bucket).unwrap_or(0);
    let lower =
        bucket.checked_sub(1).map_or(Duration::ZERO, |below| at(below.min(BOUNDS_MS.len() - 1)).unwrap_or_default());
    (lower, at(bucket))
}

/// How many times lie in which bucket; buckets without any are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram(BTreeMap<i16, u64>);

impl Histogram {
    /// Adds so many times to a bucket.
    pub fn record(&mut self, bucket: i16, times: u64) {
        if times > 0 {
            let count = self.0.entry(bucket).or_default();
            *count = count.saturating_add(times);
        }
    }

    /// Adds all of another one.
    pub fn add(&mut self, other: &Self) {
        for (bucket, times) in &other.0 {
            self.record(*bucket, *times);
        }
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, times| sum.saturating_add(*times))
    }

    /// The buckets that have any, in the order of their times.
    pub fn buckets(&self) -> impl Iterator<Item = (i16, u64)> + '_ {
        self.0.iter().map(|(bucket, times)| (*bucket, *times))
    }

    /// The time that this share of all does not exceed, such as 0.95. `None` when there are none. Of what took a day or
    /// longer nothing more is known: it is a day.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0.0;
        let mut last = None;
        for (bucket, times) in self.buckets() {
            let (lower, upper) = bounds(bucket);
            let times = times as f64;
            let within = ((rank - below) / times).clamp(0.0, 1.0);
            let width = upper.map_or(Duration::ZERO, |upper| upper - lower);
            last = Some(lower + width.mul_f64(within));
            if below + times >= rank {
                break;
            }
            below += times;
        }
        last
    }
}

/// How much passed in a time, and how long it waited and ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Jobs that were enqueued.
    pub enqueued: u64,
    /// Jobs that are done.
    pub done: u64,
    /// Attempts that failed, whether or not another one followed.
    pub failed: u64,
    /// Jobs that died.
    pub dead: u64,
    /// How long attempts waited, from when their job was claimable until it was claimed.
    pub waits: Histogram,
    /// How long attempts ran, from the claim until their end was recorded.
    pub runs: Histogram,
}

impl Throughput {
    /// Counts so many jobs to which the same happened.
    pub fn count(&mut self, what: Passed, jobs: u64, wait: Option<i16>, run: Option<i16>) {
        let counters: &mut [&mut u64] = match what {
            Passed::Enqueued => &mut [&mut self.enqueued],
            Passed::Done => &mut [&mut self.done],
            Passed::Failed => &mut [&mut self.failed],
            Passed::Dead => &mut [&mut self.failed, &mut self.dead],
        };
        for counter in counters {
            **counter = counter.saturating_add(jobs);
        }
        if let Some(bucket) = wait {
            self.waits.record(bucket, jobs);
        }
        if let Some(bucket) = run {
            self.runs.record(bucket, jobs);
        }
    }

    /// Adds all of another one.
    pub fn add(&mut self, other: &Self) {
        self.enqueued = self.enqueued.saturating_add(other.enqueued);
        self.done = self.done.saturating_add(other.done);
        self.failed = self.failed.saturating_add(other.failed);
        self.dead = self.dead.saturating_add(other.dead);
        self.waits.add(&other.waits);
        self.runs.add(&other.runs);
    }

    /// Whether nothing passed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Puts points into bars of a length that touch each other, from the bar of `from` to the one before `until`; those in
/// which nothing passed are there, and empty.
pub fn bars<'a>(
    points: impl IntoIterator<Item = (Instant, &'a Throughput)>,
    from: Instant,
    until: Instant,
    length: TimeDelta,
) -> Vec<(Instant, Throughput)> {
    let mut bars: BTreeMap<Instant, Throughput> = BTreeMap::new();
    let mut at = floor(from, length);
    while at < until {
        bars.insert(at, Throughput::default());
        at += length;
    }
    for (at, passed) in points {
        if let Some(bar) = bars.get_mut(&floor(at, length)) {
            bar.add(passed);
        }
    }
    bars.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    #[test]
    fn every_time_has_one_bucket_whose_bounds_it_lies_between() {
        assert!(BOUNDS_MS.is_sorted_by(|one, other| one < other), "they rise");
        assert!(BOUNDS_MS.windows(2).skip(1).all(|two| two[1] as f64 / two[0] as f64 <= 2.0), "none is wide");
        for millis in [0, 1, 2, 4, 999, 1_000, 59_999, 60_000, 86_399_999, 86_400_000, u64::MAX] {
            let (lower, upper) = bounds(bucket(ms(millis)));
            assert!(lower <= ms(millis) && upper.is_none_or(|upper| ms(millis) < upper), "{millis} ms");
        }
        assert_eq!(bounds(bucket(ms(86_400_000))), (ms(86_400_000), None));
    }

    #[test]
    fn a_percentile_is_off_by_the_width_of_its_bucket_at_most() {
        let mut histogram = Histogram::default();
        for millis in 1..=10_000 {
            histogram.record(bucket(ms(millis)), 1);
        }
        for (share, exact) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.99, 9_900.0)] {
            let found = histogram.quantile(share).expect("there are some").as_secs_f64() * 1_000.0;
            assert!((found - exact).abs() / exact < 0.02, "{share}: {found} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        let mut day = Histogram::default();
        day.record(bucket(ms(u64::MAX)), 3);
        assert_eq!(day.quantile(0.5), Some(ms(86_400_000)));
    }

    #[test]
    fn histograms_of_several_minutes_add_up() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(3, 2);
        other.record(3, 1);
        other.record(9, 4);
        one.add(&other);
        assert_eq!(one.buckets().collect::<Vec<_>>(), [(3, 3), (9, 4)]);
        assert_eq!(one.count(), 7);
        let text = serde_json::to_string(&one).expect("JSON");
        assert_eq!(text, r#"{"3":3,"9":4}"#);
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("read again"), one);
    }

    #[test]
    fn a_job_that_dies_counts_as_a_failed_attempt_too() {
        let mut passed = Throughput::default();
        passed.count(Passed::Enqueued, 5, None, None);
        passed.count(Passed::Done, 3, Some(1), Some(2));
        passed.count(Passed::Failed, 2, Some(1), Some(2));
        passed.count(Passed::Dead, 1, None, Some(4));
        assert_eq!((passed.enqueued, passed.done, passed.failed, passed.dead), (5, 3, 3, 1));
        assert_eq!((passed.waits.count(), passed.runs.count()), (5, 6));
    }

    #[test]
    fn bars_touch_each_other_and_leave_out_what_lies_outside() {
        let minute = |text: &str| (at(text), Throughput { done: 1, ..Throughput::default() });
        let points = [
            minute("2026-01-02T03:04:00Z"),
            minute("2026-01-02T03:05:00Z"),
            minute("2026-01-02T03:09:00Z"),
            minute("2026-01-02T03:20:00Z"),
        ];
        let points = points.iter().map(|(at, passed)| (*at, passed));
        let found = bars(points, at("2026-01-02T03:05:30Z"), at("2026-01-02T03:15:01Z"), TimeDelta::minutes(5));
        let found: Vec<_> = found.iter().map(|(at, bar)| (at.format("%H:%M").to_string(), bar.done)).collect();
        assert_eq!(found, [("03:05".to_owned(), 2), ("03:10".to_owned(), 0), ("03:15".to_owned(), 0)]);
    }

    #[test]
    fn what_was_given_back_or_taken_away_is_not_counted() {
        let wait = Duration::from_secs(1);
        assert_eq!(Passed::of(Verdict::Done), Some(Passed::Done));
        assert_eq!(Passed::of(Verdict::Retry { after: wait }), Some(Passed::Failed));
        assert_eq!(Passed::of(Verdict::Dead), Some(Passed::Dead));
        for verdict in [Verdict::Requeue, Verdict::Release, Verdict::Snooze { after: wait }, Verdict::Revoked] {
            assert_eq!(Passed::of(verdict), None);
        }
    }
}
