//! A batch's result as tables for people: the output of the template filters `figures` and `groups`.

use gristmill_core::aggregate::Number;
use gristmill_core::result_mail::REST;
use gristmill_core::result_table::{cell, is_cell};
use serde::Serialize;
use serde_json::Value;

/// How many groups of a measure are shown.
pub const ROWS_MAX: usize = 10;

/// A measure, or one group of it, with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its value in human-readable form.
    pub value: String,
}

/// A measure with a value for each group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its largest values, at most [`ROWS_MAX`].
    pub rows: Vec<Figure>,
    /// How many groups are not shown.
    pub more: usize,
}

/// The measures of a result that have one value, in the result's order.
pub fn figures(result: &Value) -> Vec<Figure> {
    let one = |(name, value): (&String, &Value)| match rows(value) {
        Some(_) => None,
        None => Some(Figure { name: name.clone(), value: plain(value) }),
    };
    result.as_object().into_iter().flatten().filter_map(one).collect()
}

/// The measures of a result that have several, each with its largest values first.
pub fn groups(result: &Value) -> Vec<Group> {
    let several = |(name, value): (&String, &Value)| rows(value).map(|rows| group(name, rows, left_out(value)));
    result.as_object().into_iter().flatten().filter_map(several).collect()
}

/// How many rows of a table did not travel.
fn left_out(value: &Value) -> usize {
    let left = value.get(REST).and_then(|rest| rest.get("left_out")).and_then(Value::as_u64);
    left.and_then(|left| usize::try_from(left).ok()).unwrap_or(0)
}

fn group(name: &str, mut rows: Vec<Figure>, left_out: usize) -> Group {
    // A stable sort: groups of equal size stay in the order of the result.
    rows.sort_by_key(|row| std::cmp::Reverse(Number::of_text(&row.value)));
    let more = rows.len().saturating_sub(ROWS_MAX) + left_out;
    rows.truncate(ROWS_MAX);
    Group { name: name.to_owned(), rows, more }
}

/// The rows of an object of groups, or of a list of `{"value", "count"}`.
fn rows(value: &Value) -> Option<Vec<Figure>> {
    let figure = |name: String, value: &Value| Figure { name, value: plain(value) };
    match value {
        Value::Object(_) if is_cell(value) => None,
        Value::Object(groups) => {
            let travelled = groups.iter().filter(|(_, value)| value.get("left_out").is_none());
            Some(travelled.map(|(name, value)| figure(name.clone(), value)).collect())
        }
        Value::Array(top) => Some(top.iter().map(|row| figure(plain(&row["value"]), &row["count"])).collect()),
        _ => None,
    }
}

fn plain(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { cell(value).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_are_sorted_by_value_and_cut() {
        let mut countries = serde_json::Map::new();
        for n in 1..=12 {
            countries.insert(format!("country {n}"), json!(format!("{n}.50")));
        }
        let result = json!({"revenue": "78.00", "by_country": countries, "top": [{"value": "x", "count": 3}]});
        assert_eq!(figures(&result), [Figure { name: "revenue".into(), value: "78.00".into() }]);
        let groups = groups(&result);
        assert_eq!(groups[0].rows[0].name, "country 12");
        assert_eq!((groups[0].rows.len(), groups[0].more), (10, 2));
        assert_eq!(groups[1].rows[0], Figure { name: "x".into(), value: "3".into() });
    }
    #[test]
    fn an_estimate_is_a_figure_and_rows_that_did_not_travel_are_counted() {
        let result = json!({
            "kinds": {"about": 123_000},
            "ids": {"UK": {"about": 5_000}, "France": 3},
            "table": {"UK": "n 1, m 2", REST: {"left_out": 40}},
        });
        assert_eq!(figures(&result), [Figure { name: "kinds".into(), value: "about 123000".into() }]);
        let groups = groups(&result);
        assert!(groups[0].rows.contains(&Figure { name: "UK".into(), value: "about 5000".into() }), "{groups:?}");
        assert_eq!((groups[1].rows.len(), groups[1].more), (1, 40));
    }
}
