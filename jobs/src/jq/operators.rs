//! `+ - * / %` and the sign.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use jaq_core::Error;

use super::meter;
use super::value::{Dict, List, Shown, Val};

pub(super) type Valued = Result<Val, Error<Val>>;

/// An error that says what cannot be done with two values.
fn unfit(one: &Val, two: &Val, what: &str) -> Error<Val> {
    Error::str(format_args!("{} and {} cannot be {what}", Shown(one), Shown(two)))
}

fn computed(number: Result<super::number::Num, String>) -> Valued {
    number.map(Val::Num).map_err(Error::str)
}

impl Add for Val {
    type Output = Valued;

    fn add(self, other: Self) -> Valued {
        match (self, other) {
            (Self::Null, other) | (other, Self::Null) => Ok(other),
            (Self::Num(one), Self::Num(two)) => computed(one.compute(&two, i128::checked_add, |one, two| one + two)),
            (Self::Str(one), Self::Str(two)) => Ok(Self::Str(one.append(&two))),
            (Self::Arr(mut one), Self::Arr(two)) => {
                let depth = Self::Arr(Rc::clone(&two)).depth().saturating_sub(1);
                meter::reserve(size_of::<Self>() * two.len());
                meter::work(two.len());
                List::edit(&mut one, |items| items.extend(two.iter().cloned()), depth);
                Ok(Self::Arr(one))
            }
            (Self::Obj(mut one), Self::Obj(two)) => {
                let depth = Self::Obj(Rc::clone(&two)).depth().saturating_sub(1);
                meter::reserve(2 * size_of::<Self>() * two.len());
                meter::work(two.len());
                Dict::edit(&mut one, |map| map.extend(two.iter().map(|(k, v)| (k.clone(), v.clone()))), depth);
                Ok(Self::Obj(one))
            }
            (one, two) => Err(unfit(&one, &two, "added")),
        }
    }
}

impl Sub for Val {
    type Output = Valued;

    fn sub(self, other: Self) -> Valued {
        match (self, other) {
            (Self::Num(one), Self::Num(two)) => computed(one.compute(&two, i128::checked_sub, |one, two| one - two)),
            (Self::Arr(one), Self::Arr(two)) => {
                let mut gone = two.to_vec();
                sort(&mut gone);
                let kept = |value: &Self| {
                    meter::work(1);
                    gone.binary_search(value).is_err() || is_unequal_to_itself(value)
                };
                Ok(Self::list(List::into_items(one).into_iter().filter(kept).collect()))
            }
            (one, two) => Err(unfit(&one, &two, "subtracted")),
        }
    }
}

/// Such as `nan`.
fn is_unequal_to_itself(value: &Val) -> bool {
    super::order::compare(value, value, false).is_ne()
}

/// Sorts, and counts it.
pub(super) fn sort(items: &mut [Val]) {
    // The comparisons count themselves.
    items.sort();
}

impl Mul for Val {
    type Output = Valued;

    fn mul(self, other: Self) -> Valued {
        match (self, other) {
            (Self::Num(one), Self::Num(two)) => computed(one.compute(&two, i128::checked_mul, |one, two| one * two)),
            (Self::Str(text), Self::Num(times)) | (Self::Num(times), Self::Str(text)) => {
                let times = times.float();
                if times.is_nan() || times < 0.0 {
                    return Ok(Self::Null);
                }
                // Far too many are refused for want of room before anything is made.
                let times = times as usize;
                meter::reserve(text.len().saturating_mul(times));
                Ok(Self::text(text.repeat(times)))
            }
            (Self::Obj(one), Self::Obj(two)) => Ok(Self::Obj(merged(one, &two))),
            (one, two) => Err(unfit(&one, &two, "multiplied")),
        }
    }
}

/// Both objects, and in each key that both have the same again.
fn merged(mut one: Rc<Dict>, two: &Rc<Dict>) -> Rc<Dict> {
    for (key, value) in two.iter() {
        meter::term();
        let taken = Dict::edit(&mut one, |map| map.get_mut(key).map(std::mem::take), 0);
        let value = match (taken, value) {
            (Some(Val::Obj(old)), Val::Obj(new)) => Val::Obj(merged(old, new)),
            _ => value.clone(),
        };
        let depth = value.depth();
        Dict::edit(&mut one, |map| map.insert(key.clone(), value), depth);
    }
    one
}

impl Div for Val {
    type Output = Valued;

    fn div(self, other: Self) -> Valued {
        match (&self, &other) {
            (Self::Num(_), Self::Num(two)) if two.float() == 0.0 => {
                Err(unfit(&self, &other, "divided because the divisor is zero"))
            }
            (Self::Num(one), Self::Num(two)) => {
                // A quotient that is whole stays exact, others are floating-point numbers.
                if let (super::number::Num::Int(top), super::number::Num::Int(bottom)) = (one, two)
                    && top.checked_rem(*bottom) == Some(0)
                {
                    return computed(one.compute(two, i128::checked_div, |one, two| one / two));
                }
                Ok(Self::float(one.float() / two.float()))
            }
            (Self::Str(one), Self::Str(two)) => Ok(super::texts::split(one, two)),
            _ => Err(unfit(&self, &other, "divided")),
        }
    }
}

impl Rem for Val {
    type Output = Valued;

    fn rem(self, other: Self) -> Valued {
        let (Self::Num(one), Self::Num(two)) = (&self, &other) else {
            return Err(unfit(&self, &other, "divided (remainder)"));
        };
        if one.is_nan() || two.is_nan() {
            return Ok(Self::float(f64::NAN));
        }
        let zero = || unfit(&self, &other, "divided (remainder) because the divisor is zero");
        let whole = |one: i128, two: i128| if two == 0 { None } else { one.checked_rem(two).or(Some(0)) };
        match (one, two) {
            (super::number::Num::Int(one), super::number::Num::Int(two)) => {
                whole(*one, *two).map(Self::int).ok_or_else(zero)
            }
            // Both are cut to whole numbers.
            _ => whole(one.float() as i128, two.float() as i128).map(Self::int).ok_or_else(zero),
        }
    }
}

impl Neg for Val {
    type Output = Valued;

    fn neg(self) -> Valued {
        match self {
            Self::Num(number) => Ok(Self::Num(-&number)),
            other => Err(Error::str(format_args!("{} cannot be negated", Shown(&other)))),
        }
    }
}
