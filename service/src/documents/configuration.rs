//! What a program reports about itself and its configuration.

use serde::Serialize;
use serde_json::Value;

/// The program's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct VersionDocument {
    /// Its name.
    pub name: String,
    /// Its version, by the rules of Semantic Versioning.
    pub version: String,
}

/// The result of a check of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CheckDocument {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The batch definitions that it has.
    pub batches: Vec<String>,
    /// What is wrong.
    pub problems: Vec<ProblemDocument>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SettingDocument {
    /// Its dotted path.
    pub key: String,
    /// Its value; secrets are `***`.
    pub value: Value,
    /// `flag --store`, `env GRISTMILL_STORE_URL`, `config.toml:3`, or `default`.
    pub origin: String,
}

/// A server that a user has given a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ContextDocument {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// The file that holds the token.
    pub token_file: Option<String>,
    /// The file with further authorities whose certificates are trusted.
    pub ca_file: Option<String>,
    /// The tenant that is asked for; `null` is the token's own.
    pub tenant: Option<String>,
    /// Whether its name must be typed before something is changed there.
    pub protected: bool,
    /// Whether plain `http://` goes to another machine.
    pub in_the_clear: bool,
    /// Whether commands ask it unless told otherwise.
    pub used: bool,
}

/// A batch definition of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DefinitionDocument {
    /// Its name: `[batch.NAME]` in the configuration.
    pub name: String,
    /// What it says, with its defaults; secrets are `***`.
    pub definition: Value,
}
