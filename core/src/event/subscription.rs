//! A subscription as `[events.subscriptions.NAME]` in `config.toml`, and the store, spell it: which events, and what
//! each of them starts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Event, Glob, TypePattern};
use crate::one_or_many::OneOrMany;
use crate::schedule::{JobSpec, Target};

/// How many events a subscription is given at once, by default.
pub const ROWS_DEFAULT: u32 = 100;

/// How many events a subscription may be given at once.
pub const ROWS_MAX: u32 = 1_000;

/// The most patterns, and the most values for an attribute.
const PATTERNS_MAX: usize = 100;

/// The most characters of a predicate.
const PREDICATE_CHARS_MAX: usize = 10_000;

/// The attributes that a subscription may ask for, beside extensions.
const ATTRIBUTES: [&str; 5] = ["source", "subject", "stream", "user", "correlationid"];

crate::words! {
    /// Where a new subscription begins.
    #[derive(Default)]
    pub enum From {
        /// With what comes from now on.
        #[default]
        Now = "now",
        /// With the oldest event that is kept.
        Beginning = "beginning",
    }
}

/// Which events, and what each of them starts: exactly one of `batch` and `job`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Patterns of types, of which one must fit: `order.paid`, `batch.*`, `**`.
    pub types: OneOrMany,
    /// Attributes with the values that they may have, in which `*` stands for any characters. All must fit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, OneOrMany>,
    /// A jq program that is given the event, and must give `true`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// The batch definition of which each event starts a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Parameters of that run.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::maybe")]
    pub params: Option<Value>,
    /// The job that each event enqueues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
    /// How many events it is given at once, 1 to 1,000: 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Where it begins when it is new.
    #[serde(default, skip_serializing_if = "is_now")]
    pub from: From,
}

fn is_now(from: &From) -> bool {
    *from == From::Now
}

/// Which events a subscription means, by their attributes.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    types: Vec<TypePattern>,
    attributes: Vec<(String, Vec<Glob>)>,
}

impl SubscriptionSpec {
    /// Which events it means.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn selection(&self) -> Result<Selection, Vec<String>> {
        let mut faults = Vec::new();
        let mut types = Vec::new();
        for text in self.types.as_slice() {
            match text.parse() {
                Ok(pattern) => types.push(pattern),
                Err(error) => faults.push(format!("`types`: {error}")),
            }
        }
        let (count, most) = (self.types.as_slice().len(), PATTERNS_MAX);
        if !(1..=PATTERNS_MAX).contains(&count) {
            faults.push(format!("`types` has {count} patterns; it needs 1 to {most}, such as `order.*` or `**`"));
        }
        let mut attributes = Vec::new();
        for (name, values) in &self.attributes {
            let is_extension = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            if !is_extension {
                let known = ATTRIBUTES.join(", ");
                faults.push(format!("`attributes.{name}` is no attribute: one of {known}, or an extension"));
            }
            if !(1..=PATTERNS_MAX).contains(&values.as_slice().len()) {
                faults.push(format!("`attributes.{name}` needs 1 to {PATTERNS_MAX} values"));
            }
            attributes.push((name.clone(), values.as_slice().iter().map(|text| Glob::new(text)).collect()));
        }
        if faults.is_empty() { Ok(Selection { types, attributes }) } else { Err(faults) }
    }

    /// What an event starts.
    ///
    /// # Errors
    ///
    /// When it names neither a batch nor a job, or both.
    pub fn target(&self) -> Result<Target<'_>, String> {
        match (&self.batch, &self.job) {
            (Some(batch), None) => Ok(Target::Batch(batch)),
            (None, Some(job)) => Ok(Target::Job(job)),
            (None, None) => Err("it starts nothing; give one of `batch` and `job`".to_owned()),
            (Some(_), Some(_)) => Err("it has `batch` and `job`; give only one of them".to_owned()),
        }
    }

    /// How many events it is given at once.
    pub fn rows(&self) -> u32 {
        self.rows.unwrap_or(ROWS_DEFAULT)
    }

    /// Finds all that is wrong with it, as far as that can be seen without a jq program and without templates.
    ///
    /// # Errors
    ///
    /// All faults, each in words.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut faults = self.selection().err().unwrap_or_default();
        faults.extend(self.target().err());
        if let Some(rows) = self.rows
            && !(1..=ROWS_MAX).contains(&rows)
        {
            faults.push(format!("`rows` is {rows}; write 1 to {ROWS_MAX}"));
        }
        if self.params.is_some() && self.batch.is_none() {
            faults.push("`params` are those of a batch; name it in `batch`".to_owned());
        }
        if self.predicate.as_ref().is_some_and(|text| text.chars().count() > PREDICATE_CHARS_MAX) {
            faults.push(format!("`where` is longer than {PREDICATE_CHARS_MAX} characters"));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

impl Selection {
    /// Whether an event is meant, by its type and its attributes.
    pub fn matches(&self, event: &Event) -> bool {
        self.types.iter().any(|pattern| pattern.matches(&event.kind))
            && self.attributes.iter().all(|(name, globs)| {
                attribute(event, name).is_some_and(|value| globs.iter().any(|glob| glob.matches(&value)))
            })
    }
}

fn attribute(event: &Event, name: &str) -> Option<String> {
    match name {
        "source" => Some(event.source.clone()),
        "subject" => event.subject.clone(),
        "stream" => Some(event.stream.clone()),
        "user" => event.user.clone(),
        "correlationid" => Some(event.correlation.clone()),
        _ => event.extensions.get(name).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::fixture::event;

    fn spec(value: Value) -> SubscriptionSpec {
        serde_json::from_value(value).expect("a subscription")
    }

    #[test]
    fn one_pattern_and_all_attributes_must_fit() {
        let spec = spec(json!({
            "types": ["order.*", "refund"], "attributes": { "source": ["shop/*"], "region": "eu" }, "batch": "b",
        }));
        let selection = spec.selection().expect("a selection");
        let mut meant = event("order.paid");
        meant.source = "shop/1".to_owned();
        meant.extensions.insert("region".to_owned(), json!("eu"));
        assert!(selection.matches(&meant));
        for change in [
            |event: &mut Event| event.kind = "orders.paid".to_owned(),
            |event: &mut Event| event.source = "store/1".to_owned(),
            |event: &mut Event| drop(event.extensions.remove("region")),
        ] {
            let mut other = meant.clone();
            change(&mut other);
            assert!(!selection.matches(&other), "{other:?}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let wrong = spec(json!({ "types": ["a b"], "attributes": { "Region": [] }, "params": {}, "rows": 0 }));
        let faults = wrong.check().expect_err("faults").join("\n");
        for named in
            ["`types`", "`attributes.Region` is no", "needs 1 to 100 values", "starts nothing", "`rows`", "`params`"]
        {
            assert!(faults.contains(named), "{named} is missing in {faults}");
        }
        assert!(serde_json::from_value::<SubscriptionSpec>(json!({ "types": "**", "batches": "b" })).is_err());
    }
}
