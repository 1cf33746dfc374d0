//! The middle of all values: exactly up to a bound of different values, beyond it from the sketch for quantiles.
//!
//! Of an even number of values it is the mean of the two in the middle, as in SQL's `percentile_cont(0.5)`, and nothing is
//! rounded: it has up to 29 digits after the point, one more than a value. Whether it is
//! exact depends only on how many different values there are in all, so it does not depend on how they were divided.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::exact::{Exact, Number};
use super::room::{CELL_VALUES_MAX, Room, VALUES_MAX, entry};
use super::sketch::{Sketch, approximate};

/// How often each value occurred.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Median {
    /// Whether it is of all items; otherwise it is of one group among many, and its bound is lower.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    seen: Seen,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Seen {
    Values(BTreeMap<Decimal, u64>),
    Sketch(Sketch),
}

impl Median {
    pub(super) fn new(whole: bool) -> Self {
        Self { whole, seen: Seen::Values(BTreeMap::new()) }
    }

    /// Adds a number; returns how much more room is taken.
    pub(super) fn add(&mut self, number: Decimal) -> Room {
        let before = self.room();
        match &mut self.seen {
            Seen::Values(values) => *values.entry(number.normalize()).or_default() += 1,
            Seen::Sketch(sketch) => sketch.add(approximate(&number)),
        }
        self.settle();
        self.room().less(before)
    }

    /// Adds the numbers of another part; returns how much more room is taken.
    pub(super) fn merge(&mut self, other: Self) -> Room {
        let before = self.room();
        match (&mut self.seen, other.seen) {
            (Seen::Values(mine), Seen::Values(theirs)) => {
                for (number, count) in theirs {
                    *mine.entry(number).or_default() += count;
                }
            }
            (Seen::Sketch(sketch), Seen::Values(theirs)) => sketch.merge(&sketched(&theirs)),
            (Seen::Sketch(sketch), Seen::Sketch(theirs)) => sketch.merge(&theirs),
            (Seen::Values(mine), Seen::Sketch(mut theirs)) => {
                theirs.merge(&sketched(mine));
                self.seen = Seen::Sketch(theirs);
            }
        }
        self.settle();
        self.room().less(before)
    }

    /// The most different values that are kept.
    fn most(&self) -> u64 {
        if self.whole { VALUES_MAX } else { CELL_VALUES_MAX }
    }

    fn settle(&mut self) {
        let most = self.most();
        if let Seen::Values(values) = &self.seen
            && values.len() as u64 > most
        {
            self.seen = Seen::Sketch(sketched(values));
        }
    }

    /// The room that it is charged for. It never shrinks, so that a bound on it is passed or not in any order.
    pub(super) fn room(&self) -> Room {
        const VALUE: u64 = entry(size_of::<(Decimal, u64)>());
        Room::of_bytes(match &self.seen {
            Seen::Values(values) => values.len() as u64 * VALUE,
            Seen::Sketch(sketch) => (self.most() * VALUE).max(sketch.bytes()),
        })
    }

    /// The exact one. `None`: there are no values.
    ///
    /// # Errors
    ///
    /// The one of the sketch, when there were too many values.
    pub(super) fn value(&self) -> Result<Option<Number>, Option<f64>> {
        let values = match &self.seen {
            Seen::Values(values) => values,
            Seen::Sketch(sketch) => return Err(sketch.quantile(0.5)),
        };
        let count: u64 = values.values().sum();
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let at = |place: u64| {
            let mut seen = 0;
            values.iter().find_map(|(number, count)| {
                seen += count;
                (seen > place).then_some(*number)
            })
        };
        let mut sum = Exact::default();
        for place in [last / 2, count / 2] {
            sum.add_decimal(at(place).unwrap_or_default());
        }
        Ok(Some(sum.half()))
    }
}

fn sketched(values: &BTreeMap<Decimal, u64>) -> Sketch {
    let mut sketch = Sketch::default();
    for (number, count) in values {
        sketch.add_often(approximate(number), *count);
    }
    sketch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> String {
        let mut median = Median::new(true);
        for text in texts {
            median.add(text.parse().expect("a number"));
        }
        median.value().expect("exact").map_or_else(String::new, |value| value.to_string())
    }

    #[test]
    fn it_is_the_one_in_the_middle_or_the_mean_of_the_two() {
        assert_eq!(of(&["3", "1", "2"]), "2");
        assert_eq!(of(&["0.10", "0.1", "0.4", "9"]), "0.25");
        assert_eq!(of(&["-1", "-1.0", "5"]), "-1");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn it_is_not_rounded_however_many_digits_the_values_have() {
        assert_eq!(of(&["0.123456789012345678", "5", "0"]), "0.123456789012345678");
        assert_eq!(of(&["0.00000000001", "0.00000000002"]), "0.000000000015");
        assert_eq!(of(&["-0.0000000000000000000000000001", "0"]), "-0.00000000000000000000000000005");
        let most = "79228162514264337593543950335";
        assert_eq!(of(&[most, "79228162514264337593543950334"]), "79228162514264337593543950334.5");
    }

    #[test]
    fn of_too_many_values_it_is_within_one_percent() {
        let mut median = Median::new(false);
        for number in 1..=3 * CELL_VALUES_MAX {
            median.add(number.into());
        }
        let found = median.value().expect_err("of a sketch").expect("a value");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let right = (3 * CELL_VALUES_MAX / 2) as f64;
        assert!((found - right).abs() <= right * 0.0101, "{found} instead of {right}");
    }
}
