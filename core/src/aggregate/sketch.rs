//! Quantiles within one percent, in little memory, mergeable in any order.
//!
//! The sketch of C. Masson, J. E. Rim and H. K. Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with
//! Relative-Error Guarantees", VLDB 2019, without its collapsing of buckets: a number of 28 digits falls into one of at
//! most 6,500 buckets, so nothing needs to be bounded, and integer counts merge to the same sketch in any order.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::room::entry;

/// The relative error that no quantile exceeds.
const ALPHA: f64 = 0.01;

/// The ratio of a bucket's upper end to its lower one.
const GAMMA: f64 = (1.0 + ALPHA) / (1.0 - ALPHA);

/// How many values lie in each bucket; bucket `i` holds `γ^(i−1) < |value| ≤ γ^i`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sketch {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    negative: BTreeMap<i32, u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    zero: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    positive: BTreeMap<i32, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Sketch {
    pub(super) fn add(&mut self, value: f64) {
        self.add_often(value, 1);
    }

    pub(super) fn add_often(&mut self, value: f64, times: u64) {
        if value == 0.0 {
            self.zero += times;
        } else if value > 0.0 {
            *self.positive.entry(bucket(value)).or_default() += times;
        } else {
            *self.negative.entry(bucket(-value)).or_default() += times;
        }
    }

    /// The memory that it takes. It never shrinks.
    pub(super) fn bytes(&self) -> u64 {
        (self.negative.len() + self.positive.len()) as u64 * entry(size_of::<i32>() + size_of::<u64>())
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (bucket, count) in &other.positive {
            *self.positive.entry(*bucket).or_default() += count;
        }
        for (bucket, count) in &other.negative {
            *self.negative.entry(*bucket).or_default() += count;
        }
    }

    /// Returns the value below which a share of `quantile` of all values lies. `None` when there are none.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let count: u64 = self.zero + self.positive.values().sum::<u64>() + self.negative.values().sum::<u64>();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank from 0 to an item count, which stays below 2^52"
        )]
        let rank = (quantile * count.checked_sub(1)? as f64) as u64;
        let negative = self.negative.iter().rev().map(|(bucket, count)| (-middle(*bucket), *count));
        let positive = self.positive.iter().map(|(bucket, count)| (middle(*bucket), *count));
        let mut seen = 0;
        negative.chain([(0.0, self.zero)]).chain(positive).find_map(|(value, count)| {
            seen += count;
            (seen > rank).then_some(value)
        })
    }
}

/// The nearest binary number: the sketch is approximate anyway.
pub(super) fn approximate(number: &Decimal) -> f64 {
    number.to_string().parse().unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a number of 28 digits is small")]
fn bucket(value: f64) -> i32 {
    (value.ln() / GAMMA.ln()).ceil() as i32
}

/// The value that is at most one percent away from both ends of the bucket.
fn middle(bucket: i32) -> f64 {
    2.0 * GAMMA.powi(bucket) / (GAMMA + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_quantile_is_within_one_percent() {
        let mut sketch = Sketch::default();
        for value in -500..=1500 {
            sketch.add(f64::from(value));
        }
        for (quantile, right) in [(0.0, -500.0), (0.1, -300.0), (0.25, 0.0), (0.5, 500.0), (0.9, 1300.0), (1.0, 1500.0)]
        {
            let found = sketch.quantile(quantile).expect("values");
            assert!((found - right).abs() <= right.abs() * 0.0101, "{quantile}: {found} instead of {right}");
        }
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
    }
}
