//! `gristmill job`: look at jobs, retry, edit or cancel them.

use clap::{Args, Subcommand};
use gristmill_core::job::JobState;
use gristmill_service::documents::JobDocument;
use gristmill_store::{JobFilter, JobView};

use super::cancel::CancelJobs;
use super::job_edit::Edit;
use super::job_logs::Logs;
use super::list::{DryRun, Paging, id, report};
use super::named::Named;
use super::query::JobAsked;
use super::waits::describe;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, brief};
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at jobs, retry, edit or cancel them
#[derive(Debug, Args)]
pub(crate) struct Job {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Jobs, newest first
    #[command(before_help = "Examples:
  gristmill job list
  gristmill job list --state retry --state dead --kind email
  gristmill job list --query 'state:retry kind:import* attempts>=3 age>1h'
  gristmill job list --queue default --limit 200 --json")]
    List(List),
    /// One job with its payload, why it is not running, and the attempts that did not end well
    Show {
        /// Its id
        id: String,
        /// With what its attempts have said
        #[arg(long)]
        logs: bool,
    },
    /// What the attempts of a job have said: lines that its handler logged and that its programs wrote
    #[command(before_help = "Examples:
  gristmill job logs 0198f9c1-…
  gristmill job logs 0198f9c1-… --follow
  gristmill job logs 0198f9c1-… --attempt 2 --json

Of what is more than `[worker] log_lines` and `log_bytes` the middle is cut out.")]
    Logs(Logs),
    /// Let jobs that wait in `retry` or `scheduled` run now
    #[command(before_help = "Examples:
  gristmill job retry 0198f9c1-…
  gristmill job retry 0198f9c1-… --dry-run

A dead job is brought back by `gristmill dead redrive`.")]
    Retry {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Change a job that waits: its priority, its queue, when it starts, its payload
    #[command(before_help = "Examples:
  gristmill job edit 0198f9c1-… --priority high
  gristmill job edit 0198f9c1-… --in 2h --reason 'provider is down until noon'
  gristmill job edit 0198f9c1-… --queue slow --payload @mended.json --dry-run

A job in `queued`, `scheduled` or `retry`; it keeps its id and its attempts. What it was before is in the audit, of payloads
their hashes.")]
    Edit(Edit),
    /// Call jobs off that are not final
    #[command(before_help = "Examples:
  gristmill job cancel 0198f9c1-… --reason 'wrong customer'
  gristmill job cancel --queue mail --kind email --dry-run
  gristmill job cancel --state retry --state scheduled --reason 'provider is gone'
  gristmill job cancel --query 'kind:import* age>1h' --dry-run
  gristmill job cancel --query 'kind:import* age>1h' --rate 500 --reason 'wrong file' --wait

Final in the store at once. What runs is called off within a second: its program ends, its slot is free, and
nothing of it is written. After a break run the same command again. A query is carried out by the scheduler, in steps,
as an operation: it takes jobs that wait, goes on by itself, and can be undone for a while.")]
    Cancel(CancelJobs),
}

#[derive(Debug, Args)]
struct List {
    /// Only in this state; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only on this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only with this key
    #[arg(long)]
    key: Option<String>,
    /// Only of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    #[command(flatten)]
    asked: JobAsked,
    #[command(flatten)]
    paging: Paging,
}

impl Job {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List(list) => list.run(context).await,
            Verb::Show { id: text, logs } => {
                if logs && context.output.format == Format::Json {
                    let both = CommandError::usage("--logs: one command prints one document");
                    return Err(both.hint(format!("gristmill job logs {text} --json")));
                }
                let exit = show(context, &text).await?;
                if logs { Logs::of(text).run(context).await } else { Ok(exit) }
            }
            Verb::Logs(logs) => logs.run(context).await,
            Verb::Retry { ids, dry } => {
                let (backend, order) = (context.backend().await?, context.order(dry.dry_run));
                let jobs = ids.iter().map(|text| id("job", text)).collect::<Result<Vec<_>>>()?;
                let retried = Named::each(jobs, async |job| backend.retry_job(&order, job).await).await?;
                retried.report(context, |done| report(context, dry.dry_run, "let run", "would let run", done))
            }
            Verb::Edit(edit) => edit.run(context).await,
            Verb::Cancel(cancel) => cancel.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let filter = JobFilter {
            tenant: context.tenant.clone(),
            states: self.state.iter().map(|word| state(word)).collect::<Result<_>>()?,
            queue: self.queue,
            kind: self.kind,
            key: self.key,
            batch: self.batch.as_deref().map(|text| id("batch", text)).transpose()?,
            query: self.asked.as_of_now(context).await?,
            ..JobFilter::default()
        };
        let jobs = context.backend().await?.jobs(&filter, &self.paging.page()).await?;
        rows(context, &jobs);
        self.paging.next(context, jobs.len(), jobs.last().map(|job| job.id.to_string()));
        Ok(Exit::Success)
    }
}

/// Jobs as a list.
pub(super) fn rows(context: &CommandContext, jobs: &[JobView]) {
    let documents: Vec<JobDocument> = jobs.iter().map(JobDocument::from).collect();
    context.output.list(
        &documents,
        &["ID", "KIND", "QUEUE", "KEY", "STATE", "ATTEMPT", "CREATED", "ERROR"],
        |JobDocument { job, .. }, output| {
            vec![
                job.id.to_string(),
                job.kind.clone(),
                job.queue.clone(),
                job.key.clone().unwrap_or("-".to_owned()),
                job.state.to_string(),
                format!("{}/{}", job.attempt, job.max_attempts),
                output.time(job.created_at),
                job.error.as_deref().map_or("-".to_owned(), |error| error.chars().take(60).collect()),
            ]
        },
    );
}

/// One job in full.
pub(super) async fn show(context: &CommandContext, text: &str) -> Result<Exit> {
    let document = context.backend().await?.job_in_full(id("job", text)?).await?;
    let job = &document.job;
    let output = &context.output;
    let mut fields = vec![
        ("id", job.id.to_string()),
        ("kind", gristmill_core::job::served(&job.kind, job.version)),
        ("state", job.state.to_string()),
        ("queue", format!("{} ({})", job.queue, job.priority)),
        ("key", job.key.clone().unwrap_or("-".to_owned())),
        ("attempt", attempts(job)),
        ("batch", job.batch.map_or("-".to_owned(), |batch| batch.to_string())),
        ("created", output.time(job.created_at)),
        ("run at", output.time_or_dash(job.run_at)),
        ("started", output.time_or_dash(job.started_at)),
        ("finished", output.time_or_dash(job.finished_at)),
        ("error", job.error.clone().unwrap_or("-".to_owned())),
        ("payload", brief(&job.payload)),
        ("output", job.output.as_ref().map_or("-".to_owned(), brief)),
    ];
    fields.extend(document.waits.iter().flatten().map(|wait| ("waits", describe(wait, output))));
    for attempt in &job.attempts {
        let error = attempt.error.as_deref().unwrap_or("-");
        let text = format!("{} {} {}: {error}", attempt.attempt, output.time(attempt.ended_at), attempt.ending);
        fields.push(("attempt ended", text));
    }
    output.fields(&document, &fields);
    Ok(Exit::Success)
}

/// Snoozed attempts do not count as spent.
fn attempts(job: &JobView) -> String {
    let (spent, most) = (job.attempt - job.snoozes, job.max_attempts - job.snoozes);
    let snoozed = if job.snoozes > 0 { format!(", snoozed {} times", job.snoozes) } else { String::new() };
    format!("{spent} of {most}{snoozed}")
}

/// Reads a state.
pub(super) fn state(word: &str) -> Result<JobState> {
    word.parse().map_err(|error: gristmill_core::words::UnknownWord| {
        let known = JobState::ALL.map(JobState::as_str);
        CommandError::usage(error.to_string()).hint(suggest(word, known).unwrap_or_default())
    })
}
