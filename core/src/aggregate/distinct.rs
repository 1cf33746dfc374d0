//! How many different values there are: exactly up to a bound, beyond it estimated.
//!
//! The estimate is a HyperLogLog sketch (P. Flajolet et al., 2007) with the estimator of O. Ertl, "New cardinality
//! estimation algorithms for HyperLogLog sketches", 2017. A sketch depends on nothing but the set of values, and so does
//! whether there is one: a union only grows. So the outcome is the same however the items were divided.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use super::room::{CELL_BYTES_MAX, CELL_VALUES_MAX, Room, VALUES_BYTES_MAX, VALUES_MAX, entry, heap};

/// Two to this many registers: a standard error of 1.6 percent in four kilobytes.
const PRECISION: u32 = 12;

const REGISTERS: usize = 1 << PRECISION;

/// Different values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub(super) struct Distinct {
    /// Whether it is of all items; otherwise it is of one group among many, and its bound is lower.
    whole: bool,
    seen: Seen,
    /// The bytes of text of all values that are kept.
    bytes: u64,
    /// The memory that these texts take.
    heap: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Values(BTreeSet<Box<str>>),
    Sketch(Vec<u8>),
}

/// How it is stored.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    whole: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<BTreeSet<Box<str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sketch: Option<String>,
}

impl Distinct {
    pub(super) fn new(whole: bool) -> Self {
        Self { whole, seen: Seen::Values(BTreeSet::new()), bytes: 0, heap: 0 }
    }

    /// Adds a value; returns how much more room is taken.
    pub(super) fn add(&mut self, value: &str) -> Room {
        let before = self.room();
        match &mut self.seen {
            Seen::Sketch(registers) => note(registers, value),
            Seen::Values(values) => {
                if !values.contains(value) {
                    self.bytes += value.len() as u64;
                    self.heap += heap(value.len());
                    values.insert(value.into());
                }
            }
        }
        self.settle();
        self.room().less(before)
    }

    /// Adds the values of another part; returns how much more room is taken.
    pub(super) fn merge(&mut self, other: Self) -> Room {
        let before = self.room();
        match other.seen {
            Seen::Values(values) => values.iter().for_each(|value| {
                self.add(value);
            }),
            Seen::Sketch(theirs) => {
                let registers = self.sketch();
                for (mine, theirs) in registers.iter_mut().zip(theirs) {
                    *mine = (*mine).max(theirs);
                }
            }
        }
        self.room().less(before)
    }

    /// The most values, and the most bytes of text, that are kept.
    fn most(&self) -> (u64, u64) {
        if self.whole { (VALUES_MAX, VALUES_BYTES_MAX) } else { (CELL_VALUES_MAX, CELL_BYTES_MAX) }
    }

    /// Turns into a sketch when there are too many values.
    fn settle(&mut self) {
        let (values_max, bytes_max) = self.most();
        let over = match &self.seen {
            Seen::Values(values) => values.len() as u64 > values_max || self.bytes > bytes_max,
            Seen::Sketch(_) => false,
        };
        if over {
            self.sketch();
        }
    }

    fn sketch(&mut self) -> &mut Vec<u8> {
        if let Seen::Values(values) = &self.seen {
            let mut registers = vec![0; REGISTERS];
            values.iter().for_each(|value| note(&mut registers, value));
            (self.seen, self.bytes, self.heap) = (Seen::Sketch(registers), 0, 0);
        }
        match &mut self.seen {
            Seen::Sketch(registers) => registers,
            Seen::Values(_) => unreachable!("it has just become a sketch"),
        }
    }

    /// The room that it is charged for. It never shrinks, so that a bound on it is passed or not in any order: a sketch is
    /// charged for the most that its values may have taken before.
    pub(super) fn room(&self) -> Room {
        const VALUE: u64 = entry(size_of::<Box<str>>());
        Room::of_bytes(match &self.seen {
            Seen::Values(values) => values.len() as u64 * VALUE + self.heap,
            Seen::Sketch(_) => {
                let (values, bytes) = self.most();
                values * (VALUE + heap(1)) + bytes
            }
        })
    }

    /// How many there are, and whether that is exact.
    pub(super) fn count(&self) -> (u64, bool) {
        match &self.seen {
            Seen::Values(values) => (values.len() as u64, true),
            Seen::Sketch(registers) => (three_digits(estimate(registers)), false),
        }
    }
}

impl TryFrom<Wire> for Distinct {
    type Error = String;

    fn try_from(wire: Wire) -> Result<Self, String> {
        let Wire { whole, values, sketch } = wire;
        let seen = match sketch {
            None => Seen::Values(values.unwrap_or_default()),
            Some(text) => {
                let registers = BASE64_STANDARD_NO_PAD.decode(text).map_err(|error| error.to_string())?;
                if registers.len() != REGISTERS {
                    return Err(format!("a sketch has {REGISTERS} registers, not {}", registers.len()));
                }
                Seen::Sketch(registers)
            }
        };
        let total = |measured: fn(usize) -> u64| match &seen {
            Seen::Values(values) => values.iter().map(|value| measured(value.len())).sum(),
            Seen::Sketch(_) => 0,
        };
        let (bytes, heap) = (total(|length| length as u64), total(heap));
        Ok(Self { whole, seen, bytes, heap })
    }
}

impl From<Distinct> for Wire {
    fn from(distinct: Distinct) -> Self {
        let (values, sketch) = match distinct.seen {
            Seen::Values(values) => (Some(values), None),
            Seen::Sketch(registers) => (None, Some(BASE64_STANDARD_NO_PAD.encode(registers))),
        };
        Self { whole: distinct.whole, values, sketch }
    }
}

/// Notes a value in its register.
fn note(registers: &mut [u8], value: &str) {
    let hash = hash(value);
    let register = usize::try_from(hash >> (64 - PRECISION)).unwrap_or(0);
    let rest = hash << PRECISION;
    let rank = (rest.leading_zeros().min(64 - PRECISION) + 1) as u8;
    if let Some(known) = registers.get_mut(register) {
        *known = (*known).max(rank);
    }
}

/// FNV-1a, whose bits are then mixed. It is the same in every version and on every machine: parts are merged by it.
fn hash(value: &str) -> u64 {
    let mut hash = value
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn estimate(registers: &[u8]) -> u64 {
    let most = (64 - PRECISION) as usize;
    let mut counts = vec![0_u64; most + 2];
    for register in registers {
        counts[usize::from(*register).min(most + 1)] += 1;
    }
    let registers = REGISTERS as f64;
    let mut sum = registers * tau(1.0 - counts[most + 1] as f64 / registers);
    for count in counts[1..=most].iter().rev() {
        sum = 0.5 * (sum + *count as f64);
    }
    sum += registers * sigma(counts[0] as f64 / registers);
    (registers / (2.0 * std::f64::consts::LN_2) * registers / sum).round() as u64
}

fn sigma(mut share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut factor, mut sum) = (1.0, share);
    loop {
        share *= share;
        let before = sum;
        sum += share * factor;
        factor += factor;
        if sum <= before {
            return sum;
        }
    }
}

fn tau(mut share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut factor, mut sum) = (1.0, 1.0 - share);
    loop {
        share = share.sqrt();
        let before = sum;
        factor *= 0.5;
        sum -= (1.0 - share) * (1.0 - share) * factor;
        if sum >= before {
            return sum / 3.0;
        }
    }
}

/// More digits than three would only look exact.
fn three_digits(number: u64) -> u64 {
    let step = 10_u64.pow(number.checked_ilog10().unwrap_or(0).saturating_sub(2));
    (number + step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_within_five_percent_however_many_there_are() {
        let mut registers = vec![0; REGISTERS];
        let mut next = 0_u64;
        for count in [1_u64, 10, 1_000, 5_000, 10_000, 20_000, 100_000, 300_000] {
            while next < count {
                note(&mut registers, &format!("customer {next}"));
                next += 1;
            }
            let found = estimate(&registers);
            assert!(found.abs_diff(count) * 20 <= count.max(20), "{found} instead of {count}");
        }
        assert_eq!(estimate(&vec![0; REGISTERS]), 0);
    }

    #[test]
    fn room_never_shrinks_and_is_what_was_said_to_be_added() {
        let mut distinct = Distinct::new(false);
        let mut room = Room::default();
        for value in 0..2 * CELL_VALUES_MAX {
            let more = distinct.add(&format!("{value:06}"));
            room = room.plus(more);
            assert_eq!(room, distinct.room(), "after {value}");
        }
        assert!(!distinct.count().1, "it is a sketch by now");
    }

    #[test]
    fn three_digits_are_left() {
        assert_eq!([0, 7, 99, 1_234, 99_961].map(three_digits), [0, 7, 99, 1_230, 100_000]);
    }
}
