//! Items that are no JSON trees: a list of values whose places are known before the first item comes.
//!
//! What an item contributes is the same as that of the JSON object with these values, or it is left to that object:
//! nothing here refuses an item.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::exact::decimal_text;
use super::key::MARK;
use super::scalar::Scalar;
use super::spec::{Measure, Rule};
use super::table::add_part;
use super::tally::{Sample, Share};
use super::{Absorber, Aggregation};

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum<'a> {
    /// JSON's null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// The text of a decimal in canonical form: without trailing zeros, and zero has no sign.
    Decimal(Decimal),
    /// Any other text.
    Text(Cow<'a, str>),
}

/// For each measure, where the keys of its group and its fields are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places(Vec<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    keys: Vec<usize>,
    /// One for each measure of a row; otherwise just one. `None`: it needs no field.
    fields: Vec<Option<usize>>,
}

impl Aggregation {
    /// Finds the fields of all measures. `None` when there is a field that has no place: its items are refused.
    pub fn places(&self, place_of: impl Fn(&str) -> Option<usize>) -> Option<Places> {
        let find = |field: Option<&String>| match field {
            None => Some(None),
            Some(field) => place_of(field).map(Some),
        };
        let places = self.rules.iter().map(|(_, rule)| {
            let fields = match &rule.measure {
                Measure::Row(row) => row.iter().map(|(_, measure)| find(measure.field())).collect::<Option<_>>()?,
                measure => vec![find(measure.field())?],
            };
            Some(Place { keys: rule.keys.iter().map(|key| place_of(key)).collect::<Option<_>>()?, fields })
        });
        places.collect::<Option<_>>().map(Places)
    }
}

impl Absorber<'_> {
    /// Adds an item of which `datum` gives the value at a place. `false`: nothing was added, because a measure may not
    /// be able to use it; [`absorb`](Self::absorb) says why, or adds it.
    pub fn absorb_at<'d>(&mut self, places: &Places, datum: impl Fn(usize) -> &'d Datum<'d>) -> bool {
        let samples = self.rules.iter().zip(&places.0).map(|((_, rule), place)| rule.sample_of(place, &datum));
        let Some(samples) = samples.collect::<Option<Vec<_>>>() else { return false };
        self.add(samples);
        true
    }
}

impl Rule {
    fn sample_of<'d>(&self, place: &Place, datum: impl Fn(usize) -> &'d Datum<'d>) -> Option<Sample<'d>> {
        let group = match place.keys.as_slice() {
            [] => None,
            [only] if self.table.is_none() => Some(key(datum(*only))?),
            keys => {
                let mut composite = String::with_capacity(24);
                for place in keys {
                    add_part(&mut composite, &key(datum(*place))?);
                }
                Some(Cow::Owned(composite))
            }
        };
        let one = |measure: &Measure, field: &Option<usize>| match field {
            None => Some(Share::One),
            Some(place) => measure.share_of(datum(*place)),
        };
        let share = match (&self.measure, place.fields.as_slice()) {
            (Measure::Row(row), fields) => {
                let shares = row.iter().zip(fields).map(|((_, measure), field)| one(measure, field));
                Share::Row(shares.collect::<Option<_>>()?)
            }
            (measure, [field]) => one(measure, field)?,
            _ => return None,
        };
        Some(Sample { group, share })
    }
}

impl Measure {
    fn field(&self) -> Option<&String> {
        match self {
            Self::Count(field) => field.as_ref(),
            Self::Sum(field) | Self::Mean(field) | Self::Median(field) => Some(field),
            Self::Min(field) | Self::Max(field) | Self::Distinct(field) => Some(field),
            Self::Row(_) => None,
            Self::Top { field, .. } | Self::Quantiles { field, .. } => Some(field),
        }
    }

    fn share_of<'d>(&self, datum: &'d Datum<'d>) -> Option<Share<'d>> {
        if *datum == Datum::Null {
            return Some(Share::Nothing);
        }
        match self {
            Self::Count(_) => Some(Share::One),
            Self::Sum(_) | Self::Mean(_) | Self::Median(_) | Self::Quantiles { .. } => number(datum).map(Share::Number),
            Self::Min(_) | Self::Max(_) => scalar(datum).map(Share::Scalar),
            Self::Distinct(_) | Self::Top { .. } => key(datum).map(Share::Value),
            Self::Row(_) => None,
        }
    }
}

fn number(datum: &Datum<'_>) -> Option<Decimal> {
    match datum {
        Datum::Int(number) => Some((*number).into()),
        Datum::Decimal(number) => Some(*number),
        Datum::Text(text) => decimal_text(text),
        Datum::Null | Datum::Bool(_) => None,
    }
}

fn scalar<'d>(datum: &'d Datum<'d>) -> Option<Scalar<'d>> {
    match datum {
        Datum::Int(number) => Some(Scalar::Number((*number).into())),
        Datum::Decimal(number) => Some(Scalar::Number(*number)),
        Datum::Text(text) => Some(Scalar::of_text(&**text)),
        Datum::Null | Datum::Bool(_) => None,
    }
}

/// A text that begins with the mark of other keys is left to the item's object.
fn key<'d>(datum: &'d Datum<'d>) -> Option<Cow<'d, str>> {
    Some(match datum {
        Datum::Null => Cow::Borrowed("\u{1}null"),
        Datum::Bool(true) => Cow::Borrowed("\u{1}true"),
        Datum::Bool(false) => Cow::Borrowed("\u{1}false"),
        Datum::Int(number) => Cow::Owned(format!("{MARK}{number}")),
        Datum::Decimal(number) => Cow::Owned(number.to_string()),
        Datum::Text(text) if text.starts_with(MARK) => return None,
        Datum::Text(text) => Cow::Borrowed(text),
    })
}
