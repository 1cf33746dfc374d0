//! What a batch is asked to do, as `[batch.NAME]` in `config.toml` spells it.
//!
//! A run keeps a copy of its definition: editing the file changes the next run, never a running one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::AggregateSpec;
use crate::batch::FailureBudget;
use crate::duration::Span;
use crate::formula::Formulas;
use crate::job::{DEFAULT_QUEUE, NewJob, Priority};
use crate::mailing::{AGGREGATE_SNOOZES_MAX, MailSpec};
pub use crate::one_or_many::OneOrMany;
use crate::retry::RetryPolicy;
use crate::schedule::ScheduleSpec;
pub use crate::source_spec::{
    Compression, DuplicateColumns, FixedField, JoinSpec, Missing, Ragged, SourceSpec, SqlSource,
};

/// How many items make a chunk unless their rows are so quick that a chunk is as many as suit the input's size.
pub const CHUNK_ITEMS_DEFAULT: u64 = 500;

/// The most items that one chunk may have.
pub const CHUNK_ITEMS_MAX: u64 = 100_000;

/// One batch definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchDefinition {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where the items come from; a list of sources is what `merge` says.
    #[serde(deserialize_with = "crate::source_spec::one_or_several")]
    pub source: SourceSpec,
    /// How many items make a chunk: 1 to [`CHUNK_ITEMS_MAX`]. Unless said, [`CHUNK_ITEMS_DEFAULT`];
    /// of rows of separated values, and of JSON lines, that are only set, tested, computed and counted as many as suit the input's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u64>,
    /// How many items may be quarantined before the batch halts.
    #[serde(default, alias = "tolerate")]
    pub failure_budget: FailureBudget,
    /// The queue of its chunks.
    #[serde(default = "default_queue")]
    pub queue: String,
    /// The priority of its chunks.
    #[serde(default, alias = "lane")]
    pub priority: Priority,
    /// The key of its chunks, for taking turns and for limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many attempts each chunk has.
    #[serde(default = "default_attempts")]
    pub max_attempts: u32,
    /// How long one attempt at a chunk may take.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How long to wait between attempts at a chunk.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How the job that aggregates the batch is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate_job: Option<AggregateJob>,
    /// JSON Schema that each item must satisfy as it comes from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<ValidateSpec>,
    /// What is cleaned up in every text of an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<SanitizeSpec>,
    /// Texts that stand for null, such as `NA` and `-`, in every field of an item. White space around them does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nulls: Vec<String>,
    /// Which fields become numbers, dates, money, truth values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parse: BTreeMap<String, ParseSpec>,
    /// A jq program: one item in, one out (none: the item is skipped).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<String>,
    /// Fields added from a lookup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrich: Vec<EnrichSpec>,
    /// A Rust handler, a program or an HTTP service that does the actual work on each item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSpec>,
    /// Which fields are written, in which order, under which names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatSpec>,
    /// Where the items that passed every stage are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSpec>,
    /// The message that each item which passed every stage becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Box<MailSpec>>,
    /// What is computed, by name, over all items that passed every stage.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aggregate: BTreeMap<String, AggregateSpec>,
    /// What is sent, and when.
    #[serde(default)]
    pub on: Callbacks,
    /// How long after its creation a batch that has not ended counts as late, which triggers `on.late`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_after: Option<Span>,
    /// When it starts by itself: a schedule of the batch's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Box<ScheduleSpec>>,
}

/// How the job that aggregates a batch is tried: by default five attempts of an hour each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregateJob {
    /// How many attempts it has, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long to wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
}

impl AggregateJob {
    /// The attempts of an aggregate about which nothing is set.
    pub const ATTEMPTS: u32 = 5;

    /// The time for one attempt of an aggregate about which nothing is set: its input may be 100,000 results.
    pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3_600);

    /// Sets on the job what is set here, and the defaults where nothing is.
    pub fn apply(&self, job: &mut NewJob) {
        job.max_attempts = self.max_attempts.unwrap_or(Self::ATTEMPTS).max(1);
        job.timeout = self.timeout.map_or(Self::TIMEOUT, |span| span.0);
        job.retry = self.retry.clone().unwrap_or_default();
        job.max_snoozes = AGGREGATE_SNOOZES_MAX;
    }
}

fn default_queue() -> String {
    DEFAULT_QUEUE.to_owned()
}

fn default_attempts() -> u32 {
    5
}

fn default_timeout() -> Span {
    Span(std::time::Duration::from_secs(15 * 60))
}

/// The JSON Schema that an item must satisfy: exactly one of the two.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidateSpec {
    /// A file. When the definition is loaded, its content replaces `inline`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The schema itself.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::json::maybe")]
    pub inline: Option<serde_json::Value>,
}

/// What is cleaned up in every text of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SanitizeSpec {
    /// Removes white space at both ends.
    #[serde(default)]
    pub trim: bool,
    /// Applies Unicode normalisation form C.
    #[serde(default)]
    pub nfc: bool,
    /// Removes control characters other than tab and line ends.
    #[serde(default)]
    pub control: bool,
    /// `strip` removes all mark-up, `safe` keeps harmless mark-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<HtmlPolicy>,
    /// Only these fields; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
}

/// What happens to mark-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HtmlPolicy {
    /// All of it is removed; the text stays.
    Strip,
    /// Harmless mark-up stays.
    Safe,
}

/// What a field becomes: a bare type, or a type with conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParseSpec {
    /// `Quantity = "integer"`.
    Bare(ParseType),
    /// `UnitPrice = { type = "decimal", above = "0" }`.
    Full(Box<ParseRule>),
}

impl ParseSpec {
    /// The long form.
    pub fn rule(&self) -> ParseRule {
        match self {
            Self::Bare(kind) => ParseRule { kind: *kind, ..ParseRule::default() },
            Self::Full(rule) => ParseRule::clone(rule),
        }
    }
}

/// The type that a field becomes, and the values that are accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseRule {
    /// The type.
    #[serde(rename = "type")]
    pub kind: ParseType,
    /// For dates: a chrono `strftime` pattern or a list of them tried in order. RFC 3339 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<OneOrMany>,
    /// For dates with a format: `refuse` forbids years of two digits; a hundred years such as `1970-2069` say which they
    /// are, and let `%Y` read two digits as well. By default `%Y` needs four digits, and `%y` is of 1970 to 2069.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub two_digit_year: Option<String>,
    /// For numbers: what separates the decimals. `.` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimal_point: Option<String>,
    /// For numbers: what separates thousands. Nothing by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thousands: Option<String>,
    /// An empty or missing field becomes null instead of failing.
    #[serde(default)]
    pub optional: bool,
    /// Texts that stand for null in this field, in place of those of the batch: `[]` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<Vec<String>>,
    /// The value must be greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<String>,
    /// The value must be at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<String>,
    /// The value must be less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<String>,
    /// The value must be at most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<String>,
}

/// The types that a text can become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParseType {
    /// Stays a text, but may not be missing or empty unless `optional`.
    #[default]
    Text,
    /// A whole number of at most 18 digits; becomes a JSON number.
    Integer,
    /// An exact decimal of at most 28 digits; stays a text in canonical form, so that it is never rounded.
    Decimal,
    /// An exact decimal with a currency sign or code around it, such as `£1,234.50`; becomes a decimal.
    Money,
    /// A calendar day; becomes `YYYY-MM-DD`.
    Date,
    /// An instant; becomes RFC 3339 in UTC.
    Datetime,
    /// `true`/`false`, `yes`/`no`, `1`/`0`.
    Boolean,
}

/// Fields added from a lookup: exactly one of `file` and `sql`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrichSpec {
    /// A CSV (with header) or JSON lines file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A table in a database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlLookup>,
    /// The item's field that is looked up.
    pub on: String,
    /// The lookup's column that must equal it; the same name by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The field that receives the found record; by default its fields are merged into the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// What happens when nothing is found.
    #[serde(default)]
    pub missing: Missing,
}

/// A table to look into.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlLookup {
    /// `postgres://…`, `sqlite://…` or `env:NAME`, which keeps a password out of the stored definition.
    /// Each worker needs that variable.
    pub url: String,
    /// The table or view, with its schema before a dot where it needs one.
    pub table: String,
}

/// What does the work on each item: exactly one of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSpec {
    /// The name of a Rust item handler that the program has registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rust: Option<String>,
    /// A program and its arguments: JSON lines in, JSON lines out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecSpec>,
    /// An HTTP service: items are POSTed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// How often one item is tried inside its chunk before it is quarantined, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_attempts: Option<u32>,
    /// How many items of one chunk an asynchronous Rust handler has under way at once, 1 to 1,000; 16 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
}

/// A program that takes items as JSON lines and answers each with a JSON line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecSpec {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// Variables added to the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The folder it starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// How long one item may take; 30 seconds by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// A service that takes items by POST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// Its address.
    pub url: String,
    /// Headers added to each request. A value `env:NAME` is read from the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long one request may take; 30 seconds by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many requests one chunk has under way at once; 4 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
}

/// Which fields are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatSpec {
    /// Only these, in this order; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Old name to new name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// Where the items that passed every stage are written: exactly one of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// A folder for parts of JSON lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonl: Option<String>,
    /// A folder for parts of CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<String>,
    /// A table in the store's own database, written in the transaction that completes the chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlOutput>,
    /// What becomes of texts in CSV that a spreadsheet would compute. `keep` by default: parts are read by programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formulas: Option<Formulas>,
}

/// A table in the store's own database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlOutput {
    /// The table, which must exist already.
    pub table: String,
    /// Its columns, each filled from the item's field of the same name.
    pub columns: Vec<String>,
}

/// What is sent, and when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callbacks {
    /// The first item of a generation was set aside, or its first chunk died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_failure: Vec<Callback>,
    /// The batch had not ended `late_after` its creation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Callback>,
    /// The batch completed within its budget.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<Callback>,
    /// The batch completed or halted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<Callback>,
    /// The batch exceeded its budget, or its aggregate died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<Callback>,
    /// The batch was cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<Callback>,
}

/// One thing that is sent: exactly one of the three.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// An email.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<EmailEffect>,
    /// A signed POST; its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookEffect>,
    /// A notification; the names of channels of `[notify]`.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub notify: OneOrMany,
}

/// An email that a batch sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailEffect {
    /// The recipients; each gets its own message.
    pub to: OneOrMany,
    /// The template's name. By default `batch-first-failure` and `batch-late` for those events, and `batch-report` for
    /// all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Where a signed POST goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WebhookEffect {
    /// Only the address.
    Url(String),
    /// With its own secret.
    Full {
        /// The address.
        url: String,
        /// The name of the environment variable that holds the `whsec_…` secret.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_env: Option<String>,
    },
}

impl WebhookEffect {
    /// The address.
    pub fn url(&self) -> &str {
        match self {
            Self::Url(url) | Self::Full { url, .. } => url,
        }
    }
}
