//! Quarantined items as a table: which item a row is, why it was set aside, and its fields.

use std::collections::HashSet;

use gristmill_store::QuarantineView;
use serde_json::{Map, Value};

/// The column by which rows are matched.
pub const ID: &str = "quarantine_id";

/// The columns before the item's own fields. All but the first are for people, and are not read back.
pub const ABOUT: [&str; 6] =
    [ID, "quarantine_position", "quarantine_line", "quarantine_stage", "quarantine_reason", "quarantine_raw"];

/// The columns of the items: those of the source first, then all others in the order in which they appear.
///
/// # Errors
///
/// When an item has a field with one of our names.
pub fn columns<'a>(source: &[String], items: impl Iterator<Item = &'a Value>) -> Result<Vec<String>, String> {
    let mut columns: Vec<String> = source.to_vec();
    let mut seen: HashSet<String> = columns.iter().cloned().collect();
    for key in items.filter_map(Value::as_object).flat_map(Map::keys) {
        if seen.insert(key.clone()) {
            columns.push(key.clone());
        }
    }
    match columns.iter().find(|column| ABOUT.contains(&column.as_str())) {
        Some(column) => Err(format!(
            "the items have a field `{column}`, which is one of our own columns; export them as JSON lines"
        )),
        None => Ok(columns),
    }
}

/// One row.
pub fn row(item: &QuarantineView, columns: &[String]) -> Vec<String> {
    let raw = if item.item.is_object() { String::new() } else { cell(Some(&item.item)) };
    let line = item.line.map(|line| line.to_string()).unwrap_or_default();
    let mut row =
        vec![item.id.to_string(), item.position.to_string(), line, item.stage.clone(), item.reason.clone(), raw];
    row.extend(columns.iter().map(|column| cell(item.item.get(column))));
    row
}

/// A value as a cell shows it.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
