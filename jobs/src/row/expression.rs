//! What is computed from a row: the values and functions of jq, as far as they plainly have one output.

use std::borrow::Cow;
use std::cmp::Ordering;

use gristmill_core::aggregate::{Datum, decimal_text};
use jaq_core::ops::{Cmp, Math};
use rust_decimal::{Decimal, RoundingStrategy};

/// An expression over the places of a row.
#[derive(Debug, Clone)]
pub(super) enum Expression {
    Constant(Constant),
    Place(usize),
    Math(Math, Box<(Expression, Expression)>),
    Compare(Cmp, Box<(Expression, Expression)>),
    And(Box<(Expression, Expression)>),
    Or(Box<(Expression, Expression)>),
    /// `//`
    Alternative(Box<(Expression, Expression)>),
    If(Vec<(Expression, Expression)>, Box<Expression>),
    /// Texts and whole numbers, one after the other.
    Text(Vec<Expression>),
    Call(Function, Vec<Expression>),
}

#[derive(Debug, Clone)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    /// A number that is not whole. Only the functions for decimals take it.
    Number(Decimal),
    Text(String),
}

/// A function of jq, or one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    DecimalAdd,
    DecimalSub,
    DecimalMul,
    DecimalRound,
    Not,
    ToText,
    ToNumber,
    Lower,
    Upper,
}

/// The most digits of a whole number that is read from a text.
const DIGITS_MAX: usize = 18;

/// The most digits of a decimal's mantissa that is multiplied here: the product of two has at most 28.
const MANTISSA_MAX: i128 = 100_000_000_000_000;

impl Constant {
    /// A number as it is written in a program. One with an exponent is left to the interpreter.
    pub(super) fn number(digits: &str) -> Option<Self> {
        if let Ok(number) = digits.parse() {
            return Some(Self::Int(number));
        }
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && !digits.ends_with('.');
        decimal_text(digits).filter(|_| plain).map(Self::Number)
    }
}

impl Function {
    pub(super) fn named(name: &str, arguments: usize) -> Option<Self> {
        Some(match (name, arguments) {
            ("decimal_add", 2) => Self::DecimalAdd,
            ("decimal_sub", 2) => Self::DecimalSub,
            ("decimal_mul", 2) => Self::DecimalMul,
            ("decimal_round", 2) => Self::DecimalRound,
            ("not", 0) => Self::Not,
            ("tostring", 0) => Self::ToText,
            ("tonumber", 0) => Self::ToNumber,
            ("ascii_downcase", 0) => Self::Lower,
            ("ascii_upcase", 0) => Self::Upper,
            _ => return None,
        })
    }

    /// Whether it is a function of its input, and has no arguments.
    pub(super) fn takes_input(self) -> bool {
        matches!(self, Self::Not | Self::ToText | Self::ToNumber | Self::Lower | Self::Upper)
    }
}

impl Expression {
    /// Computes the value. `None`: the interpreter has to.
    pub(super) fn value<'r>(&'r self, row: &[Datum<'r>]) -> Option<Datum<'r>> {
        match self {
            Self::Constant(constant) => constant.datum(),
            Self::Place(place) => row.get(*place).cloned(),
            Self::Math(operator, sides) => math(*operator, sides.0.value(row)?, sides.1.value(row)?),
            Self::Compare(operator, sides) => {
                let order = compare(&sides.0.value(row)?, &sides.1.value(row)?);
                Some(Datum::Bool(holds(*operator, order)))
            }
            Self::And(sides) => Some(Datum::Bool(is_true(&sides.0.value(row)?) && is_true(&sides.1.value(row)?))),
            Self::Or(sides) => Some(Datum::Bool(is_true(&sides.0.value(row)?) || is_true(&sides.1.value(row)?))),
            Self::Alternative(sides) => match sides.0.value(row)? {
                first if is_true(&first) => Some(first),
                _ => sides.1.value(row),
            },
            Self::If(cases, other) => {
                for (condition, then) in cases {
                    if is_true(&condition.value(row)?) {
                        return then.value(row);
                    }
                }
                other.value(row)
            }
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&shown(&part.value(row)?));
                }
                Some(Datum::Text(text.into()))
            }
            Self::Call(function, arguments) => function.call(arguments, row),
        }
    }

    /// The number that a function for decimals takes it for.
    fn decimal(&self, row: &[Datum<'_>]) -> Option<Decimal> {
        match self {
            Self::Constant(Constant::Number(number)) => Some(*number),
            Self::Place(place) => decimal_of(row.get(*place)?),
            Self::Call(function, arguments) if function.is_decimal() => function.decimal(arguments, row),
            other => decimal_of(&other.value(row)?),
        }
    }
}

impl Constant {
    fn datum(&self) -> Option<Datum<'_>> {
        Some(match self {
            Self::Null => Datum::Null,
            Self::Bool(truth) => Datum::Bool(*truth),
            Self::Int(number) => Datum::Int(*number),
            Self::Number(_) => return None,
            Self::Text(text) => Datum::Text(Cow::Borrowed(text)),
        })
    }
}

impl Function {
    fn is_decimal(self) -> bool {
        matches!(self, Self::DecimalAdd | Self::DecimalSub | Self::DecimalMul | Self::DecimalRound)
    }

    fn call<'r>(self, arguments: &'r [Expression], row: &[Datum<'r>]) -> Option<Datum<'r>> {
        if self.is_decimal() {
            return self.decimal(arguments, row).map(Datum::Decimal);
        }
        let input = arguments.first()?.value(row)?;
        Some(match (self, input) {
            (Self::Not, input) => Datum::Bool(!is_true(&input)),
            (Self::ToText, input) => match input {
                Datum::Text(_) | Datum::Decimal(_) => input,
                other => Datum::Text(shown(&other).into_owned().into()),
            },
            (Self::ToNumber, Datum::Int(number)) => Datum::Int(number),
            (Self::ToNumber, Datum::Text(text)) => whole(&text)?,
            (Self::Lower, Datum::Text(text)) => Datum::Text(text.to_ascii_lowercase().into()),
            (Self::Upper, Datum::Text(text)) => Datum::Text(text.to_ascii_uppercase().into()),
            _ => return None,
        })
    }

    fn decimal(self, arguments: &[Expression], row: &[Datum<'_>]) -> Option<Decimal> {
        let [first, second] = arguments else { return None };
        let first = first.decimal(row)?;
        if self == Self::DecimalRound {
            let Expression::Constant(Constant::Int(places)) = second else { return None };
            let places = u32::try_from(*places).ok().filter(|places| *places <= Decimal::MAX_SCALE)?;
            return Some(first.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero).normalize());
        }
        let second = second.decimal(row)?;
        let (one, two) = (first.mantissa(), second.mantissa());
        if one.abs() > MANTISSA_MAX || two.abs() > MANTISSA_MAX {
            return None;
        }
        match self {
            Self::DecimalMul => canonical(one * two, first.scale() + second.scale()),
            _ => {
                let scale = first.scale().max(second.scale());
                let at = |number: i128, own: u32| number.checked_mul(10_i128.checked_pow(scale - own)?);
                let (one, two) = (at(one, first.scale())?, at(two, second.scale())?);
                canonical(if self == Self::DecimalSub { one.checked_sub(two)? } else { one.checked_add(two)? }, scale)
            }
        }
    }
}

/// `mantissa × 10^-scale` without zeros at its end.
fn canonical(mut mantissa: i128, mut scale: u32) -> Option<Decimal> {
    if mantissa == 0 {
        return Some(Decimal::ZERO);
    }
    while scale > 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

fn decimal_of(datum: &Datum<'_>) -> Option<Decimal> {
    match datum {
        Datum::Int(number) => Some((*number).into()),
        Datum::Decimal(number) => Some(*number),
        Datum::Text(text) => decimal_text(text),
        Datum::Null | Datum::Bool(_) => None,
    }
}

fn math<'r>(operator: Math, left: Datum<'r>, right: Datum<'r>) -> Option<Datum<'r>> {
    match (operator, left, right) {
        (Math::Add, Datum::Null, other) | (Math::Add, other, Datum::Null) => Some(other),
        (Math::Add, Datum::Int(one), Datum::Int(two)) => one.checked_add(two).map(Datum::Int),
        (Math::Sub, Datum::Int(one), Datum::Int(two)) => one.checked_sub(two).map(Datum::Int),
        (Math::Mul, Datum::Int(one), Datum::Int(two)) => one.checked_mul(two).map(Datum::Int),
        (Math::Div, Datum::Int(one), Datum::Int(two)) if two != 0 && one.checked_rem(two) == Some(0) => {
            one.checked_div(two).map(Datum::Int)
        }
        (Math::Add, one, two) if is_text(&one) && is_text(&two) => {
            let mut text = shown(&one).into_owned();
            text.push_str(&shown(&two));
            Some(Datum::Text(text.into()))
        }
        _ => None,
    }
}

fn is_text(datum: &Datum<'_>) -> bool {
    matches!(datum, Datum::Text(_) | Datum::Decimal(_))
}

fn is_true(datum: &Datum<'_>) -> bool {
    !matches!(datum, Datum::Null | Datum::Bool(false))
}

/// The text of a text, and JSON of all else.
fn shown<'d>(datum: &'d Datum<'_>) -> Cow<'d, str> {
    match datum {
        Datum::Null => Cow::Borrowed("null"),
        Datum::Bool(true) => Cow::Borrowed("true"),
        Datum::Bool(false) => Cow::Borrowed("false"),
        Datum::Int(number) => Cow::Owned(number.to_string()),
        Datum::Decimal(number) => Cow::Owned(number.to_string()),
        Datum::Text(text) => Cow::Borrowed(text),
    }
}

/// The order of jq: null, false, true, numbers, texts.
fn compare(left: &Datum<'_>, right: &Datum<'_>) -> Ordering {
    let rank = |datum: &Datum<'_>| match datum {
        Datum::Null => 0,
        Datum::Bool(false) => 1,
        Datum::Bool(true) => 2,
        Datum::Int(_) => 3,
        Datum::Decimal(_) | Datum::Text(_) => 4,
    };
    rank(left).cmp(&rank(right)).then_with(|| match (left, right) {
        (Datum::Int(one), Datum::Int(two)) => one.cmp(two),
        (one, two) if is_text(one) => shown(one).cmp(&shown(two)),
        _ => Ordering::Equal,
    })
}

fn holds(operator: Cmp, order: Ordering) -> bool {
    match operator {
        Cmp::Lt => order.is_lt(),
        Cmp::Le => order.is_le(),
        Cmp::Gt => order.is_gt(),
        Cmp::Ge => order.is_ge(),
        Cmp::Eq => order.is_eq(),
        Cmp::Ne => order.is_ne(),
    }
}

/// A whole number that a text plainly is. `-0` is none here.
fn whole<'r>(text: &str) -> Option<Datum<'r>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && (*number != 0 || digits == text)).map(Datum::Int)
}
