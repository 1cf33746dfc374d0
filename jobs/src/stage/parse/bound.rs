//! The bounds that a parsed value must respect.

use std::cmp::Ordering;
use std::fmt;

use gristmill_core::definition::{ParseRule, ParseType};

use super::Parsed;

/// One bound.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    side: Side,
    value: Parsed,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Bound {
    /// Returns the bounds of a rule. `read` parses a bound's text as the rule's own type.
    pub(super) fn of(rule: &ParseRule, read: impl Fn(&str) -> Option<Parsed>) -> Result<Vec<Self>, String> {
        let written = [
            (Side::Above, &rule.above),
            (Side::AtLeast, &rule.at_least),
            (Side::Below, &rule.below),
            (Side::AtMost, &rule.at_most),
        ];
        let mut bounds = Vec::new();
        for (side, text) in written.into_iter().filter_map(|(side, text)| text.as_ref().map(|text| (side, text))) {
            if matches!(rule.kind, ParseType::Text | ParseType::Boolean) {
                return Err(format!(
                    "`{}` is for numbers and dates; texts and truth values have no order here",
                    side.key()
                ));
            }
            let value = read(text)
                .ok_or_else(|| format!("`{}` is `{text}`, which is not a value of the field's own type", side.key()))?;
            bounds.push(Self { side, value, text: text.clone() });
        }
        let lower = bounds.iter().find(|bound| matches!(bound.side, Side::Above | Side::AtLeast));
        let upper = bounds.iter().find(|bound| matches!(bound.side, Side::Below | Side::AtMost));
        match (lower, upper) {
            (Some(lower), Some(upper)) if !lower.leaves_room_to(upper) => {
                Err(format!("no value is both {lower} and {upper}"))
            }
            _ => Ok(bounds),
        }
    }

    pub(super) fn admits(&self, value: &Parsed) -> bool {
        let Some(order) = compare(value, &self.value) else { return false };
        match self.side {
            Side::Above => order == Ordering::Greater,
            Side::AtLeast => order != Ordering::Less,
            Side::Below => order == Ordering::Less,
            Side::AtMost => order != Ordering::Greater,
        }
    }

    fn leaves_room_to(&self, upper: &Self) -> bool {
        match compare(&self.value, &upper.value) {
            Some(Ordering::Less) => true,
            Some(Ordering::Equal) => self.side == Side::AtLeast && upper.side == Side::AtMost,
            _ => false,
        }
    }
}

impl Side {
    fn key(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::AtLeast => "at_least",
            Self::Below => "below",
            Self::AtMost => "at_most",
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.side.key().replace('_', " "), self.text)
    }
}

/// Values of the same type; others have no order.
fn compare(one: &Parsed, two: &Parsed) -> Option<Ordering> {
    match (one, two) {
        (Parsed::Integer(one), Parsed::Integer(two)) => Some(one.cmp(two)),
        (Parsed::Decimal(one), Parsed::Decimal(two)) => Some(one.cmp(two)),
        (Parsed::Date(one), Parsed::Date(two)) => Some(one.cmp(two)),
        (Parsed::Instant(one), Parsed::Instant(two)) => Some(one.cmp(two)),
        _ => None,
    }
}
