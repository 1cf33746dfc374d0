//! Decimal arithmetic that neither rounds nor overflows.
//!
//! An item's number has at most 28 digits, but a sum of many may need more. Sums are therefore kept as big integers in
//! units of 10⁻²⁸, the smallest step that an item's number can have: addition is exact in any order, and each value has
//! only one representation.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, Sign};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Digits after the decimal point.
const SCALE: u32 = Decimal::MAX_SCALE;

/// Digits after the decimal point of a mean, which is the only value that is ever rounded.
const MEAN_SCALE: u32 = 10;

/// A text of more bytes than this is not read as a number.
const TEXT_MAX: usize = 64;

/// An exact decimal of any size.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exact(BigInt);

impl Exact {
    pub(super) fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// `self / count`, rounded half away from zero to ten decimals.
    pub(super) fn mean(&self, count: u64) -> Self {
        let step = BigInt::from(10).pow(SCALE - MEAN_SCALE) * count;
        let doubled: BigInt = &self.0 * 2;
        let half = if doubled.sign() == Sign::Minus { -step.clone() } else { step.clone() };
        Self((doubled + half) / (step * 2) * BigInt::from(10).pow(SCALE - MEAN_SCALE))
    }
}

impl From<Decimal> for Exact {
    fn from(decimal: Decimal) -> Self {
        Self(BigInt::from(decimal.mantissa()) * 10_i128.pow(SCALE - decimal.scale()))
    }
}

impl fmt::Display for Exact {
    /// Without an exponent and without redundant zeros: `144617.75`, `-3`, `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:0>29}", self.0.magnitude().to_string());
        let (whole, fraction) = digits.split_at(digits.len() - SCALE as usize);
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.0.sign() == Sign::Minus { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// A text that [`Exact`] would not write.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a decimal with at most 28 digits after the point")]
pub(super) struct NotExact(String);

impl FromStr for Exact {
    type Err = NotExact;

    fn from_str(text: &str) -> Result<Self, NotExact> {
        let bad = || NotExact(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let missing = (SCALE as usize).checked_sub(fraction.len()).ok_or_else(bad)?;
        format!("{whole}{fraction}{}", "0".repeat(missing)).parse().map(Self).map_err(|_| bad())
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Returns the exact number in a JSON number or in a text such as `-1.50` or `2.5e3`, if it has one of at most 28
/// digits.
pub fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => decimal_text(&number.to_string()),
        Value::String(text) => decimal_text(text),
        _ => None,
    }
}

fn decimal_text(text: &str) -> Option<Decimal> {
    // The parser of rust_decimal also takes `1_000` and a bare point, which no other system does.
    let digits = text.trim_start_matches(['-', '+']).as_bytes();
    let plain = digits.first().is_some_and(u8::is_ascii_digit) && !digits.contains(&b'_');
    if !plain || text.len() > TEXT_MAX {
        return None;
    }
    let parsed = if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
    parsed.ok().map(|decimal| decimal.normalize())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exact(text: &str) -> Exact {
        text.parse().expect(text)
    }

    #[test]
    fn a_decimal_is_shown_as_people_write_it() {
        for text in ["0", "-3", "144617.75", "0.0000000000000000000000000001", "79228162514264337593543950335"] {
            assert_eq!(exact(text).to_string(), text);
            assert_eq!(Exact::from(Decimal::from_str_exact(text).expect(text)), exact(text));
        }
        assert_eq!(exact("1.500").to_string(), "1.5");
    }

    #[test]
    fn a_sum_goes_beyond_what_one_number_can_hold() {
        let mut sum = exact("79228162514264337593543950335");
        sum.add(&exact("79228162514264337593543950335"));
        sum.add(&exact("0.0000000000000000000000000001"));
        assert_eq!(sum.to_string(), "158456325028528675187087900670.0000000000000000000000000001");
    }

    #[test]
    fn a_mean_is_rounded_half_away_from_zero_at_ten_decimals() {
        assert_eq!(exact("1").mean(3).to_string(), "0.3333333333");
        assert_eq!(exact("2").mean(3).to_string(), "0.6666666667");
        assert_eq!(exact("-2").mean(3).to_string(), "-0.6666666667");
        assert_eq!(exact("0.0000000001").mean(2).to_string(), "0.0000000001");
        assert_eq!(exact("-0.0000000001").mean(2).to_string(), "-0.0000000001");
    }

    #[test]
    fn only_what_is_a_number_everywhere_is_one() {
        assert_eq!(decimal(&json!("1e3")).map(|number| number.to_string()), Some("1000".to_owned()));
        assert_eq!(decimal(&json!(15.3)).map(|number| number.to_string()), Some("15.3".to_owned()));
        for bad in [json!("1_000"), json!(""), json!(" 1"), json!("."), json!("--1"), json!(null), json!(true)] {
            assert_eq!(decimal(&bad), None, "{bad}");
        }
        assert_eq!(decimal(&json!("0.00000000000000000000000000001")), None);
    }
}
