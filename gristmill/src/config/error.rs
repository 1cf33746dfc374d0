//! What is wrong with a configuration: where, what, and what would be right.

use std::fmt;

pub use gristmill_service::suggest::{nearest, suggest};

use super::origin::Origin;
use crate::exit_code::{CommandError, Exit};

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    /// Where it was set; `None` when it was set nowhere (a default, or a missing key).
    pub origin: Option<Origin>,
    /// The key, such as `batch.retail.failure_budget`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl ConfigError {
    /// An error at a key.
    pub fn at(origin: Option<Origin>, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin, key: key.into(), message: message.into(), hint: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(self, hint: Option<String>) -> Self {
        Self { hint: hint.or(self.hint), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        let message = error.to_string();
        Self { hint: error.hint, ..Self::new(Exit::Usage, message) }
    }
}

/// Several errors of a configuration as one.
pub fn all_of(errors: Vec<ConfigError>) -> CommandError {
    let lines: Vec<String> = errors
        .iter()
        .map(|error| match &error.hint {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        })
        .collect();
    CommandError::usage(lines.join("\n"))
}
