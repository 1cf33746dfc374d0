//! Exact decimal arithmetic for jq programs: `decimal_mul(.Quantity; .UnitPrice)`.
//!
//! jq computes with binary floating-point numbers, in which 6 × 2.55 is 15.299999999999999. These functions take
//! integers, texts such as `"2.55"`, and numbers (read as they are written), and return canonical texts. Only
//! `decimal_div` and `decimal_round` round, to the given number of places, half away from zero; a result of more than
//! 28 digits is an error.

use gristmill_core::aggregate::decimal;
use jaq_core::Error;
use jaq_core::native::{bome, run, v};
use num_bigint::{BigInt, Sign};
use rust_decimal::{Decimal, RoundingStrategy};

use super::native::{Fun, function2};
use super::number::Num;
use super::operators::Valued;
use super::value::Val;

/// All functions, to be compiled into programs.
pub(super) fn funs() -> Vec<Fun> {
    vec![
        function2!("decimal_add", |_value, one, two| both(&one, &two, "decimal_add", add)),
        function2!("decimal_sub", |_value, one, two| both(&one, &two, "decimal_sub", |one, two| add(one, -two))),
        function2!("decimal_mul", |_value, one, two| both(&one, &two, "decimal_mul", mul)),
        run(("decimal_div", v(3), |mut cv| {
            let (places, two, one) = (cv.0.pop_var(), cv.0.pop_var(), cv.0.pop_var());
            let divided =
                places_of(&places).and_then(|places| both(&one, &two, "decimal_div", |one, two| div(one, two, places)));
            bome(divided)
        })),
        function2!("decimal_round", |_value, number_, places| {
            let places = places_of(&places)?;
            let rounded = number(&number_, "decimal_round")?
                .round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero);
            Ok(Val::text(rounded.normalize().to_string()))
        }),
    ]
}

fn both(
    first: &Val,
    second: &Val,
    name: &str,
    compute: impl FnOnce(Decimal, Decimal) -> Result<Decimal, &'static str>,
) -> Valued {
    match compute(number(first, name)?, number(second, name)?) {
        Ok(result) => Ok(Val::text(result.normalize().to_string())),
        Err(problem) => Err(Error::str(format_args!("{name}({first}; {second}): {problem}"))),
    }
}

fn number(value: &Val, name: &str) -> Result<Decimal, Error<Val>> {
    let found = match value {
        Val::Str(text) => decimal(&(**text).into()),
        Val::Num(number) => decimal(&number.to_string().into()),
        _ => None,
    };
    found.ok_or_else(|| {
        let value = super::brief(&super::json::beginning(value, 200));
        Error::str(format_args!("{name}: {value} is not a decimal of at most 28 digits"))
    })
}

fn places_of(value: &Val) -> Result<u32, Error<Val>> {
    let places = match value {
        Val::Num(Num::Int(places)) => u32::try_from(*places).ok().filter(|places| *places <= Decimal::MAX_SCALE),
        _ => None,
    };
    places.ok_or_else(|| Error::str(format_args!("{value} is not a number of decimal places; it must be 0 to 28")))
}

const TOO_LONG: &str = "the result has more than 28 digits; round the operands first";

fn add(one: Decimal, two: Decimal) -> Result<Decimal, &'static str> {
    let scale = one.scale().max(two.scale());
    fitted(at_scale(one, scale) + at_scale(two, scale), scale)
}

fn mul(one: Decimal, two: Decimal) -> Result<Decimal, &'static str> {
    fitted(BigInt::from(one.mantissa()) * two.mantissa(), one.scale() + two.scale())
}

fn div(one: Decimal, two: Decimal, places: u32) -> Result<Decimal, &'static str> {
    if two.is_zero() {
        return Err("cannot divide by zero");
    }
    let scale = one.scale().max(two.scale());
    let (mut top, mut bottom) = (at_scale(one, scale) * power(places), at_scale(two, scale));
    if bottom.sign() == Sign::Minus {
        (top, bottom) = (-top, -bottom);
    }
    let half = if top.sign() == Sign::Minus { -bottom.clone() } else { bottom.clone() };
    fitted((top * 2 + half) / (bottom * 2), places)
}

fn at_scale(number: Decimal, scale: u32) -> BigInt {
    BigInt::from(number.mantissa()) * power(scale - number.scale())
}

fn power(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// Returns the decimal `mantissa × 10^−scale`, if it can be held without rounding.
fn fitted(mut mantissa: BigInt, mut scale: u32) -> Result<Decimal, &'static str> {
    while scale > 0 && (&mantissa % 10_i32).sign() == Sign::NoSign {
        mantissa /= 10_i32;
        scale -= 1;
    }
    let mantissa = i128::try_from(mantissa).map_err(|_| TOO_LONG)?;
    Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| TOO_LONG)
}
