//! What is done to each item on its way through a chunk, one file for each stage.
//!
//! validate → sanitize → parse → transform → enrich → process → mail, format. A stage is compiled once for each definition
//! and is then a pure function of the item, apart from `enrich` with a SQL table. An item that it refuses is set aside
//! with a reason, and nothing else in the chunk is affected.

pub mod enrich;
pub(crate) mod field;
pub mod format;
pub mod mail;
pub mod nulls;
pub mod parse;
pub mod sanitize;
pub mod transform;
pub mod validate;

use serde_json::Value;

/// Why an item goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stage that refused it.
    pub stage: &'static str,
    /// What is wrong, where, and what would be right.
    pub reason: String,
}

/// What a stage made of an item. `Ok(None)`: it is skipped on purpose.
pub type Step = Result<Option<Value>, Refusal>;

/// The most characters of a reason.
const REASON_CHARS_MAX: usize = 1_000;

/// The most characters of a value that a message shows.
const VALUE_CHARS_MAX: usize = 60;

impl Refusal {
    /// A refusal whose reason is cut to what the quarantine keeps.
    pub fn new(stage: &'static str, reason: impl Into<String>) -> Self {
        Self { stage, reason: shortened(&reason.into(), REASON_CHARS_MAX) }
    }
}

/// The text, or its beginning and an ellipsis.
pub(crate) fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some(_) => text.chars().take(chars - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// A value as a message shows it: in backquotes, no longer than 60 characters.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", shortened(text, VALUE_CHARS_MAX)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => format!("`{other}`"),
    }
}
