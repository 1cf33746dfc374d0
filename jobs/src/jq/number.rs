//! Numbers: whole ones are exact, others are binary floating-point numbers, and those that a program only passes on
//! keep all their digits.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::Number;

/// A number.
#[derive(Clone, Debug)]
pub(super) enum Num {
    /// A whole number, exact.
    Int(i128),
    /// The result of a computation.
    Float(f64),
    /// As it was written: in the item, in the program, in a text.
    Written(Rc<Written>),
}

/// A number as it was written, and what it is in computations.
#[derive(Debug)]
pub(super) struct Written {
    text: String,
    float: f64,
}

/// Whole numbers up to here are exact in a floating-point number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Digits, a place for the point (`digits × 10^exponent`), and a sign.
#[derive(PartialEq)]
struct Decimal<'a> {
    negative: bool,
    digits: std::borrow::Cow<'a, str>,
    exponent: i64,
}

impl Num {
    /// The result of a computation: whole if it is and can be told to be.
    pub(super) fn of(float: f64) -> Self {
        let zero_below = float == 0.0 && float.is_sign_negative();
        if float.fract() == 0.0 && float.abs() < EXACT_MAX && !zero_below {
            Self::Int(float as i128)
        } else {
            Self::Float(float)
        }
    }

    /// Reads a number: an optional sign, digits with or without a point, an optional exponent; or `nan`, `infinity`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        match unsigned.to_ascii_lowercase().as_str() {
            "nan" => return Some(Self::Float(f64::NAN)),
            "inf" | "infinity" => return Some(Self::Float(sign * f64::INFINITY)),
            _ => {}
        }
        if !is_number(unsigned) {
            return None;
        }
        let whole = text != "-0" && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(integer) = whole.then(|| text.parse().ok()).flatten() {
            return Some(Self::Int(integer));
        }
        let float = text.parse().ok()?;
        Some(Self::Written(Rc::new(Written { text: text.to_owned(), float })))
    }

    /// A number of an item.
    pub(super) fn from_json(number: &Number) -> Self {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        match whole {
            Some(whole) => Self::Int(whole),
            None => Self::read(&number.to_string()).unwrap_or(Self::Float(f64::NAN)),
        }
    }

    /// The number for an item.
    ///
    /// # Errors
    ///
    /// When JSON, or a reader of 64 bits, cannot hold it exactly.
    pub(super) fn to_json(&self) -> Result<Number, String> {
        let wide = |shown: &str| {
            format!("the number {shown} has more digits than are kept exactly; make it a text by `tostring`")
        };
        match self {
            Self::Int(whole) => {
                let narrow = i64::try_from(*whole).map(Number::from).ok();
                narrow
                    .or_else(|| u64::try_from(*whole).map(Number::from).ok())
                    .ok_or_else(|| format!("the number {whole} is too large; make it a text by `tostring`"))
            }
            Self::Float(float) => {
                Number::from_f64(*float).ok_or_else(|| format!("the result holds {float}, which is not a JSON number"))
            }
            Self::Written(written) => {
                let number = Number::from_f64(written.float);
                let exact = number.filter(|number| decimal(&number.to_string()) == decimal(&written.text));
                exact.ok_or_else(|| wide(&super::brief(&written.text)))
            }
        }
    }

    /// What it is in computations with floating-point numbers.
    pub(super) fn float(&self) -> f64 {
        match self {
            Self::Int(whole) => *whole as f64,
            Self::Float(float) => *float,
            Self::Written(written) => written.float,
        }
    }

    pub(super) fn is_nan(&self) -> bool {
        self.float().is_nan()
    }

    /// Computes: whole numbers exactly, others as floating-point numbers.
    ///
    /// # Errors
    ///
    /// When a whole result has more than 38 digits, or an operand was written with more.
    pub(super) fn compute(
        &self,
        other: &Self,
        whole: impl Fn(i128, i128) -> Option<i128>,
        float: impl Fn(f64, f64) -> f64,
    ) -> Result<Self, String> {
        match (self, other) {
            (Self::Int(one), Self::Int(two)) => {
                whole(*one, *two).map(Self::Int).ok_or_else(|| "the result has more than 38 digits".to_owned())
            }
            _ if self.is_wide() || other.is_wide() => {
                Err("a whole number of more than 38 digits can be passed on but not computed with".to_owned())
            }
            _ => Ok(Self::of(float(self.float(), other.float()))),
        }
    }

    fn is_wide(&self) -> bool {
        matches!(self, Self::Written(written) if !written.text.contains(['.', 'e', 'E']) && written.text != "-0")
    }

    /// Less, equal, greater. Nothing is equal to `nan`, which is less than all; for sorting (`total`) it equals itself.
    pub(super) fn compare(&self, other: &Self, total: bool) -> Ordering {
        if let (Self::Int(one), Self::Int(two)) = (self, other) {
            return one.cmp(two);
        }
        match (self.is_nan(), other.is_nan()) {
            (true, true) if total => return Ordering::Equal,
            (true, _) => return Ordering::Less,
            (_, true) => return Ordering::Greater,
            _ => {}
        }
        let rough = self.float().partial_cmp(&other.float()).unwrap_or(Ordering::Equal);
        // What floating-point numbers cannot tell apart may still have been written differently.
        if rough == Ordering::Equal { self.compare_digits(other) } else { rough }
    }

    fn compare_digits(&self, other: &Self) -> Ordering {
        if !matches!((self, other), (Self::Written(_), _) | (_, Self::Written(_))) {
            return Ordering::Equal;
        }
        if self.float().is_infinite() || self.float() == 0.0 {
            return Ordering::Equal;
        }
        let (one, two) = (self.to_string(), other.to_string());
        match (decimal(&one), decimal(&two)) {
            (Some(one), Some(two)) => one.compare(&two),
            _ => Ordering::Equal,
        }
    }
}

impl std::ops::Neg for &Num {
    type Output = Num;

    fn neg(self) -> Num {
        match self {
            Num::Int(whole) => whole.checked_neg().map_or(Num::Float(-(*whole as f64)), Num::Int),
            Num::Float(float) => Num::of(-float),
            Num::Written(written) => {
                let text = match written.text.strip_prefix('-') {
                    Some(rest) => rest.to_owned(),
                    None => format!("-{}", written.text.trim_start_matches('+')),
                };
                Num::Written(Rc::new(Written { text, float: -written.float }))
            }
        }
    }
}

/// As jq prints it.
impl std::fmt::Display for Num {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(whole) => write!(f, "{whole}"),
            Self::Float(float) if float.is_nan() => f.write_str("null"),
            Self::Float(float) if float.is_infinite() => {
                write!(f, "{}1.7976931348623157e+308", if *float < 0.0 { "-" } else { "" })
            }
            Self::Float(float) => f.write_str(&shortest(*float)),
            Self::Written(written) => f.write_str(&canonical(&written.text)),
        }
    }
}

impl Decimal<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        if self.negative != other.negative {
            return other.negative.cmp(&self.negative);
        }
        // Of the same rough size: the longer exponent is padded with zeros.
        let low = self.exponent.min(other.exponent);
        let padded = |one: &Self| {
            let zeros = usize::try_from(one.exponent - low).unwrap_or_default().min(2_000);
            format!("{}{}", one.digits, "0".repeat(zeros))
        };
        let (one, two) = (padded(self), padded(other));
        let size = one.len().cmp(&two.len()).then_with(|| one.cmp(&two));
        if self.negative { size.reverse() } else { size }
    }
}

fn is_number(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// Takes a number apart, without zeros at either end. `None` when the exponent is beyond all reason.
fn decimal(text: &str) -> Option<Decimal<'_>> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.parse::<i64>().ok()?.checked_sub(fraction.len() as i64)?;
    let kept = digits.trim_end_matches('0');
    let exponent = exponent.checked_add((digits.len() - kept.len()) as i64)?;
    let kept = kept.trim_start_matches('0').to_owned();
    let exponent = if kept.is_empty() { 0 } else { exponent };
    Some(Decimal { negative: negative && !kept.is_empty(), digits: kept.into(), exponent })
}

/// A written number in the form that decimal arithmetic prints: all its digits, an exponent only where it is needed.
fn canonical(text: &str) -> String {
    let sign = if text.starts_with('-') { "-" } else { "" };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else { return text.to_owned() };
    let exponent = exponent.saturating_sub(fraction.len() as i64);
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let count = digits.len() as i64;
    let size = exponent.saturating_add(count - 1);
    if exponent > 0 || size < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}E{}{size}", if size < 0 { "" } else { "+" });
    }
    let places = exponent.unsigned_abs() as usize;
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The shortest digits that give this number again.
fn shortest(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent = exponent.parse::<i64>().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i64;
    let point = exponent + 1;
    if point <= -4 || point > digits + 15 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
    } else {
        format!("{float}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        Num::read(text).expect(text).to_string()
    }

    #[test]
    fn a_written_number_keeps_its_digits() {
        for (text, shown) in [
            ("1.50", "1.50"),
            ("100e-2", "1.00"),
            ("1e3", "1E+3"),
            ("0.00001", "0.00001"),
            ("0.0000001", "1E-7"),
            ("1e1000", "1E+1000"),
            ("-0", "-0"),
            ("01", "1"),
            (".5", "0.5"),
            ("5.", "5"),
            ("123456789012345678901234567890123456789012", "123456789012345678901234567890123456789012"),
        ] {
            assert_eq!(printed(text), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in ["", " ", "1 ", " 1", "1e", "0x10", "--1", "1_0", "1 2", "٣", "-", ".", "e5", "1.2.3", "5 # x"] {
            assert!(Num::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn results_are_printed_as_jq_prints_them() {
        for (float, shown) in [
            (2.0, "2"),
            (1e15, "1000000000000000"),
            (1e16, "1e+16"),
            (1.23e17, "123000000000000000"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "1.7976931348623157e+308"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(Num::of(float).to_string(), shown);
        }
    }

    #[test]
    fn digits_beyond_a_double_are_told_apart() {
        let of = |text| Num::read(text).expect(text);
        assert_eq!(of("0.12345678901234567891").compare(&of("0.12345678901234567892"), false), Ordering::Less);
        assert_eq!(of("1.0").compare(&Num::Int(1), false), Ordering::Equal);
        assert_eq!(of("1.50").compare(&of("1.5"), false), Ordering::Equal);
        assert_eq!(of("0.1").compare(&Num::of(0.1), false), Ordering::Equal);
        assert!(of("0.12345678901234567891").to_json().is_err());
        assert_eq!(of("1.50").to_json().map(|number| number.to_string()), Ok("1.5".to_owned()));
        assert!(of("1e999").to_json().is_err());
    }
}
