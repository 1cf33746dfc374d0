//! A table of groups: which rows are shown, in which order, and how.
//!
//! All of this is done when the parts have been merged: what is kept of each group is the same whatever is shown.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::exact::Number;
use super::key;

/// Which values of a measure a row may have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HavingSpec {
    /// Greater than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Value>,
    /// At least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Value>,
    /// Less than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<Value>,
    /// At most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Value>,
}

/// How the rows of a table are shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) having: Vec<Condition>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<usize>,
    pub(super) nested: bool,
}

/// What must hold of a measure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    measure: usize,
    /// How the measure may compare with the bound.
    admits: &'static [Ordering],
    bound: Rank,
}

/// A column by which rows are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    column: usize,
    greatest_first: bool,
}

impl Order {
    /// Reads `name`, or `-name`. `None`: there is no such column.
    pub(super) fn of(text: &str, columns: &[&str]) -> Option<Self> {
        let place = |name: &str| columns.iter().position(|column| *column == name);
        let plain = place(text).map(|column| Self { column, greatest_first: false });
        plain.or_else(|| place(text.strip_prefix('-')?).map(|column| Self { column, greatest_first: true }))
    }
}

impl Table {
    /// Reads what must hold of rows.
    ///
    /// # Errors
    ///
    /// What makes no sense.
    pub(super) fn conditions(
        having: Option<&BTreeMap<String, HavingSpec>>,
        measures: &[&str],
    ) -> Result<Vec<Condition>, String> {
        let mut conditions = Vec::new();
        for (name, spec) in having.into_iter().flatten() {
            let Some(measure) = measures.iter().position(|other| other == name) else {
                return Err(format!(
                    "`having` names `{name}`, which is not one of `measures`: {}",
                    measures.join(", ")
                ));
            };
            let bounds: [(&str, &Option<Value>, &[Ordering]); 4] = [
                ("above", &spec.above, &[Ordering::Greater]),
                ("at_least", &spec.at_least, &[Ordering::Greater, Ordering::Equal]),
                ("below", &spec.below, &[Ordering::Less]),
                ("at_most", &spec.at_most, &[Ordering::Less, Ordering::Equal]),
            ];
            let before = conditions.len();
            for (word, bound, admits) in bounds {
                let Some(bound) = bound else { continue };
                let bound = rank(bound).ok_or_else(|| {
                    format!("`having.{name}.{word}` is {bound}; write a number or a text, such as `\"1000.50\"`")
                })?;
                conditions.push(Condition { measure, admits, bound });
            }
            if conditions.len() == before {
                return Err(format!(
                    "`having.{name}` says nothing; write `{{ above = 0 }}`, or at_least, below, at_most"
                ));
            }
        }
        Ok(conditions)
    }

    /// The rows as people see them. Each has its keys and then its measures, under the names of the columns.
    pub(super) fn show(&self, keys: usize, columns: &[&String], mut rows: Vec<Vec<Value>>) -> Value {
        rows.retain(|cells| self.having.iter().all(|condition| condition.holds(&cells[keys..])));
        rows.sort_by_cached_key(|cells| self.sort_key(cells, keys));
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        if self.nested {
            return nested(rows, columns, keys);
        }
        rows.into_iter().map(|cells| object(columns, cells)).collect()
    }

    /// By the columns that are named, then by the keys, so that no two rows are equal.
    fn sort_key(&self, cells: &[Value], keys: usize) -> Vec<Ranked> {
        let named = self.order.iter().map(|order| (order.column, order.greatest_first));
        let all = named.chain((0..keys).map(|column| (column, false)));
        all.map(|(column, greatest_first)| Ranked { rank: rank(&cells[column]), greatest_first }).collect()
    }
}

impl Condition {
    /// What has no value satisfies nothing.
    fn holds(&self, measures: &[Value]) -> bool {
        measures
            .get(self.measure)
            .and_then(rank)
            .is_some_and(|rank| self.admits.contains(&compared(&rank, &self.bound)))
    }
}

/// A cell as rows are sorted by it: null comes last, whichever comes first.
#[derive(Debug, PartialEq, Eq)]
struct Ranked {
    rank: Option<Rank>,
    greatest_first: bool,
}

/// What a cell says: a number, also one that is longer than any of an item, or a text. Numbers come before texts, and of
/// equal ones the one in the form in which measures show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rank {
    number: Option<Number>,
    /// As it is written, unless that is how measures show the number.
    text: Option<String>,
}

impl Rank {
    fn of_text(text: String) -> Self {
        let number = Number::of_text(&text);
        let as_shown = number.as_ref().is_some_and(|number| number.to_string() == text);
        Self { number, text: (!as_shown).then_some(text) }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        compared(self, other).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.rank, &other.rank) {
            (Some(one), Some(two)) if self.greatest_first => two.cmp(one),
            (Some(one), Some(two)) => one.cmp(two),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        }
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As rows are sorted, but for numbers that are equal however they are written.
fn compared(one: &Rank, two: &Rank) -> Ordering {
    match (&one.number, &two.number) {
        (Some(one), Some(two)) => one.cmp(two),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.text.cmp(&two.text),
    }
}

/// The value of a cell; of an estimate, what it says.
fn rank(value: &Value) -> Option<Rank> {
    match value {
        Value::Null | Value::Array(_) => None,
        Value::String(text) => Some(Rank::of_text(text.clone())),
        Value::Object(about) => about.get("about").and_then(rank),
        other => Some(Rank::of_text(other.to_string())),
    }
}

fn object(columns: &[&String], cells: Vec<Value>) -> Value {
    Value::Object(columns.iter().map(|column| (*column).clone()).zip(cells).collect())
}

/// One level of objects for each key, in the order of the rows.
fn nested(rows: Vec<Vec<Value>>, columns: &[&String], keys: usize) -> Value {
    if keys == 0 {
        return rows.into_iter().next().map_or(Value::Null, |cells| object(columns, cells));
    }
    let mut order: Vec<String> = Vec::new();
    let mut by_key: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
    for mut cells in rows {
        let value = cells.remove(0);
        let key = key::of(&value).map_or_else(String::new, std::borrow::Cow::into_owned);
        if !by_key.contains_key(&key) {
            order.push(key.clone());
        }
        by_key.entry(key).or_default().push(cells);
    }
    let names = key::names(order.iter()).into_iter().map(std::borrow::Cow::into_owned).collect::<Vec<_>>();
    let below = order.iter().map(|key| nested(by_key.remove(key).unwrap_or_default(), &columns[1..], keys - 1));
    Value::Object(names.into_iter().zip(below).collect::<Map<_, _>>())
}

/// Adds a key to those of a group: its length, then itself, so that no two lists of keys are written alike.
pub(super) fn add_part(composite: &mut String, key: &str) {
    composite.push_str(&key.len().to_string());
    composite.push(':');
    composite.push_str(key);
}

/// The keys of a group.
pub(super) fn parts(composite: &str) -> impl Iterator<Item = &str> {
    let mut rest = composite;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_once(':')?;
        let (part, more) = after.split_at_checked(length.parse().ok()?)?;
        rest = more;
        Some(part)
    })
}

/// An estimate, which says that it is one.
pub(super) fn about(value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Null => Value::Null,
        value => json!({ "about": value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_a_group_are_read_back_whatever_is_in_them() {
        for keys in [vec![""], vec!["a", "b"], vec!["1:a", "2:", ":"], vec!["ü", "\u{1}null", ""]] {
            let mut composite = String::new();
            keys.iter().for_each(|key| add_part(&mut composite, key));
            assert_eq!(parts(&composite).collect::<Vec<_>>(), keys, "{composite}");
        }
    }
}
