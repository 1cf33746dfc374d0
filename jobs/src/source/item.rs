//! From the bytes of a record to an item.

use serde_json::Value;

use super::csv::{self, RowReader};
use super::cut::Shape;
use super::fixed::{self, Field};
use super::format::Format;
use super::jsonl;
use super::record::Unreadable;

/// Makes items of the records of one file.
pub(super) struct ItemReader {
    columns: Vec<String>,
    rows: Option<RowReader>,
    fields: Vec<Field>,
}

impl ItemReader {
    pub(super) fn new(format: &Format, columns: &[String]) -> Self {
        let rows = match format.shape {
            Shape::Csv { delimiter, quote, .. } => Some(RowReader::new(delimiter, quote)),
            Shape::Lines | Shape::Fixed { .. } => None,
        };
        Self { columns: columns.to_vec(), rows, fields: format.fields.clone() }
    }

    /// The item of a record, whose line end is cut off.
    pub(super) fn item(&mut self, record: &[u8], unclosed: bool) -> Result<Value, Unreadable> {
        match &mut self.rows {
            Some(rows) => csv::item(rows, &self.columns, record, unclosed),
            None if !self.fields.is_empty() => fixed::item(&self.fields, record),
            None => jsonl::item(record),
        }
    }
}
