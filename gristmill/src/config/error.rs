//! What is wrong with a configuration: where, what, and what would be right.

use std::fmt;

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

/// Returns the nearest of the known words, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // A third of the letters may be wrong: `slotz` finds `slots`, `foo` finds nothing.
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len().max(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `x`?`, or the list of the known words.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    match nearest(word, known.clone()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            (!all.is_empty()).then(|| format!("there is {}", all.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_word_and_nonsense_does_not() {
        assert_eq!(nearest("slotz", ["slots", "lease"]), Some("slots"));
        assert_eq!(nearest("failure_budge", ["failure_budget", "timeout"]), Some("failure_budget"));
        assert_eq!(nearest("xyzzy", ["slots", "lease"]), None);
    }
}
