//! Decimal arithmetic that neither rounds nor overflows.
//!
//! An item's number has at most 28 digits, but a sum of many may need more. Sums are therefore big integers in units of
//! 10⁻²⁸, the smallest step that an item's number can have: addition is exact in any order, and each value is written in
//! only one way.

use std::fmt;
use std::str::FromStr;

use num_bigint::{BigInt, Sign};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Digits after the decimal point.
const SCALE: u32 = Decimal::MAX_SCALE;

/// Digits after the decimal point of a mean, which is the only value of all that are exact that is ever rounded.
const MEAN_SCALE: u32 = 10;

/// A text of more bytes than this is not read as a number.
const TEXT_MAX: usize = 64;

/// An exact decimal of any size.
///
/// Nearly all that is ever added has two or three decimals: it is added up in one machine number, in units of
/// `10^-scale`, and goes into the big integer when that gets too long.
#[derive(Debug, Clone, Default)]
pub(super) struct Exact {
    settled: BigInt,
    recent: i128,
    scale: u32,
}

impl Exact {
    pub(super) fn add(&mut self, other: &Self) {
        self.settled = self.total() + other.total();
        self.recent = 0;
    }

    pub(super) fn add_decimal(&mut self, decimal: Decimal) {
        if !self.fits(decimal.mantissa(), decimal.scale()) {
            self.settled = self.total();
            (self.recent, self.scale) = (decimal.mantissa(), decimal.scale());
        }
    }

    /// Adds a number to the recent ones, unless the sum is too long for them.
    fn fits(&mut self, mantissa: i128, scale: u32) -> bool {
        let common = self.scale.max(scale);
        let at = |number: i128, scale: u32| number.checked_mul(10_i128.checked_pow(common - scale)?);
        let sum = at(self.recent, self.scale).and_then(|recent| recent.checked_add(at(mantissa, scale)?));
        if let Some(sum) = sum {
            (self.recent, self.scale) = (sum, common);
        }
        sum.is_some()
    }

    /// In units of 10⁻²⁸.
    fn total(&self) -> BigInt {
        &self.settled + BigInt::from(self.recent) * 10_i128.pow(SCALE - self.scale)
    }

    /// Half of it, exactly: it may have one more digit after the point, 29.
    pub(super) fn half(&self) -> Number {
        Number(self.total() * 5)
    }

    /// `self / count`, rounded half away from zero to ten decimals.
    pub(super) fn mean(&self, count: u64) -> Self {
        let step = BigInt::from(10).pow(SCALE - MEAN_SCALE) * count;
        let doubled: BigInt = self.total() * 2;
        let half = if doubled.sign() == Sign::Minus { -step.clone() } else { step.clone() };
        Self::from((doubled + half) / (step * 2) * BigInt::from(10).pow(SCALE - MEAN_SCALE))
    }
}

impl From<BigInt> for Exact {
    fn from(settled: BigInt) -> Self {
        Self { settled, ..Self::default() }
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.total() == other.total()
    }
}

impl Eq for Exact {}

impl fmt::Display for Exact {
    /// Without an exponent and without redundant zeros: `144617.75`, `-3`, `0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.total(), SCALE as usize))
    }
}

/// A number in units of `10^-scale`, as people write it.
fn written(units: &BigInt, scale: usize) -> String {
    let digits = format!("{:0>1$}", units.magnitude().to_string(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    let sign = if units.sign() == Sign::Minus { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// A number of any size, to be compared with others: all that a measure shows as a text is one, however long it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(BigInt);

/// Digits after the point of a [`Number`]: those of a sum, and one more for half of it.
const NUMBER_SCALE: usize = SCALE as usize + 1;

/// A sum of all that 64 bits can count has fewer digits.
const NUMBER_BYTES_MAX: usize = 128;

impl Number {
    /// The number in a text: one of at most 28 digits in any form (see [`decimal`]), a longer one as measures show it,
    /// without plus, exponent and redundant zeros.
    pub fn of_text(text: &str) -> Option<Self> {
        match decimal_text(text) {
            Some(short) => {
                let scale = SCALE + 1 - short.scale();
                Some(Self(BigInt::from(short.mantissa()) * BigInt::from(10).pow(scale)))
            }
            None => Self::of_long_text(text),
        }
    }

    /// Bytes that are ordered as the numbers are, whatever follows them.
    pub fn sortable(&self) -> Vec<u8> {
        let magnitude = self.0.magnitude().to_bytes_be();
        // A number has at most 128 digits, which are fewer bytes.
        let mut bytes = vec![u8::try_from(magnitude.len()).unwrap_or(u8::MAX)];
        bytes.extend(magnitude);
        let negative = self.0.sign() == Sign::Minus;
        if negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes.insert(0, u8::from(!negative));
        bytes
    }

    fn of_long_text(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let figures = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > NUMBER_BYTES_MAX || whole.is_empty() || !figures(whole) || !figures(fraction) {
            return None;
        }
        let missing = NUMBER_SCALE.checked_sub(fraction.len())?;
        let units: BigInt = format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()?;
        let number = Self(if text.starts_with('-') { -units } else { units });
        (number.to_string() == text).then_some(number)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.0, NUMBER_SCALE))
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
        format!("{whole}{fraction}{}", "0".repeat(missing)).parse::<BigInt>().map(Self::from).map_err(|_| bad())
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
/// digits. It is in canonical form: without trailing zeros, and zero has no sign.
pub fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Some(whole.into()),
            (_, Some(whole)) => Some(whole.into()),
            _ => decimal_text(&number.to_string()),
        },
        Value::String(text) => decimal_text(text),
        _ => None,
    }
}

/// Returns the exact number in a text; see [`decimal`].
///
/// The parsers of rust_decimal round a mantissa that has an exponent behind it, and take `1_000` and a bare point,
/// which no other system does.
pub fn decimal_text(text: &str) -> Option<Decimal> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (digits, exponent) = match unsigned.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(place) => (&unsigned[..place], Some(&unsigned[place + 1..])),
        None => (unsigned, None),
    };
    if exponent.is_none()
        && let Some(short) = short(negative, digits)
    {
        return Some(short);
    }
    let exponent = match exponent {
        Some(written) => std::str::from_utf8(written).ok()?.parse::<i32>().ok()?,
        None => 0,
    };
    let (magnitude, scale) = magnitude(digits)?;
    let (magnitude, scale) = at_least_whole(magnitude, scale.checked_sub(exponent)?)?;
    let magnitude = i128::try_from(magnitude).ok()?;
    Decimal::try_from_i128_with_scale(if negative { -magnitude } else { magnitude }, scale).ok()
}

/// The most digits of a number that is added up in 64 bits.
const SHORT_DIGITS: usize = 18;

/// Reads a number of few digits. `None`: it has more, or it is none.
fn short(negative: bool, digits: &[u8]) -> Option<Decimal> {
    if digits.len() > SHORT_DIGITS || !digits.first()?.is_ascii_digit() {
        return None;
    }
    let (mut magnitude, mut scale, mut point) = (0_i64, 0_u32, false);
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                magnitude = magnitude * 10 + i64::from(byte - b'0');
                scale += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    while scale > 0 && magnitude % 10 == 0 {
        (magnitude, scale) = (magnitude / 10, scale - 1);
    }
    Some(Decimal::new(if negative { -magnitude } else { magnitude }, scale))
}

/// Returns the number in `12.50` as 125 and 1: its significant digits, and how many of them follow the point. Fewer
/// than none follow it in 1200, which is 12 and −2.
fn magnitude(digits: &[u8]) -> Option<(u128, i32)> {
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let (mut magnitude, mut zeros, mut scale, mut point) = (0_u128, 0_u32, 0_i32, false);
    for byte in digits {
        match byte {
            b'.' if !point => point = true,
            b'0' if magnitude == 0 => scale += i32::from(point),
            b'0'..=b'9' => {
                scale += i32::from(point);
                zeros += 1;
                if *byte != b'0' {
                    magnitude =
                        magnitude.checked_mul(10_u128.checked_pow(zeros)?)?.checked_add(u128::from(byte - b'0'))?;
                    zeros = 0;
                }
            }
            _ => return None,
        }
    }
    Some((magnitude, scale - zeros.cast_signed()))
}

/// The same number with at least no digit after the point.
fn at_least_whole(magnitude: u128, scale: i32) -> Option<(u128, u32)> {
    match u32::try_from(scale) {
        _ if magnitude == 0 => Some((0, 0)),
        Ok(scale) => Some((magnitude, scale)),
        Err(_) => Some((magnitude.checked_mul(10_u128.checked_pow(scale.unsigned_abs())?)?, 0)),
    }
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
            let mut sum = Exact::default();
            sum.add_decimal(Decimal::from_str_exact(text).expect(text));
            assert_eq!(sum, exact(text));
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
    fn a_sum_is_the_same_in_any_order_whatever_the_scales() {
        let mut texts = vec!["0.1", "79228162514264337593543950335", "-3", "0.0000000000000000000000000001"];
        texts.extend(["-79228162514264337593543950335", "12.50", "7922816251426433759354395.0335", "0"]);
        let sum = |texts: &mut dyn Iterator<Item = &&str>| {
            let mut sum = Exact::default();
            texts.for_each(|text| sum.add_decimal(decimal_text(text).expect(text)));
            sum
        };
        let mut by_one = Exact::default();
        texts.iter().for_each(|text| by_one.add(&exact(text)));
        for _ in 0..texts.len() {
            texts.rotate_left(1);
            let (one, other) = (sum(&mut texts.iter()), sum(&mut texts.iter().rev()));
            assert_eq!((&one, one.to_string()), (&other, by_one.to_string()));
        }
    }

    #[test]
    fn a_number_is_compared_by_its_value_however_long_it_is() {
        let number = |text: &str| Number::of_text(text).expect(text);
        let sorted = [
            "-158456325028528675187087900670.0000000000000000000000000001",
            "-158456325028528675187087900670",
            "-2",
            "0",
            "0.00000000000000000000000000005",
            "1e-28",
            "2.50",
            "79228162514264337593543950335",
            "79228162514264337593543950336",
            "99999999999999999999999999999999",
            "158456325028528675187087900670000",
        ];
        for (at, text) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(number(text).cmp(&number(other)), at.cmp(&other_at), "{text} and {other}");
                let sortable = |text: &str| number(text).sortable();
                assert_eq!(sortable(text).cmp(&sortable(other)), at.cmp(&other_at), "{text} and {other}");
            }
        }
        assert_eq!(number("2.50"), number("2.5"));
        for text in ["", "-", ".", "1.2.3", "0079228162514264337593543950336", "+79228162514264337593543950336", "1e99"]
        {
            assert_eq!(Number::of_text(text), None, "{text}");
        }
        assert_eq!(Number::of_text(&"9".repeat(NUMBER_BYTES_MAX + 1)), None, "an identifier, whatever it is");
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

    #[test]
    fn a_number_with_an_exponent_is_exact_or_none() {
        for (text, right) in [
            ("1.5E+3", "1500"),
            ("1500e-3", "1.5"),
            ("0.00e5", "0"),
            ("0e-2000000000", "0"),
            ("1e28", "10000000000000000000000000000"),
            ("100000000000000000000000000000000000000e-30", "100000000"),
            ("79228162514264337593543950335e0", "79228162514264337593543950335"),
            ("1e-28", "0.0000000000000000000000000001"),
            ("1.50000000000000000000000000000000", "1.5"),
        ] {
            assert_eq!(decimal(&json!(text)).map(|number| number.to_string()).as_deref(), Some(right), "{text}");
        }
        for text in [
            "12345678901234567890123456789.5e0",
            "0.00000000000000000000000000005e0",
            "1.2345678901234567890123456789012e5",
            "12345678901234567890123456789.5",
            "79228162514264337593543950336e0",
            "1e29",
            "1e-29",
            "1e99999999999",
            "1e",
            "e5",
            "1e5.0",
            "1.2.3",
            "+-1",
        ] {
            assert_eq!(decimal(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn zero_has_no_sign_and_no_decimals() {
        for zero in [json!("-0"), json!("-0.00"), json!("0.000"), json!(-0.0), json!("-0e5")] {
            let number = decimal(&zero).expect("a number");
            assert_eq!((number.to_string().as_str(), number.is_sign_negative()), ("0", false), "{zero}");
        }
    }
}
