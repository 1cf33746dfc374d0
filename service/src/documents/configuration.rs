//! What a program reports about itself and its configuration.

use gristmill_jobs::pipeline::{Trial, TriedEnd, TriedItem};
use gristmill_jobs::source::Look;
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
    /// What the first files of its batches look like, as far as they are there.
    pub sources: Vec<LookDocument>,
}

/// What the first file of a batch looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LookDocument {
    /// The name of the definition.
    pub batch: String,
    /// The file.
    pub file: String,
    /// What separates its fields.
    pub delimiter: String,
    /// A delimiter that fits better: the definition should say it.
    pub better: Option<String>,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its first rows.
    pub rows: Vec<Vec<String>>,
}

impl LookDocument {
    /// A look at a file of a batch of this name.
    pub fn new(batch: &str, look: Look) -> Self {
        let Look { file, delimiter, columns, rows, better } = look;
        let (delimiter, better) = (delimiter.to_string(), better.map(String::from));
        Self { batch: batch.to_owned(), file, delimiter, better, columns, rows }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// The key, such as `batch.retail.source.csv`.
    pub key: String,
    /// Where it was set: a file with line and column, a variable, a flag.
    pub place: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// What `init` has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct InitDocument {
    /// The folder.
    pub folder: String,
    /// The files, relative to it.
    pub files: Vec<String>,
    /// What to type next.
    pub next: String,
}

/// What a batch would make of the first items of its input.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TrialDocument {
    /// The name of its definition.
    pub batch: String,
    /// The items, in the order of the input.
    pub items: Vec<TriedItemDocument>,
    /// What the measures come to over those that passed, as in a result.
    pub result: Value,
}

/// What the stages make of one item.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TriedItemDocument {
    /// Its position in the input, counted from 0.
    pub position: u64,
    /// The line on which it begins, where the source has lines.
    pub line: Option<u64>,
    /// What it was after each stage, `read` first.
    pub steps: Vec<TriedStepDocument>,
    /// `ok`, `skipped`, or `quarantined`.
    pub end: String,
    /// The stage that skipped or refused it.
    pub stage: Option<String>,
    /// Why it would be set aside.
    pub reason: Option<String>,
}

/// An item after one stage.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TriedStepDocument {
    /// The stage: `read`, `sanitize`, `nulls`, `parse`, `transform`, `enrich`, `process`, `format`.
    pub stage: String,
    /// The item.
    pub item: Value,
}

impl TrialDocument {
    /// A trial of a batch of this name.
    pub fn new(batch: &str, trial: &Trial) -> Self {
        let items = trial.items.iter().map(TriedItemDocument::from).collect();
        Self { batch: batch.to_owned(), items, result: trial.result.clone() }
    }
}

impl From<&TriedItem> for TriedItemDocument {
    fn from(item: &TriedItem) -> Self {
        let (end, stage, reason) = match &item.end {
            TriedEnd::Passed => ("ok", None, None),
            TriedEnd::Skipped(stage) => ("skipped", Some((*stage).to_owned()), None),
            TriedEnd::Refused { stage, reason } => ("quarantined", Some(stage.clone()), Some(reason.clone())),
        };
        let step = |(stage, item): &(&str, Value)| TriedStepDocument { stage: (*stage).to_owned(), item: item.clone() };
        Self {
            position: item.position,
            line: item.line,
            steps: item.steps.iter().map(step).collect(),
            end: end.to_owned(),
            stage,
            reason,
        }
    }
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SettingDocument {
    /// Its dotted path.
    pub key: String,
    /// Its value; secrets are `***`.
    pub value: Value,
    /// `flag --store`, `env GRISTMILL_STORE_URL`, `config.toml:3:1` (line and column), or `default`.
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
