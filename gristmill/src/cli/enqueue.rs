//! `gristmill enqueue`: one job, or many from JSON lines.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use gristmill_client::http::{Call, HttpJob};
use gristmill_core::duration;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob, PAYLOAD_BYTES_MAX, Priority, RunAt};
use gristmill_core::json;
use gristmill_core::limit::KEY_BYTES_MAX;
use gristmill_core::schedule::{Zone, instant};
use gristmill_core::unique::{Hold, OnConflict, Unique};
use gristmill_service::documents::{EnqueuedOneDocument, JobOnlyDocument, WouldEnqueueDocument};
use gristmill_store::{EnqueueOutcome, Enqueued};
use serde_json::Value;
use uuid::Uuid;

use super::enqueue_lines;
use super::list::DryRun;
use super::waiting::Waiting;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::config::verify::is_name;
use crate::config::{KindSettings, nearest};
use crate::exit_code::{CommandError, Exit, Result};

/// Enqueue one job, or many from JSON lines
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill enqueue email --payload @mail.json --wait
  gristmill enqueue webhook --payload '{\"url\":\"https://example.com/hook\"}' --in 5m
  gristmill enqueue exec --payload - --at 2030-01-01T02:00:00Z --unique nightly < job.json
  gristmill enqueue report --unique daily --unique-for 24h
  gristmill enqueue reindex --payload @shop.json --unique shop-7 --on-conflict debounce=5s/1m
  gristmill enqueue http --key acme --payload @call.json
  gristmill enqueue email --jsonl mails.jsonl --queue mail --dry-run
  gristmill enqueue email --jsonl mails.jsonl --wait=10m
  jq -c '{kind: \"email\", payload: .}' people.json | gristmill enqueue --jsonl -

A line of --jsonl is {\"payload\": …} with, as wanted: kind, queue, priority, key, in, at, unique, unique_while,
unique_for, on_conflict, idempotency_key, max_attempts, timeout. Lines are enqueued in groups of 1000; a bad line is named, and nothing of its
group is enqueued. The ids are printed one a line. With --wait the exit code is 1 when none is \
done, 6 when some are not.")]
pub(crate) struct Enqueue {
    /// What the job does: email, webhook, notify, exec, http, or a kind of your own
    #[arg(required_unless_present = "jsonl")]
    pub(super) kind: Option<String>,
    /// JSON, @FILE, or - for standard input; null unless said
    #[arg(long, value_name = "JSON|@FILE|-", conflicts_with = "jsonl")]
    pub(super) payload: Option<String>,
    /// Many jobs: a file of JSON lines, or - for standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "key")]
    pub(super) jsonl: Option<PathBuf>,
    #[command(flatten)]
    pub(super) how: How,
    #[command(flatten)]
    pub(super) waiting: Waiting,
    #[command(flatten)]
    pub(super) dry: DryRun,
}

/// How jobs are enqueued.
#[derive(Debug, Clone, Args)]
pub(crate) struct How {
    /// Start after so long, such as 5m
    #[arg(long = "in", value_name = "DURATION", value_parser = duration::parse, conflicts_with = "at")]
    pub(super) after: Option<Duration>,
    /// Start at this instant, such as 2030-01-01T02:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    pub(super) at: Option<DateTime<Utc>>,
    /// The queue on which it waits
    #[arg(long)]
    pub(super) queue: Option<String>,
    /// Its priority: high, normal, low
    #[arg(long, alias = "lane")]
    pub(super) priority: Option<Priority>,
    /// Whose turn and limit it falls under, such as a customer: at most 200 bytes
    #[arg(id = "turn", long = "key", value_name = "KEY")]
    pub(super) turn: Option<String>,
    #[command(flatten)]
    pub(super) unique: UniqueArgs,
    /// How many attempts it has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) max_attempts: Option<u32>,
    /// The version of the kind's payload: only workers that read it run the job
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) payload_version: Option<u32>,
    /// How long one attempt may take, such as 90s
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) timeout: Option<Duration>,
    /// Enqueue nothing when a job with this key was ever enqueued; lines of --jsonl add their number
    #[arg(long, value_name = "KEY")]
    pub(super) idempotency_key: Option<String>,
}

/// What makes a job unique.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct UniqueArgs {
    /// Only one job with this key at a time
    #[arg(long = "unique", value_name = "KEY")]
    pub(super) key: Option<String>,
    /// How long it holds the key: unfinished (until it is final), waiting (until it has begun), or states, separated by
    /// commas. Waiting is the default with replace and debounce, so that what comes while it runs is not lost
    #[arg(long = "unique-while", value_name = "STATES", conflicts_with = "period")]
    pub(super) hold: Option<Hold>,
    /// It holds the key for so long since it was enqueued, whatever becomes of it, such as 1h
    #[arg(long = "unique-for", value_name = "DURATION", value_parser = duration::parse)]
    pub(super) period: Option<Duration>,
    /// When the key is held: keep (the holder stands in its place), replace (a holder that has not begun takes over
    /// payload, priority and time), debounce=5s/1m (it takes over the payload and starts 5s after the last one, 1m after
    /// the first one at the latest), refuse (an error)
    #[arg(long, value_name = "WHAT")]
    pub(super) on_conflict: Option<OnConflict>,
}

impl UniqueArgs {
    /// Returns what was given, as the store takes it.
    fn unique(&self) -> Result<Option<Unique>> {
        let Some(key) = &self.key else {
            let said = self.hold.is_some() || self.period.is_some() || self.on_conflict.is_some();
            let wrong = "--unique-while, --unique-for and --on-conflict say how a job is unique, but no key is given";
            return if said { Err(CommandError::usage(wrong).hint("add --unique KEY")) } else { Ok(None) };
        };
        let conflict = self.on_conflict.unwrap_or_default();
        let hold = match (&self.hold, self.period) {
            (Some(hold), _) => hold.clone(),
            (None, Some(period)) => Hold::Period(period),
            (None, None) if conflict.takes_over() => Hold::Waiting,
            (None, None) => Hold::Unfinished,
        };
        Ok(Some(Unique::new(key).hold(hold).on_conflict(conflict)))
    }
}

impl Enqueue {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if self.jsonl.is_some() {
            return enqueue_lines::run(&self, context).await;
        }
        let Some(kind) = &self.kind else {
            return Err(CommandError::usage("say which kind, or give --jsonl"));
        };
        let payload = self.payload.as_deref().map_or(Ok(Value::Null), read_payload)?;
        let enqueued = match self.enqueue(context, kind, payload).await? {
            Outcome::Enqueued(enqueued) => enqueued,
            Outcome::Would(document) => return Ok(would(context, &document)),
        };
        let Some(view) = self.waiting.job(context, enqueued.id).await? else {
            match context.output.format {
                Format::Json => context.output.document(&EnqueuedOneDocument { job: enqueued }),
                Format::Plain | Format::Table => context.output.line(&enqueued.id.to_string()),
            }
            if let Some(note) = note(enqueued.outcome) {
                context.output.note(note);
            }
            return Ok(Exit::Success);
        };
        match context.output.format {
            Format::Json => context.output.document(&JobOnlyDocument { job: (&view).into() }),
            Format::Plain | Format::Table => {
                context.output.line(&format!("{}\t{}", view.id, view.state));
                if let Some(error) = &view.error {
                    context.output.note(error);
                }
            }
        }
        Ok(match view.state {
            JobState::Done => Exit::Success,
            JobState::Cancelled => Exit::Cancelled,
            JobState::Dead | JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {
                Exit::Failed
            }
        })
    }
}

/// What became of a request for one job.
enum Outcome {
    /// This job is there now.
    Enqueued(Enqueued),
    /// It would be.
    Would(WouldEnqueueDocument),
}

impl Enqueue {
    /// A server lays the settings of the kind under the request; here that is done before.
    async fn enqueue(&self, context: &CommandContext, kind: &str, payload: Value) -> Result<Outcome> {
        let order = context.order(self.dry.dry_run);
        if let Some(server) = context.remote() {
            let call = Call::post(&["jobs"]).body(&requested(kind, payload, &self.how)?);
            if order.dry_run {
                return server.change(call, &order).await.map(Outcome::Would);
            }
            let one: EnqueuedOneDocument = server.change(call, &order).await?;
            return Ok(Outcome::Enqueued(one.job));
        }
        let job = new_job(context, kind, payload, &self.how)?;
        if order.dry_run {
            return Ok(Outcome::Would(WouldEnqueueDocument::from(&job)));
        }
        let enqueued = context.service().await?.enqueue(&order, job).await?;
        let nothing = || CommandError::new(Exit::Internal, "the store took the job and gave no id");
        enqueued.map(Outcome::Enqueued).ok_or_else(nothing)
    }
}

/// A job as a server is asked for it: what the command leaves open is left to the settings of the server.
///
/// # Errors
///
/// When it is said how the job is unique, and no key is given.
pub(super) fn requested(kind: &str, payload: Value, how: &How) -> Result<HttpJob> {
    how.unique.unique()?;
    Ok(HttpJob {
        kind: kind.to_owned(),
        payload,
        version: how.payload_version,
        queue: how.queue.clone(),
        priority: how.priority,
        key: how.turn.clone(),
        after: how.after.map(duration::Span),
        at: how.at,
        unique: how.unique.key.clone(),
        unique_while: how.unique.hold.clone(),
        unique_for: how.unique.period.map(duration::Span),
        on_conflict: how.unique.on_conflict,
        idempotency_key: how.idempotency_key.clone(),
        max_attempts: how.max_attempts,
        timeout: how.timeout.map(duration::Span),
    })
}

/// What the enqueuer should know about a job that was not created.
fn note(outcome: EnqueueOutcome) -> Option<&'static str> {
    match outcome {
        EnqueueOutcome::Created => None,
        EnqueueOutcome::Existing => Some("nothing was enqueued: this job stands in its place"),
        EnqueueOutcome::Replaced => Some("replaced: this job had not begun, and took over payload, priority and time"),
        EnqueueOutcome::Debounced => Some("debounced: this job had not begun, took over the payload, and waits anew"),
    }
}

fn would(context: &CommandContext, job: &WouldEnqueueDocument) -> Exit {
    match context.output.format {
        Format::Json => context.output.document(job),
        Format::Plain | Format::Table => {
            context.output.line(&format!("would enqueue 1 job of kind {} on queue {}", job.kind, job.queue));
        }
    }
    Exit::Success
}

/// A job of a kind: the command's values, then those of [kind.NAME], then those of the kind's code, then the defaults.
///
/// # Errors
///
/// When the kind is misspelt, or a value is beyond its limit.
pub(super) fn new_job(context: &CommandContext, kind: &str, payload: Value, how: &How) -> Result<NewJob> {
    known_kind(context, kind)?;
    let bytes = payload.to_string().len();
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(CommandError::usage(format!("the payload has {bytes} bytes; at most {PAYLOAD_BYTES_MAX} may be"))
            .hint("put the data into a file or an object store and enqueue its address"));
    }
    let mut job = NewJob::new(JobId::from(Uuid::now_v7()), kind, payload);
    let none = KindSettings::default();
    let code = context.extensions.defaults.get(kind).unwrap_or(&none);
    let file = context.loaded.config.kind.get(kind).unwrap_or(&none);
    for settings in [code, file] {
        settings.clone().apply(&mut job);
    }
    job.tenant.clone_from(&context.tenant);
    job.trace = Some(context.trace());
    KindSettings {
        queue: how.queue.clone(),
        priority: how.priority,
        retry: None,
        timeout: how.timeout.map(duration::Span),
        max_attempts: how.max_attempts,
        max_snoozes: None,
    }
    .apply(&mut job);
    job.run = match (how.after, how.at) {
        (Some(after), _) => RunAt::In(after),
        (None, Some(at)) => RunAt::At(at),
        (None, None) => RunAt::Now,
    };
    job.version = how.payload_version.unwrap_or(1);
    job.key.clone_from(&how.turn);
    job.unique = how.unique.unique()?;
    job.idempotency_key.clone_from(&how.idempotency_key);
    if !is_name(&job.queue) {
        return Err(CommandError::usage(format!("`{}` cannot be the name of a queue", job.queue))
            .hint("a name has 1 to 100 letters, digits, `-` and `_`"));
    }
    if job.key.as_ref().is_some_and(|key| !(1..=KEY_BYTES_MAX).contains(&key.len()) || key.contains('\0')) {
        let wrong = format!("a key has 1 to {KEY_BYTES_MAX} bytes and no NUL");
        return Err(CommandError::usage(wrong).hint("name whose turn and limit it falls under, such as --key acme"));
    }
    if job.timeout.is_zero() {
        return Err(CommandError::usage("a timeout of 0 lets no attempt run").hint("write one such as 15m"));
    }
    // Another version of the payload is that of another program's kind.
    if job.version == 1 {
        context.extensions.check_payload(kind, &job.payload).map_err(CommandError::usage)?;
    }
    Ok(job)
}

/// Refuses what is nearly a known kind. Any other word may be a kind that another program handles.
fn known_kind(context: &CommandContext, kind: &str) -> Result<()> {
    if !is_name(kind) {
        return Err(CommandError::usage(format!("`{kind}` cannot be the name of a kind"))
            .hint("a name has 1 to 100 letters, digits, `-` and `_`"));
    }
    if matches!(kind, "chunk" | "aggregate") {
        return Err(CommandError::usage(format!("jobs of kind `{kind}` are made by batches"))
            .hint("start one with `gristmill batch run NAME`"));
    }
    let known = context.kinds();
    if known.iter().any(|name| name == kind) {
        return Ok(());
    }
    if let Some(near) = nearest(kind, known.iter().map(String::as_str)) {
        return Err(CommandError::usage(format!("there is no kind `{kind}`; did you mean `{near}`?"))
            .hint(format!("a kind that another program serves is announced by [kind.{kind}] in the configuration")));
    }
    context.output.note(&format!("note: this program has no kind `{kind}`; a worker that has it must run it"));
    Ok(())
}

/// Reads an instant of RFC 3339. chrono's own reader takes `26` for the year 26, which has long been.
///
/// # Errors
///
/// What would be right.
pub(super) fn moment(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    let known = DateTime::parse_from_rfc3339(text).ok().and_then(|_| instant(text, Zone::UTC));
    known.ok_or_else(|| format!("`{text}` is not an instant; write one such as 2030-01-31T08:00:00Z"))
}

pub(super) fn read_payload(text: &str) -> Result<Value> {
    let (name, content) = match text.strip_prefix('@') {
        Some(path) => (path.to_owned(), limited(path, std::fs::File::open(path))?),
        None if text == "-" => ("standard input".to_owned(), limited("standard input", Ok(std::io::stdin()))?),
        None => ("--payload".to_owned(), text.to_owned()),
    };
    json::read(content.as_bytes()).map_err(|error| {
        CommandError::usage(format!("{name} is not JSON that can be kept: {error}"))
            .hint("write JSON such as '{\"to\":\"a@example.com\"}', @FILE, or - for standard input")
    })
}

fn limited(name: &str, source: std::io::Result<impl Read>) -> Result<String> {
    let mut content = String::new();
    let limit = PAYLOAD_BYTES_MAX as u64 + 1;
    source
        .and_then(|source| source.take(limit).read_to_string(&mut content))
        .map_err(|error| CommandError::usage(format!("the payload {name} cannot be read: {error}")))?;
    if content.len() > PAYLOAD_BYTES_MAX {
        return Err(CommandError::usage(format!("the payload {name} has more than {PAYLOAD_BYTES_MAX} bytes"))
            .hint("put the data into a file or an object store and enqueue its address"));
    }
    Ok(content)
}
