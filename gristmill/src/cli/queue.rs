//! `gristmill queue`: look at queues and what passed through them, pause, resume and delete them.

use clap::{Args, Subcommand};
use gristmill_service::doctor::waits_for;
use gristmill_service::documents::QueueDocument;
use gristmill_store::QueueView;

use super::delete::DeleteQueue;
use super::list::{DryRun, Why, describe_pause, report};
use super::queue_stats::QueueStats;
use crate::cli::context::CommandContext;
use crate::config::suggest;
use crate::config::verify::is_name;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at queues, pause, resume and delete them
#[derive(Debug, Args)]
pub(crate) struct Queue {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every queue with its counters
    #[command(before_help = "Examples:
  gristmill queue list
  gristmill queue list --json")]
    List,
    /// One queue: its counters, its pause, and what waits in vain
    Show {
        /// The queue
        name: String,
    },
    Stats(QueueStats),
    /// Stop claiming from a queue; what runs is finished
    #[command(before_help = "Examples:
  gristmill queue pause mail --dry-run
  gristmill queue pause mail --reason 'the server is being moved'
  gristmill queue pause imports --new                 before its first job comes")]
    Pause {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
        /// Although nothing has used or named it yet
        #[arg(long)]
        new: bool,
    },
    /// Claim from a queue again
    Resume(Named),
    /// Delete a queue that has no jobs: its counters, its pause, its settings, and the broker's queues
    #[command(before_help = "Examples:
  gristmill queue delete misspelt --dry-run
  gristmill queue delete old --finished")]
    Delete(DeleteQueue),
}

#[derive(Debug, Args)]
struct Named {
    /// The queue
    name: String,
    #[command(flatten)]
    dry: DryRun,
}

impl Queue {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => list(context).await,
            Verb::Show { name } => show(context, &name).await,
            Verb::Stats(stats) => stats.run(context).await,
            Verb::Pause { named, why, new } => pause(context, &named, &why, new).await,
            Verb::Resume(named) => resume(context, &named).await,
            Verb::Delete(delete) => delete.run(context).await,
        }
    }
}

async fn show(context: &CommandContext, name: &str) -> Result<Exit> {
    let found = context.backend().await?.queues().await?.into_iter().find(|row| row.queue.name == name);
    let row = found.ok_or_else(|| {
        CommandError::not_found(format!("there is no queue `{name}`"))
            .hint("`gristmill queue list` shows those that are there")
    })?;
    let (queue, output) = (&row.queue, &context.output);
    let mut fields = vec![
        ("name", queue.name.clone()),
        ("paused", queue.pause.as_ref().map_or_else(|| paused(queue), |pause| describe_pause(pause, output))),
        ("queued", queue.queued.to_string()),
        ("running", queue.running.to_string()),
        ("scheduled", queue.scheduled.to_string()),
        ("retry", queue.retry.to_string()),
        ("dead", queue.dead.to_string()),
        ("done", queue.done.to_string()),
        ("cancelled", queue.cancelled.to_string()),
        ("oldest queued", output.time_or_dash(queue.oldest_queued_at)),
    ];
    fields.extend(row.unhandled.iter().map(|found| ("waits in vain", waits_for(found))));
    output.fields(&row, &fields);
    Ok(Exit::Success)
}

fn paused(queue: &QueueView) -> String {
    if queue.paused { "yes" } else { "no" }.to_owned()
}

async fn list(context: &CommandContext) -> Result<Exit> {
    let queues = context.backend().await?.queues().await?;
    let columns =
        ["QUEUE", "PAUSED", "QUEUED", "RUNNING", "SCHEDULED", "RETRY", "DEAD", "DONE", "CANCELLED", "OLDEST QUEUED"];
    context.output.list(&queues, &columns, |QueueDocument { queue, .. }, output| {
        vec![
            queue.name.clone(),
            paused(queue),
            queue.queued.to_string(),
            queue.running.to_string(),
            queue.scheduled.to_string(),
            queue.retry.to_string(),
            queue.dead.to_string(),
            queue.done.to_string(),
            queue.cancelled.to_string(),
            output.time_or_dash(queue.oldest_queued_at),
        ]
    });
    for row in &queues {
        if let Some(pause) = &row.queue.pause {
            context.output.note(&format!(
                "queue `{}` is paused since {}",
                row.queue.name,
                describe_pause(pause, &context.output)
            ));
        }
    }
    queues.iter().flat_map(|row| &row.unhandled).for_each(|found| context.output.note(&waits_for(found)));
    Ok(Exit::Success)
}

/// Refuses a name that cannot be a queue, and one that no queue has.
async fn checked<'a>(context: &CommandContext, named: &'a Named, new: bool) -> Result<&'a str> {
    let name = named.name.as_str();
    if !is_name(name) {
        let wrong = format!("`{name}` cannot be the name of a queue");
        return Err(CommandError::usage(wrong).hint("a name has 1 to 100 letters, digits, `-` and `_`"));
    }
    let known = context.backend().await?.queue_names().await?;
    if new || known.contains(name) {
        return Ok(name);
    }
    Err(CommandError::not_found(format!("there is no queue `{name}`"))
        .hint(suggest(name, known.iter().map(String::as_str)).unwrap_or_default()))
}

async fn pause(context: &CommandContext, named: &Named, why: &Why, new: bool) -> Result<Exit> {
    let name = checked(context, named, new).await?;
    let control_report = context.backend().await?.pause_queue(&why.order(context, &named.dry)?, name).await?;
    report(context, named.dry.dry_run, "paused; jobs that wait", "would pause; jobs that wait", &control_report);
    Ok(Exit::Success)
}

async fn resume(context: &CommandContext, named: &Named) -> Result<Exit> {
    let name = checked(context, named, false).await?;
    let control_report = context.backend().await?.resume_queue(&context.order(named.dry.dry_run), name).await?;
    let (done, would) = ("resumed; jobs that may be claimed", "would resume; jobs that may be claimed");
    report(context, named.dry.dry_run, done, would, &control_report);
    Ok(Exit::Success)
}
