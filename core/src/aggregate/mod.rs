//! How the chunks' partial results are merged.
//!
//! Every measure is mergeable and order-independent: any partition of the items, merged in any order, gives bit for bit
//! the result of a single pass. Sums and means are exact decimals of any size; only `quantiles` are approximate, within
//! one percent of the value.
//!
//! [`Aggregation::compile`] checks the requested measures, [`Aggregation::absorber`] adds an item to a [`Partial`],
//! [`Merger`] merges parts, and [`Aggregation::finish`] makes the result that people see:
//!
//! | measure | result |
//! |---|---|
//! | `"count"`, `count` | a number; with a field's name, of the items in which it is not null |
//! | `sum` | a decimal as text, such as `"144617.75"`, so that no reader rounds it |
//! | `mean` | likewise, rounded half away from zero to 10 decimals; `null` of nothing |
//! | `min`, `max` | a text, as it was written; numbers (also as text) by value and before other texts; `null` of nothing |
//! | `median` | a decimal as text, not rounded; of an even number of values the mean of the two in the middle, which may have one digit more; `null` of nothing |
//! | `distinct` | a number |
//! | `top` | a list of `{"value": "…", "count": 3}`, the most frequent first, equals by value |
//! | `quantiles` | an object such as `{"0.5": "12.34"}`, four significant digits; `null` of nothing |
//! | any with `group` | an object with the measure of each group, sorted by the group's value |
//! | `group` with `measures` | a list of rows, each an object with the group's keys and its measures; or objects in objects |
//!
//! `top` and `group` keep at most [`VALUES_MAX`] different values, in [`ROOM_BYTES_MAX`] bytes of memory with all that is
//! kept for them; with more the result is `{"more_than": 100000}` instead of a wrong number. `distinct` and `median` are
//! exact up to as many different values, of one group up to [`CELL_VALUES_MAX`], and `distinct` up to
//! [`VALUES_BYTES_MAX`] bytes of text, of one group [`CELL_BYTES_MAX`]; with more they are estimates within some percent,
//! which say so: `{"about": 123000}`.
//!
//! Null is left out, as in SQL (as a group it is named `null`). Values of different types are different: null and the
//! text `null`, 1 and the text `1`. Where both occur in one result, the text is named in quotes, `"null"`; so is a group that is alone and called `about` or `more_than`. A field that is missing, or of a type that the measure
//! cannot use, is a [`FieldError`]: the item is set aside and not counted anywhere.

mod datum;
mod distinct;
mod exact;
mod key;
mod median;
mod room;
mod scalar;
mod sketch;
mod spec;
mod table;
mod tally;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use datum::{Datum, Places};
use distinct::Distinct;
use exact::Exact;
pub use exact::{Number, decimal, decimal_text};
use median::Median;
use room::Room;
pub use room::{CELL_BYTES_MAX, CELL_VALUES_MAX, ROOM_BYTES_MAX, VALUES_BYTES_MAX, VALUES_MAX};
use scalar::Scalar;
pub use spec::{
    AggregateSpec, AggregateWord, BadAggregate, KEYS_MAX, MeasureSpec, QUANTILES_DEFAULT, ROWS_MAX, TOP_K_DEFAULT,
    TOP_K_MAX,
};
use spec::{Measure, Rule};
pub use table::HavingSpec;
use table::Table;
use tally::{Bounded, Sample, Share, Tally};

/// One chunk's share of all measures of a batch, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partial(BTreeMap<String, Tally>);

/// Two partial results that do not come from the same definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two partial results of `aggregate.{name}` hold different measures: they do not come from the same definition")]
pub struct MergeError {
    /// Which measure.
    pub name: String,
}

/// Why an item cannot be aggregated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// It does not have the field.
    #[error(
        "the item has no field `{field}`, which `aggregate.{name}` needs; an item without a value must have null there"
    )]
    Missing {
        /// The measure.
        name: String,
        /// The field.
        field: String,
    },
    /// The field holds a value that the measure cannot use.
    #[error("field `{field}` is {found}; `aggregate.{name}` needs {expected}")]
    Unfit {
        /// The measure.
        name: String,
        /// The field.
        field: String,
        /// Its value, shortened.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl Partial {
    /// Adds another part. Merging with a default (empty) one changes nothing. For many parts use a [`Merger`], which
    /// does not recount all values for each.
    ///
    /// # Errors
    ///
    /// When the two do not come from the same definition; then some of it may already have been added.
    pub fn merge(&mut self, other: Self) -> Result<(), MergeError> {
        let mut merger = Merger::from(std::mem::take(self));
        let merged = merger.merge(other);
        *self = merger.finish();
        merged
    }

    /// Returns the bytes of memory that its values are charged for. They take no more, but may take less: what became an
    /// estimate is still charged for the values that it had.
    pub fn value_bytes(&self) -> u64 {
        self.0.values().map(|tally| tally.room().bytes).sum()
    }
}

/// Merges many parts into one, at a cost that depends only on each part: it keeps track of the room that the values
/// take.
#[derive(Debug, Clone, Default)]
pub struct Merger(BTreeMap<String, (Tally, Room)>);

impl From<Partial> for Merger {
    fn from(partial: Partial) -> Self {
        let with_room = |(name, tally): (String, Tally)| {
            let room = tally.room();
            (name, (tally, room))
        };
        Self(partial.0.into_iter().map(with_room).collect())
    }
}

impl Merger {
    /// Adds a part.
    ///
    /// # Errors
    ///
    /// When it does not come from the same definition as those before; then some of it may already have been added.
    pub fn merge(&mut self, part: Partial) -> Result<(), MergeError> {
        for (name, tally) in part.0 {
            let Some((mine, room)) = self.0.get_mut(&name) else {
                let room = tally.room();
                self.0.insert(name, (tally, room));
                continue;
            };
            let grown = mine.merge(tally).map_err(|_| MergeError { name })?;
            *room = room.plus(grown);
            if room.over() {
                mine.give_up();
                *room = Room::default();
            }
        }
        Ok(())
    }

    /// All parts together.
    pub fn finish(self) -> Partial {
        Partial(self.0.into_iter().map(|(name, (tally, _))| (name, tally)).collect())
    }
}

/// The measures of a batch, checked and ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    rules: Vec<(String, Rule)>,
}

/// A partial result in the making: it keeps track of how much room its values take.
#[derive(Debug, Clone, PartialEq)]
pub struct Absorber<'a> {
    rules: &'a [(String, Rule)],
    tallies: Vec<(Tally, Room)>,
}

impl Aggregation {
    /// Checks the measures of a definition.
    ///
    /// # Errors
    ///
    /// The first measure that makes no sense, with what would.
    pub fn compile(specs: &BTreeMap<String, AggregateSpec>) -> Result<Self, BadAggregate> {
        let rules = specs.iter().map(|(name, spec)| match spec.rule() {
            Ok(rule) => Ok((name.clone(), rule)),
            Err(problem) => Err(BadAggregate { name: name.clone(), problem }),
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Begins a partial result.
    pub fn absorber(&self) -> Absorber<'_> {
        let with_room = |tally: Tally| {
            let room = tally.room();
            (tally, room)
        };
        let tallies = self.rules.iter().map(|(_, rule)| with_room(rule.empty())).collect();
        Absorber { rules: &self.rules, tallies }
    }

    /// Returns the result that people see. A measure that is in no part has the result of no items.
    pub fn finish(&self, partial: &Partial) -> Value {
        let shown = self.rules.iter().map(|(name, rule)| {
            let value = match partial.0.get(name) {
                Some(tally) => rule.show(tally),
                None => rule.show(&rule.empty()),
            };
            (name.clone(), value)
        });
        Value::Object(shown.collect())
    }
}

impl Absorber<'_> {
    /// Adds one item to all measures, or to none when one of them cannot use it.
    ///
    /// # Errors
    ///
    /// When a field is missing or unfit.
    pub fn absorb(&mut self, item: &Value) -> Result<(), FieldError> {
        let samples =
            self.rules.iter().map(|(name, rule)| rule.sample(name, item)).collect::<Result<Vec<_>, FieldError>>()?;
        self.add(samples);
        Ok(())
    }

    fn add(&mut self, samples: Vec<Sample<'_>>) {
        for (((_, rule), (tally, room)), sample) in self.rules.iter().zip(&mut self.tallies).zip(samples) {
            // A rule's samples always fit its own tally.
            let Ok(more) = tally.add(sample, &|| rule.measure.empty(false)) else { continue };
            *room = room.plus(more);
            if room.over() {
                tally.give_up();
                *room = Room::default();
            }
        }
    }

    /// What has been absorbed.
    pub fn partial(self) -> Partial {
        let names = self.rules.iter().map(|(name, _)| name.clone());
        Partial(names.zip(self.tallies.into_iter().map(|(tally, _)| tally)).collect())
    }
}

impl Rule {
    fn empty(&self) -> Tally {
        if self.keys.is_empty() { self.measure.empty(true) } else { Tally::Groups(Bounded::default()) }
    }

    fn sample<'a>(&self, name: &str, item: &'a Value) -> Result<Sample<'a>, FieldError> {
        let share = self.measure.share(name, item)?;
        let key = |field: &String| key_of(name, field, required(name, field, item)?);
        let group = match self.keys.as_slice() {
            [] => None,
            [field] if self.table.is_none() => Some(key(field)?),
            fields => {
                let mut composite = String::new();
                for field in fields {
                    table::add_part(&mut composite, &key(field)?);
                }
                Some(composite.into())
            }
        };
        Ok(Sample { group, share })
    }

    fn show(&self, tally: &Tally) -> Value {
        match tally {
            Tally::Groups(Bounded::Within(groups)) => {
                if let (Some(table), Measure::Row(row)) = (&self.table, &self.measure) {
                    return self.rows(table, row, groups);
                }
                let mut names: Vec<String> = key::names(groups.keys()).into_iter().map(Cow::into_owned).collect();
                // A group that is alone must not look like an estimate.
                if let [only @ ("about" | "more_than")] = names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    names = vec![Value::from(only).to_string()];
                }
                Value::Object(
                    names.into_iter().zip(groups.values().map(|tally| self.measure.show(tally))).collect::<Map<_, _>>(),
                )
            }
            tally => self.measure.show(tally),
        }
    }
}

impl Rule {
    /// A table of groups, each with its keys and its measures.
    fn rows(&self, table: &Table, row: &[(String, Measure)], groups: &BTreeMap<String, Tally>) -> Value {
        let cells = groups.iter().map(|(composite, tally)| {
            let measures = row.iter().enumerate().map(|(place, (_, measure))| match tally {
                Tally::Row(tallies) => tallies.get(place).map_or(Value::Null, |tally| measure.show(tally)),
                _ => Value::Null,
            });
            table::parts(composite).map(key::value).chain(measures).collect::<Vec<Value>>()
        });
        let columns: Vec<&String> = self.keys.iter().chain(row.iter().map(|(name, _)| name)).collect();
        table.show(self.keys.len(), &columns, cells.collect())
    }
}

impl Measure {
    /// `whole`: of all items, and not of one group.
    fn empty(&self, whole: bool) -> Tally {
        match self {
            Self::Count(_) => Tally::Count(0),
            Self::Sum(_) => Tally::Sum(Exact::default()),
            Self::Min(_) => Tally::Min(None),
            Self::Max(_) => Tally::Max(None),
            Self::Mean(_) => Tally::Mean { sum: Exact::default(), count: 0 },
            Self::Distinct(_) => Tally::Distinct(Distinct::new(whole)),
            Self::Median(_) => Tally::Median(Median::new(whole)),
            Self::Row(measures) => Tally::Row(measures.iter().map(|(_, measure)| measure.empty(whole)).collect()),
            Self::Top { .. } => Tally::Values(Bounded::default()),
            Self::Quantiles { .. } => Tally::Quantiles(sketch::Sketch::default()),
        }
    }

    fn share<'a>(&self, name: &str, item: &'a Value) -> Result<Share<'a>, FieldError> {
        match self {
            Self::Count(None) => Ok(Share::One),
            Self::Count(Some(field)) => {
                let counted = find(item, field).is_some_and(|value| !value.is_null());
                Ok(if counted { Share::One } else { Share::Nothing })
            }
            Self::Sum(field) | Self::Mean(field) | Self::Median(field) | Self::Quantiles { field, .. } => {
                let value = required(name, field, item)?;
                if value.is_null() {
                    return Ok(Share::Nothing);
                }
                let number =
                    decimal(value).ok_or_else(|| unfit(name, field, value, "a number of at most 28 digits"))?;
                Ok(Share::Number(number))
            }
            Self::Min(field) | Self::Max(field) => {
                let value = required(name, field, item)?;
                Ok(match value {
                    Value::Null => Share::Nothing,
                    Value::String(text) => Share::Scalar(Scalar::of_text(text)),
                    Value::Number(plain) => Share::Scalar(
                        decimal(value).map_or_else(|| Scalar::Text(plain.to_string().into()), Scalar::Number),
                    ),
                    Value::Bool(truth) => Share::Scalar(Scalar::Text(if *truth { "true" } else { "false" }.into())),
                    other => return Err(unfit(name, field, other, GROUPABLE)),
                })
            }
            Self::Row(measures) => {
                let share =
                    |(inner, measure): &'_ (String, Self)| measure.share(&format!("{name}.measures.{inner}"), item);
                measures.iter().map(share).collect::<Result<_, _>>().map(Share::Row)
            }
            Self::Distinct(field) | Self::Top { field, .. } => {
                let value = required(name, field, item)?;
                if value.is_null() {
                    return Ok(Share::Nothing);
                }
                Ok(Share::Value(key_of(name, field, value)?))
            }
        }
    }

    fn show(&self, tally: &Tally) -> Value {
        match (self, tally) {
            (_, Tally::Count(count)) => json!(count),
            (_, Tally::Sum(sum)) => json!(sum),
            (_, Tally::Min(scalar) | Tally::Max(scalar)) => {
                scalar.as_ref().map_or(Value::Null, |scalar| json!(scalar.shown()))
            }
            (_, Tally::Mean { count: 0, .. }) => Value::Null,
            (_, Tally::Mean { sum, count }) => json!(sum.mean(*count)),
            (_, Tally::Values(Bounded::Over) | Tally::Groups(Bounded::Over)) => json!({ "more_than": VALUES_MAX }),
            (Self::Top { k, .. }, Tally::Values(Bounded::Within(values))) => most_frequent(values, *k),
            (_, Tally::Values(Bounded::Within(values))) => json!(values.len()),
            (Self::Quantiles { at, .. }, Tally::Quantiles(sketch)) => {
                Value::Object(at.iter().map(|at| (at.to_string(), four_digits(sketch.quantile(*at)))).collect())
            }
            (_, Tally::Distinct(distinct)) => match distinct.count() {
                (count, true) => json!(count),
                (count, false) => table::about(count),
            },
            (_, Tally::Median(median)) => match median.value() {
                Ok(value) => json!(value),
                Err(value) => table::about(four_digits(value)),
            },
            (_, Tally::Quantiles(_) | Tally::Groups(_) | Tally::Row(_)) => Value::Null,
        }
    }
}

fn most_frequent(values: &BTreeMap<String, u64>, k: usize) -> Value {
    let mut ranked: Vec<_> = key::names(values.keys()).into_iter().zip(values.values()).collect();
    ranked.sort_by(|(value, count), (other, more)| more.cmp(count).then(value.cmp(other)));
    ranked.into_iter().take(k).map(|(value, count)| json!({ "value": value, "count": count })).collect()
}

/// The sketch is accurate to two digits; four keep neighbours apart.
fn four_digits(value: Option<f64>) -> Value {
    let Some(value) = value else { return Value::Null };
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    json!(rounded.to_string())
}

/// Finds a field by its name, or by its path: `customer.country`.
fn find<'a>(item: &'a Value, field: &str) -> Option<&'a Value> {
    item.get(field).or_else(|| {
        let mut found = item;
        for step in field.split('.') {
            found = found.get(step)?;
        }
        Some(found)
    })
}

fn required<'a>(name: &str, field: &str, item: &'a Value) -> Result<&'a Value, FieldError> {
    find(item, field).ok_or_else(|| FieldError::Missing { name: name.to_owned(), field: field.to_owned() })
}

/// What can be compared, counted and grouped.
const GROUPABLE: &str = "a text, a number or a truth value";

/// The key of a value for counting and grouping.
fn key_of<'a>(name: &str, field: &str, value: &'a Value) -> Result<Cow<'a, str>, FieldError> {
    key::of(value).ok_or_else(|| unfit(name, field, value, GROUPABLE))
}

fn unfit(name: &str, field: &str, value: &Value, expected: &'static str) -> FieldError {
    let found = match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            format!("`{}…`", text.chars().take(60).collect::<String>())
        }
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    FieldError::Unfit { name: name.to_owned(), field: field.to_owned(), found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(aggregation: &Aggregation, numbers: impl Iterator<Item = u64>) -> Partial {
        let mut absorber = aggregation.absorber();
        for number in numbers {
            absorber.absorb(&json!({ "a": format!("{}", number % 97), "b": number % 13 })).expect("it fits");
        }
        absorber.partial()
    }

    #[test]
    fn the_room_that_a_merger_keeps_is_what_a_count_of_all_values_finds() {
        let specs = json!({ "d": { "distinct": "a" }, "t": { "top": "b" }, "g": { "group": "a", "distinct": "b" },
            "q": { "quantiles": "b" }, "t2": { "group": "a", "measures": { "s": { "sum": "b" }, "m": { "median": "b" }, "n": "count" } },
            "gq": { "group": "b", "quantiles": "a" } });
        let aggregation = Aggregation::compile(&serde_json::from_value(specs).expect("specs")).expect("compiles");
        let (mut merger, mut folded) = (Merger::default(), Partial::default());
        for chunk in 0..40_u64 {
            let one = part(&aggregation, (0..chunk).map(|item| item * 31 + chunk * 7));
            merger.merge(one.clone()).expect("alike");
            folded.merge(one).expect("alike");
            for (name, (tally, room)) in &merger.0 {
                assert_eq!(*room, tally.room(), "{name} after chunk {chunk}");
            }
        }
        assert_eq!(merger.finish(), folded);
    }
}
