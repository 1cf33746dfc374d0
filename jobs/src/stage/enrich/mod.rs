//! Stage `enrich`: an item receives the fields of the record that a lookup has under its key.
//!
//! A file is read once and kept until it changes; from a table the keys of a chunk are fetched in
//! one query. Keys are compared as texts, numbers in canonical form: `17.0` finds `17`.

mod file;
mod sql;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gristmill_core::aggregate::decimal;
use gristmill_core::definition::{EnrichSpec, Missing};
use gristmill_core::json::{DEPTH_MAX, deeper_than};
use serde_json::{Map, Value};

use self::file::FileLookup;
use self::sql::SqlTable;
use super::{Refusal, field, shown};

/// The records of a lookup by their key.
pub type Records = Arc<HashMap<String, Map<String, Value>>>;

/// Why a lookup is not available: the chunk's attempt fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("enrich: {message}")]
pub struct LookupError {
    /// What is wrong, where, and what would be right.
    pub message: String,
    /// Whether no retry helps.
    pub permanent: bool,
}

/// One lookup.
#[derive(Debug)]
pub struct Enrich {
    on: String,
    key: String,
    into: Option<String>,
    missing: Missing,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(FileLookup),
    Sql(Box<SqlTable>),
}

impl Enrich {
    /// Checks a lookup. Looks at neither the file nor the database.
    ///
    /// # Errors
    ///
    /// What makes no sense, and what would.
    pub fn compile(spec: &EnrichSpec) -> Result<Self, String> {
        let key = spec.key.clone().unwrap_or_else(|| spec.on.clone());
        let source = match (&spec.file, &spec.sql) {
            (Some(path), None) => Source::File(FileLookup::new(path, &key)?),
            (None, Some(table)) => Source::Sql(Box::new(SqlTable::new(table, &key)?)),
            (Some(_), Some(_)) => return Err("both `file` and `sql` are given; a lookup has one of them".to_owned()),
            (None, None) => return Err("neither `file` nor `sql` is given; write `file = \"lookup.csv\"`".to_owned()),
        };
        Ok(Self { on: spec.on.clone(), key, into: spec.into.clone(), missing: spec.missing, source })
    }

    /// The lookup file, for checks before a batch starts.
    pub fn file(&self) -> Option<&str> {
        match &self.source {
            Source::File(file) => Some(file.path()),
            Source::Sql(_) => None,
        }
    }

    /// Returns the records for the keys of a chunk's items (for a file: all of them).
    ///
    /// # Errors
    ///
    /// When the file or the table cannot be read.
    pub async fn look_up(&self, items: impl Iterator<Item = &Value>) -> Result<Records, LookupError> {
        match &self.source {
            Source::File(file) => file.records().await,
            Source::Sql(table) => {
                let keys: BTreeSet<_> =
                    items.filter_map(|item| field::get(item, &self.on).and_then(key_text)).collect();
                table.records(keys).await
            }
        }
    }

    /// Adds the record that was found. The item's own fields stay as they are, but for those that are null. `false` means
    /// that the item is skipped.
    ///
    /// # Errors
    ///
    /// When no record was found and that is not tolerated.
    pub fn apply(&self, item: &mut Value, records: &Records) -> Result<bool, Refusal> {
        let value = field::get(item, &self.on);
        let Some(found) = value.and_then(key_text).and_then(|key| records.get(&key)) else {
            let looked_for = value.map_or_else(|| "missing".to_owned(), shown);
            return match self.missing {
                Missing::Keep => Ok(true),
                Missing::Skip => Ok(false),
                Missing::Quarantine => Err(Refusal::new(
                    "enrich",
                    format!("`{}` is {looked_for}, and the lookup has no such `{}`", self.on, self.key),
                )),
            };
        };
        add_record(item, self.into.as_deref(), found).map_err(|reason| Refusal::new("enrich", reason))?;
        Ok(true)
    }
}

/// Adds a record to an item: as a field, or its fields. The item's own fields stay as they are, but for those that are null.
///
/// # Errors
///
/// When it would be nested too deep.
pub(crate) fn add_record(item: &mut Value, into: Option<&str>, found: &Map<String, Value>) -> Result<(), String> {
    match (into, item.as_object_mut()) {
        (Some(into), _) => {
            field::set(item, into, Value::Object(found.clone()));
            if deeper_than(item, DEPTH_MAX) {
                return Err(format!("with the record in `{into}` it is nested deeper than {DEPTH_MAX} levels"));
            }
        }
        (None, Some(object)) => {
            for (name, value) in found {
                // Null is how a field that may be missing is announced: it holds nothing that would be lost.
                let own = object.entry(name.clone()).or_insert(Value::Null);
                if own.is_null() {
                    *own = value.clone();
                }
            }
        }
        (None, None) => {}
    }
    Ok(())
}

/// Returns a value in the form in which keys are compared. Null and compound values are not keys.
pub(crate) fn key_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(decimal(value).map_or_else(|| number.to_string(), |exact| exact.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn permanent(message: impl Into<String>) -> LookupError {
    LookupError { message: message.into(), permanent: true }
}

fn passing(message: impl Into<String>) -> LookupError {
    LookupError { message: message.into(), permanent: false }
}
