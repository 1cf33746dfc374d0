//! How much passed through queues, and how long it waited and ran.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::history::{Histogram, HistoryStep, Throughput, bounds};
use gristmill_store::HistoryPoint;
use serde::{Deserialize, Serialize};

gristmill_core::words! {
    /// What has a series of its own.
    #[derive(Default)]
    pub enum HistoryBy {
        /// Nothing: there is one series of everything that was asked for.
        #[default]
        Total = "total",
        /// Each queue.
        Queue = "queue",
        /// Each kind.
        Kind = "kind",
    }
}

/// How much passed in a range of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HistoryDocument {
    /// How long each point is.
    pub step: HistoryStep,
    /// When the first point may begin.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub from: Instant,
    /// Before when the last point begins.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub until: Instant,
    /// What has a series of its own.
    pub by: HistoryBy,
    /// Whether there was more than is read at once: then the oldest is missing.
    pub truncated: bool,
    /// The series, by their names; one in which nothing passed is left out.
    pub series: Vec<HistorySeriesDocument>,
}

/// How much passed through a queue, of a kind, or in all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HistorySeriesDocument {
    /// The queue or the kind; `null` when the series is of everything.
    pub name: Option<String>,
    /// How much it was in the whole range.
    pub total: PassedDocument,
    /// The points in which anything passed, oldest first.
    pub points: Vec<HistoryPointDocument>,
}

/// How much passed in a minute or an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HistoryPointDocument {
    /// When it begins.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub at: Instant,
    /// How much it was.
    pub passed: PassedDocument,
}

/// How much passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PassedDocument {
    /// Jobs that were enqueued.
    pub enqueued: u64,
    /// Jobs that are done.
    pub done: u64,
    /// Attempts that failed, those of jobs that died among them.
    pub failed: u64,
    /// Jobs that died.
    pub dead: u64,
    /// How long attempts waited, from when their job was claimable until it was claimed.
    pub wait: TimesDocument,
    /// How long attempts ran, from the claim until their end was recorded.
    pub run: TimesDocument,
}

/// Times as a histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TimesDocument {
    /// How many there are.
    pub count: u64,
    /// Half of them took no longer, in milliseconds; `null` when there are none, as the next two.
    pub p50_ms: Option<u64>,
    /// 95 of 100 took no longer.
    pub p95_ms: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_ms: Option<u64>,
    /// How many lie between which bounds, those with none left out.
    pub buckets: Vec<TimesBucketDocument>,
}

/// How many times lie between two bounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TimesBucketDocument {
    /// At least this long, in milliseconds.
    pub from_ms: u64,
    /// Less than this; `null` when there is no bound.
    pub below_ms: Option<u64>,
    /// How many.
    pub count: u64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Histogram> for TimesDocument {
    fn from(times: &Histogram) -> Self {
        let share = |share| times.quantile(share).map(millis);
        let bucket = |(bucket, count)| {
            let (from, below) = bounds(bucket);
            TimesBucketDocument { from_ms: millis(from), below_ms: below.map(millis), count }
        };
        Self {
            count: times.count(),
            p50_ms: share(0.5),
            p95_ms: share(0.95),
            p99_ms: share(0.99),
            buckets: times.buckets().map(bucket).collect(),
        }
    }
}

impl From<&Throughput> for PassedDocument {
    fn from(passed: &Throughput) -> Self {
        let Throughput { enqueued, done, failed, dead, waits, runs } = passed;
        let (enqueued, done, failed, dead) = (*enqueued, *done, *failed, *dead);
        Self { enqueued, done, failed, dead, wait: waits.into(), run: runs.into() }
    }
}

/// The series of points: each has its name, how much it was in all, and its points by time.
pub(crate) fn series(points: &[HistoryPoint], by: HistoryBy) -> Vec<HistorySeriesDocument> {
    let mut all: BTreeMap<Option<&str>, BTreeMap<Instant, Throughput>> = BTreeMap::new();
    for point in points {
        let name = match by {
            HistoryBy::Total => None,
            HistoryBy::Queue => Some(point.queue.as_str()),
            HistoryBy::Kind => Some(point.kind.as_str()),
        };
        all.entry(name).or_default().entry(point.at).or_default().add(&point.passed);
    }
    let document = |(name, points): (Option<&str>, BTreeMap<Instant, Throughput>)| {
        let mut total = Throughput::default();
        points.values().for_each(|passed| total.add(passed));
        let point = |(at, passed): (&Instant, &Throughput)| HistoryPointDocument { at: *at, passed: passed.into() };
        let name = name.map(str::to_owned);
        HistorySeriesDocument { name, total: (&total).into(), points: points.iter().map(point).collect() }
    };
    all.into_iter().map(document).collect()
}

#[cfg(test)]
mod tests {
    use gristmill_core::history::Passed;

    use super::*;

    #[test]
    fn points_of_several_queues_add_up_to_one_series_and_each_has_its_own() {
        let at: Instant = "2026-01-02T03:04:00Z".parse().expect("an instant");
        let point = |queue: &str, kind: &str, jobs| {
            let mut passed = Throughput::default();
            passed.count(Passed::Done, jobs, Some(3), Some(10));
            HistoryPoint { at, queue: queue.to_owned(), kind: kind.to_owned(), passed }
        };
        let points = [point("mail", "email", 2), point("mail", "note", 1), point("imports", "note", 4)];
        let named = |by| {
            let series = series(&points, by).into_iter();
            series.map(|one| (one.name, one.total.done, one.points.len())).collect::<Vec<_>>()
        };
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(named(HistoryBy::Total), [(None, 7, 1)]);
        assert_eq!(named(HistoryBy::Queue), [(name("imports"), 4, 1), (name("mail"), 3, 1)]);
        assert_eq!(named(HistoryBy::Kind), [(name("email"), 2, 1), (name("note"), 5, 1)]);
        let total = &series(&points, HistoryBy::Total)[0].total;
        assert_eq!((total.run.count, total.run.buckets.len(), total.run.buckets[0].from_ms), (7, 1, 50));
    }
}
