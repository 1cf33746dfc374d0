//! Why a JSON text is refused, and where.

use std::fmt;

use serde_json::Value;

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJson {
    /// What kind of fault it is.
    pub fault: Fault,
    problem: String,
    place: Option<Place>,
    /// What is said after the place.
    rest: &'static str,
}

/// What is wrong with a text that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Syntax,
    /// It is nested too deep.
    Depth,
    /// It has a number that would be rounded.
    Number,
    /// It is JSON, and not what is wanted.
    Shape,
}

/// A place in a text, counted from 1; without a line when the text has only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    line: Option<usize>,
    column: usize,
}

impl fmt::Display for BadJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match self.place {
            Some(Place { line: Some(line), column }) => write!(f, " at line {line}, column {column}")?,
            Some(Place { line: None, column }) => write!(f, " at column {column}")?,
            None => {}
        }
        f.write_str(self.rest)
    }
}

impl std::error::Error for BadJson {}

impl BadJson {
    /// A refusal of what is JSON, and not what is wanted.
    pub fn shape(problem: impl Into<String>) -> Self {
        Self { fault: Fault::Shape, problem: problem.into(), place: None, rest: "" }
    }

    pub(super) fn at(fault: Fault, problem: impl Into<String>, text: &str, offset: usize, rest: &'static str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let several = text.trim_end().contains('\n');
        let line = several.then(|| before.matches('\n').count() + 1);
        let column = before[start..].chars().count() + 1;
        Self { fault, problem: problem.into(), place: Some(Place { line, column }), rest }
    }
}

/// What a value is, for messages.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
