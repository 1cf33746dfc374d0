//! What is computed over a batch's items, as `[batch.NAME.aggregate]` spells it, and whether it makes sense.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// One measure over one field, for all items or for each group of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureSpec {
    /// The field whose values make the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
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
    /// How many distinct values a field has, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<String>,
    /// The most frequent values of a field.
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
    Distinct(String),
    Top { field: String, k: usize },
    Quantiles { field: String, at: Vec<f64> },
}

/// A measure, for all items or for each group of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) group: Option<String>,
    pub(super) measure: Measure,
}

impl AggregateSpec {
    /// Checks that there is exactly one measure and that its options belong to it.
    pub(super) fn rule(&self) -> Result<Rule, String> {
        match self {
            Self::Word(AggregateWord::Count) => Ok(Rule { group: None, measure: Measure::Count(None) }),
            Self::Measure(spec) => {
                spec.check_options()?;
                Ok(Rule { group: spec.group.clone(), measure: spec.measure()? })
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

    fn check_options(&self) -> Result<(), String> {
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
        None => Err("it has no measure; add one of count, sum, min, max, mean, distinct, top, quantiles".to_owned()),
    }
}
