//! What is computed over a batch's items, as `[batch.NAME.aggregate]` spells it, and whether it makes sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::table::{HavingSpec, Order, Table};
use crate::in_order::InOrder;
use crate::one_or_many::OneOrMany;

/// What is computed over the items, as `aggregate.NAME` spells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AggregateSpec {
    /// `"count"`.
    Word(AggregateWord),
    /// A table such as `{ sum = "amount" }` or `{ group = "Country", sum = "amount" }`.
    Measure(Box<MeasureSpec>),
}

/// The measures that need no field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregateWord {
    /// How many items.
    Count,
}

/// One measure over one field, for all items or for each group of them; or several measures for each group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureSpec {
    /// The field whose values make the groups; with `measures` also several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<OneOrMany>,
    /// Several measures for each group, by name: the result is a table with a row for each group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measures: Option<InOrder<AggregateSpec>>,
    /// Which rows are shown, by measure. Needs `measures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub having: Option<BTreeMap<String, HavingSpec>>,
    /// The keys or measures by which the rows are sorted; with `-` before it the greatest first. By the keys by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<OneOrMany>,
    /// How many rows are shown at most. Needs `measures`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether the rows are objects within objects, one level for each key, instead of a list. Needs `measures`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
    /// How many items have this field (`true`: how many items).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::maybe")]
    pub count: Option<Value>,
    /// The exact decimal sum of a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
    /// The least value of a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// The greatest value of a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// The exact mean of a field, rounded only when shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<String>,
    /// The exact median of a field; with very many different values an estimate that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median: Option<String>,
    /// How many distinct values a field has, exactly; with very many an estimate that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<String>,
    /// The most frequent values of a field; with `measures`, the measure by which the greatest rows are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<String>,
    /// How many of them; 10 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// Quantiles of a field from a sketch of bounded error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<String>,
    /// Which ones, 0 to 1; 0.5, 0.9 and 0.99 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<f64>>,
}

/// How many values `top` shows unless `k` says so.
pub const TOP_K_DEFAULT: usize = 10;

/// The most values that `top` shows.
pub const TOP_K_MAX: usize = 1_000;

/// The most rows that a table shows.
pub const ROWS_MAX: usize = 100_000;

/// The most keys of a group.
pub const KEYS_MAX: usize = 8;

/// The quantiles that are shown unless `at` says so.
pub const QUANTILES_DEFAULT: [f64; 3] = [0.5, 0.9, 0.99];

/// Why an `aggregate` makes no sense, and what would.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`aggregate.{name}`: {problem}")]
pub struct BadAggregate {
    /// Its name.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// One measure after its validation.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Measure {
    Count(Option<String>),
    Sum(String),
    Min(String),
    Max(String),
    Mean(String),
    Median(String),
    Distinct(String),
    Top {
        field: String,
        k: usize,
    },
    Quantiles {
        field: String,
        at: Vec<f64>,
    },
    /// Several, each with its name.
    Row(Vec<(String, Measure)>),
}

/// A measure, for all items or for each group of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// The fields that make the groups.
    pub(super) keys: Vec<String>,
    pub(super) measure: Measure,
    /// How rows are shown, where there are several measures.
    pub(super) table: Option<Table>,
}

impl AggregateSpec {
    /// Checks that there is exactly one measure and that its options belong to it.
    pub(super) fn rule(&self) -> Result<Rule, String> {
        match self {
            Self::Word(AggregateWord::Count) => {
                Ok(Rule { keys: Vec::new(), measure: Measure::Count(None), table: None })
            }
            Self::Measure(spec) => {
                if let Some(measures) = &spec.measures {
                    return spec.table(measures);
                }
                spec.check_options()?;
                let keys = spec.group.as_ref().map_or(&[] as &[String], OneOrMany::as_slice).to_vec();
                if keys.len() > 1 {
                    return Err("`group` has several keys, which `measures` is for; write `{ group = [\"a\", \"b\"], measures = { n = \"count\" } }`".to_owned());
                }
                Ok(Rule { keys, measure: spec.measure()?, table: None })
            }
        }
    }
}

impl MeasureSpec {
    fn measure(&self) -> Result<Measure, String> {
        let field = String::clone;
        let mut found = Vec::new();
        if let Some(count) = &self.count {
            found.push(("count", Measure::Count(counted_field(count)?)));
        }
        found.extend(self.sum.as_ref().map(|name| ("sum", Measure::Sum(field(name)))));
        found.extend(self.min.as_ref().map(|name| ("min", Measure::Min(field(name)))));
        found.extend(self.max.as_ref().map(|name| ("max", Measure::Max(field(name)))));
        found.extend(self.mean.as_ref().map(|name| ("mean", Measure::Mean(field(name)))));
        found.extend(self.median.as_ref().map(|name| ("median", Measure::Median(field(name)))));
        found.extend(self.distinct.as_ref().map(|name| ("distinct", Measure::Distinct(field(name)))));
        if let Some(name) = &self.top {
            found.push(("top", Measure::Top { field: field(name), k: self.k.unwrap_or(TOP_K_DEFAULT) }));
        }
        if let Some(name) = &self.quantiles {
            let at = self.at.clone().unwrap_or_else(|| QUANTILES_DEFAULT.to_vec());
            found.push(("quantiles", Measure::Quantiles { field: field(name), at }));
        }
        only_one(found)
    }

    /// A table: several keys, several measures, and how its rows are shown.
    fn table(&self, measures: &InOrder<AggregateSpec>) -> Result<Rule, String> {
        let alone =
            Self { group: None, measures: None, having: None, sort: None, limit: None, nested: false, ..self.clone() };
        if (Self { top: None, k: None, ..alone }) != Self::default() {
            return Err("it has `measures` and another measure beside them; put that among them".to_owned());
        }
        let keys = self.group.as_ref().map_or(&[] as &[String], OneOrMany::as_slice).to_vec();
        if keys.is_empty() {
            return Err(
                "`measures` are for each group; write `group = \"FIELD\"` or `group = [\"a\", \"b\"]` beside them"
                    .to_owned(),
            );
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("`group` has {} keys; at most {KEYS_MAX} make a group", keys.len()));
        }
        if let Some(twice) = keys.iter().enumerate().find(|(at, key)| keys[..*at].contains(key)) {
            return Err(format!("`group` names `{}` twice; take one out", twice.1));
        }
        let mut row = Vec::with_capacity(measures.0.len());
        for (name, spec) in &measures.0 {
            row.push((name.clone(), measure_of(name, spec, &keys)?));
        }
        if row.is_empty() {
            return Err("`measures` is empty; write some, such as `measures = { n = \"count\" }`".to_owned());
        }
        if let ([(name, _)], true) = (row.as_slice(), self.nested)
            && matches!(name.as_str(), "about" | "more_than")
        {
            return Err(format!(
                "`measures.{name}`: alone in a `nested` table it would look like an estimate, `{{\"{name}\": …}}`; give it another name"
            ));
        }
        let columns: Vec<&str> = keys.iter().chain(row.iter().map(|(name, _)| name)).map(String::as_str).collect();
        let table = Table {
            having: Table::conditions(self.having.as_ref(), &columns[keys.len()..])?,
            order: self.order(&row, &columns)?,
            limit: self.shown_rows()?,
            nested: self.nested,
        };
        Ok(Rule { keys, measure: Measure::Row(row), table: Some(table) })
    }

    fn order(&self, row: &[(String, Measure)], columns: &[&str]) -> Result<Vec<Order>, String> {
        if let Some(top) = &self.top {
            if self.sort.is_some() || self.limit.is_some() {
                return Err(
                    "`top` says how rows are sorted and how many are shown; take out `sort` and `limit`".to_owned()
                );
            }
            let known = row.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
            return Order::of(&format!("-{top}"), columns)
                .filter(|_| known.contains(&top.as_str()))
                .map(|order| vec![order])
                .ok_or_else(|| {
                    format!("`top` names `{top}`; with `measures` it must be one of them: {}", known.join(", "))
                });
        }
        let sort = self.sort.as_ref().map_or(&[] as &[String], OneOrMany::as_slice);
        let order = sort.iter().map(|column| {
            Order::of(column, columns).ok_or_else(|| {
                format!(
                    "`sort` names `{column}`; write one of {}, with `-` before it for the greatest first",
                    columns.join(", ")
                )
            })
        });
        order.collect()
    }

    fn shown_rows(&self) -> Result<Option<usize>, String> {
        let (name, limit) = match (&self.top, self.k) {
            (None, Some(_)) => return Err("`k` belongs to `top`; write `limit = 10`".to_owned()),
            (Some(_), k) => ("k", Some(k.unwrap_or(TOP_K_DEFAULT))),
            (None, None) => ("limit", self.limit),
        };
        match limit {
            Some(limit) if !(1..=ROWS_MAX).contains(&limit) => {
                Err(format!("`{name}` is {limit}; it must be 1 to {ROWS_MAX}"))
            }
            limit => Ok(limit),
        }
    }

    fn check_options(&self) -> Result<(), String> {
        let for_tables = [
            ("having", self.having.is_some()),
            ("sort", self.sort.is_some()),
            ("limit", self.limit.is_some()),
            ("nested", self.nested),
        ];
        if let Some((word, _)) = for_tables.iter().find(|(_, given)| *given) {
            return Err(format!(
                "`{word}` belongs to `measures`; write `{{ group = \"FIELD\", measures = {{ n = \"count\" }}, {word} = … }}`"
            ));
        }
        match (&self.top, self.k) {
            (None, Some(_)) => return Err("`k` belongs to `top`; write `{ top = \"FIELD\", k = 10 }`".to_owned()),
            (Some(_), Some(k)) if !(1..=TOP_K_MAX).contains(&k) => {
                return Err(format!("`k` is {k}; it must be 1 to {TOP_K_MAX}"));
            }
            _ => {}
        }
        let Some(at) = &self.at else { return Ok(()) };
        if self.quantiles.is_none() {
            return Err("`at` belongs to `quantiles`; write `{ quantiles = \"FIELD\", at = [0.5, 0.99] }`".to_owned());
        }
        if at.is_empty() {
            return Err("`at` names no quantile; write some from 0 to 1, such as `[0.5, 0.99]`".to_owned());
        }
        match at.iter().find(|quantile| !(0.0..=1.0).contains(*quantile)) {
            Some(bad) => Err(format!("the quantile {bad} is not from 0 to 1; the 99th percentile is 0.99")),
            None => Ok(()),
        }
    }
}

/// One measure of a row.
fn measure_of(name: &str, spec: &AggregateSpec, keys: &[String]) -> Result<Measure, String> {
    let wrong = |problem: &str| Err(format!("`measures.{name}`: {problem}"));
    if name.is_empty() || name.starts_with('-') {
        return wrong("a name is not empty and does not begin with `-`, which `sort` would take for a sign");
    }
    if keys.iter().any(|key| key == name) {
        return wrong("it has the name of a key of `group`; give it another one");
    }
    let rule = spec.rule().map_err(|problem| format!("`measures.{name}`: {problem}"))?;
    match rule.measure {
        _ if !rule.keys.is_empty() => wrong("it has a `group` of its own; the groups are those of the table"),
        Measure::Top { .. } | Measure::Quantiles { .. } | Measure::Row(_) => {
            wrong("a measure of a row has one value: count, sum, min, max, mean, median or distinct")
        }
        measure => Ok(measure),
    }
}

fn counted_field(count: &Value) -> Result<Option<String>, String> {
    match count {
        Value::Bool(true) => Ok(None),
        Value::String(field) => Ok(Some(field.clone())),
        other => Err(format!("`count` is {other}; write `true` for all items, or the name of a field")),
    }
}

fn only_one(mut found: Vec<(&'static str, Measure)>) -> Result<Measure, String> {
    let names: Vec<_> = found.iter().map(|(name, _)| format!("`{name}`")).collect();
    match found.pop() {
        Some((_, measure)) if found.is_empty() => Ok(measure),
        Some(_) => Err(format!(
            "it has {} measures, {}; one name holds one measure, so give each its own name",
            names.len(),
            names.join(" and ")
        )),
        None => Err(
            "it has no measure; add one of count, sum, min, max, mean, median, distinct, top, quantiles, or `measures`"
                .to_owned(),
        ),
    }
}
