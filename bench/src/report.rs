//! The document that a run leaves: what was measured where, round by round, and what follows from it.

use serde::{Deserialize, Serialize};

use crate::figure::{Spread, ratios};
use crate::machine::Machine;
use crate::metric::{Contestant, Metric, Setup, Target};
use crate::options::Options;

/// The version of this document. It rises when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// Everything about one run: the content of `target/bench.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When the run began: RFC 3339, UTC.
    pub began_at: String,
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for.
    pub options: Options,
    /// Every measurement.
    pub measurements: Vec<Measurement>,
    /// What follows from them.
    pub comparisons: Vec<Comparison>,
    /// What went wrong: a run with any of these is no measurement.
    pub failures: Vec<String>,
}

/// One metric of one contestant on one set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured.
    pub metric: Metric,
    /// On what.
    pub setup: Setup,
    /// Of whom.
    pub contestant: Contestant,
    /// The unit of all its numbers.
    pub unit: String,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// One number for each round; null where the round failed.
    pub rounds: Vec<Option<f64>>,
    /// Over the rounds; null when all failed.
    pub spread: Option<Spread>,
}

/// One side divided by another, round by round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was measured.
    pub metric: Metric,
    /// On what.
    pub setup: Setup,
    /// What Gristmill is compared with.
    pub with: With,
    /// Gristmill divided by it, over the rounds; for an absolute target, Gristmill's own number.
    pub ratio: Spread,
    /// What the median should reach.
    pub target: Option<f64>,
    /// Whether it does; null without a target.
    pub reached: Option<bool>,
}

/// The other side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// The raw limit.
    Raw,
    /// The peer.
    Peer,
    /// Another metric of Gristmill.
    Metric(Metric),
    /// Nothing: the target is a number in the metric's own unit.
    Target,
}

impl Report {
    /// An empty one.
    pub fn new(began_at: String, machine: Machine, options: Options) -> Self {
        let (measurements, comparisons, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { schema: SCHEMA, began_at, machine, options, measurements, comparisons, failures }
    }

    /// Adds a number that was measured in a round, counted from 0.
    pub fn add(&mut self, round: usize, metric: Metric, setup: Setup, contestant: Contestant, value: f64) {
        let known = |m: &&mut Measurement| (m.metric, m.setup, m.contestant) == (metric, setup, contestant);
        let measurement = match self.measurements.iter_mut().find(known) {
            Some(measurement) => measurement,
            None => {
                let (unit, more_is_better) = (metric.unit().to_owned(), metric.more_is_better());
                let (rounds, spread) = (Vec::new(), None);
                self.measurements.push(Measurement { metric, setup, contestant, unit, more_is_better, rounds, spread });
                self.measurements.last_mut().expect("it was just added")
            }
        };
        if measurement.rounds.len() <= round {
            measurement.rounds.resize(round + 1, None);
        }
        measurement.rounds[round] = Some(value);
        let values: Vec<f64> = measurement.rounds.iter().flatten().copied().collect();
        measurement.spread = Spread::of(&values);
    }

    /// One of the measurements.
    pub fn find(&self, metric: Metric, setup: Setup, contestant: Contestant) -> Option<&Measurement> {
        self.measurements.iter().find(|m| (m.metric, m.setup, m.contestant) == (metric, setup, contestant))
    }

    /// The comparison of a metric with another side.
    pub fn comparison(&self, metric: Metric, setup: Setup, with: With) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| (c.metric, c.setup, c.with) == (metric, setup, with))
    }

    /// Works out the comparisons, in the order of the metrics.
    pub fn compare(&mut self) {
        let pairs = Metric::ALL.into_iter().flat_map(|metric| Setup::ALL.map(|setup| (metric, setup)));
        self.comparisons = pairs.flat_map(|(metric, setup)| self.of(metric, setup)).collect();
    }

    fn of(&self, metric: Metric, setup: Setup) -> Vec<Comparison> {
        let Some(own) = self.find(metric, setup, Contestant::Gristmill) else { return Vec::new() };
        let target = metric.target(setup);
        let to = |with, other: Option<&Measurement>, least: Option<f64>| {
            let ratio = Spread::of(&ratios(&own.rounds, &other?.rounds))?;
            let reached = least.map(|least| ratio.median >= least);
            Some(Comparison { metric, setup, with, ratio, target: least, reached })
        };
        let raw_least = if let Some(Target::OfRaw(least)) = target { Some(least) } else { None };
        let raw = to(With::Raw, self.find(metric.raw(), setup, Contestant::Raw), raw_least);
        let peer = to(With::Peer, self.find(metric.raw(), setup, Contestant::Peer), None);
        let third = match target {
            Some(Target::OfMetric(other, least)) => {
                to(With::Metric(other), self.find(other, setup, Contestant::Gristmill), Some(least))
            }
            Some(Target::AtMost(most)) => own.spread.map(|ratio| {
                let reached = Some(ratio.median <= most);
                Comparison { metric, setup, with: With::Target, ratio, target: Some(most), reached }
            }),
            Some(Target::OfRaw(_)) | None => None,
        };
        [raw, peer, third].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("2026-11-29T16:00:00Z".to_owned(), Machine::default(), Options::default());
        for (round, (raw, own, peer)) in
            [(100.0, 50.0, 25.0), (80.0, 60.0, 30.0), (90.0, 63.0, 90.0)].iter().enumerate()
        {
            report.add(round, Metric::Drain, Setup::Postgres, Contestant::Raw, *raw);
            report.add(round, Metric::Drain, Setup::Postgres, Contestant::Gristmill, *own);
            report.add(round, Metric::Drain, Setup::Postgres, Contestant::Peer, *peer);
        }
        report.add(0, Metric::LatencyP50, Setup::Sqlite, Contestant::Gristmill, 1.2);
        report.add(2, Metric::LatencyP50, Setup::Sqlite, Contestant::Gristmill, 0.9);
        report.add(0, Metric::Single1, Setup::Sqlite, Contestant::Gristmill, 100.0);
        report.add(0, Metric::Single64, Setup::Sqlite, Contestant::Gristmill, 1_200.0);
        report.compare();
        report
    }

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_of_each_round() {
        let report = report();
        let raw = report.comparison(Metric::Drain, Setup::Postgres, With::Raw).expect("compared");
        assert_eq!((raw.ratio.median, raw.ratio.min, raw.ratio.max), (0.7, 0.5, 0.75));
        assert_eq!((raw.target, raw.reached), (Some(0.6), Some(true)));
        let peer = report.comparison(Metric::Drain, Setup::Postgres, With::Peer).expect("compared");
        assert_eq!((peer.ratio.median, peer.reached), (2.0, None));
        assert_eq!(report.comparison(Metric::Drain, Setup::Sqlite, With::Raw), None);
    }

    #[test]
    fn an_absolute_target_and_one_by_another_metric_are_judged_too() {
        let report = report();
        let latency = report.comparison(Metric::LatencyP50, Setup::Sqlite, With::Target).expect("judged");
        assert_eq!((latency.ratio.median, latency.target, latency.reached), (1.05, Some(1.0), Some(false)));
        let many = report.comparison(Metric::Single64, Setup::Sqlite, With::Metric(Metric::Single1)).expect("judged");
        assert_eq!((many.ratio.median, many.reached), (12.0, Some(true)));
    }

    #[test]
    fn a_round_that_failed_is_null_and_the_document_can_be_read_again() {
        let report = report();
        let latency = report.find(Metric::LatencyP50, Setup::Sqlite, Contestant::Gristmill).expect("measured");
        assert_eq!(latency.rounds, [Some(1.2), None, Some(0.9)]);
        let text = serde_json::to_string(&report).expect("written");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("read"), report);
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(document["schema"], 1);
        assert_eq!(document["measurements"][0]["metric"], "drain");
        assert_eq!(document["measurements"][0]["setup"], "postgres");
        assert_eq!(document["measurements"][0]["contestant"], "raw");
        assert_eq!(document["measurements"][0]["rounds"], serde_json::json!([100.0, 80.0, 90.0]));
        let by_metric = document["comparisons"].as_array().expect("a list").iter();
        assert!(by_metric.into_iter().any(|c| c["with"] == serde_json::json!({"metric": "single_1"})));
    }
}
