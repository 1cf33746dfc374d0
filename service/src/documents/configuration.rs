//! What a program reports about itself and its configuration.

use serde::Serialize;

/// The program's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionDocument {
    /// Its name.
    pub name: String,
    /// Its version, by the rules of Semantic Versioning.
    pub version: String,
}

/// The result of a check of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckDocument {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The batch definitions that it has.
    pub batches: Vec<String>,
    /// What is wrong.
    pub problems: Vec<ProblemDocument>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProblemDocument {
    /// The key, such as `batch.retail.source.csv`.
    pub key: String,
    /// Where it was set: a file and its line, a variable, a flag.
    pub place: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}
