//! `gristmill trigger`: what hooks and watched folders have started.

use clap::{Args, Subcommand};

use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at what hooks and watched folders have started
#[derive(Debug, Args)]
pub(crate) struct Trigger {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every hook and watched folder, with its last event
    #[command(before_help = "Examples:
  gristmill trigger list
  gristmill trigger list --json")]
    List,
    /// The events of one, newest first, and what became of them
    #[command(before_help = "Examples:
  gristmill trigger show hook/orders
  gristmill trigger show watch/inbox --limit 5 --json")]
    Show {
        /// Its name: hook/NAME or watch/NAME
        name: String,
        /// How many events
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Start an event anew whose run could not be started
    #[command(before_help = "Examples:
  gristmill trigger retry hook/orders msg_1 --dry-run
  gristmill trigger retry hook/orders msg_1

A file of a watched folder is put back into the folder instead.")]
    Retry {
        /// Its name: hook/NAME
        name: String,
        /// The event
        event: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Trigger {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => list(context).await,
            Verb::Show { name, limit } => show(context, &name, limit).await,
            Verb::Retry { name, event, dry } => retry(context, &name, &event, dry.dry_run).await,
        }
    }
}

async fn list(context: &CommandContext) -> Result<Exit> {
    let found = context.backend().await?.triggers().await?;
    let columns = ["TRIGGER", "STARTS", "EVENTS", "RUNNING", "WAITING", "FAILED", "LAST"];
    context.output.list(&found, &columns, |one, output| {
        vec![
            one.name.clone(),
            one.starts.clone(),
            one.events.to_string(),
            one.running.to_string(),
            one.waiting.to_string(),
            one.failed.to_string(),
            output.time_or_dash(one.last.as_ref().map(|event| event.tick)),
        ]
    });
    Ok(Exit::Success)
}

async fn show(context: &CommandContext, name: &str, limit: u32) -> Result<Exit> {
    let rows = context.backend().await?.trigger_events(name, limit).await?;
    if context.output.format == Format::Json {
        context.output.document(&rows);
        return Ok(Exit::Success);
    }
    let columns = ["CAME", "EVENT", "FILE", "OUTCOME", "RUN", "RESULT", "REASON"];
    context.output.list(&rows, &columns, |row, output| {
        let run = row.batch.map(|id| id.to_string()).or_else(|| row.job.map(|id| id.to_string()));
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let file = row.about.as_ref().and_then(|about| about["name"].as_str());
        vec![
            output.time_or_dash(Some(row.tick)),
            dash(row.event.clone()),
            dash(file.map(str::to_owned)),
            row.outcome.to_string(),
            dash(run),
            dash(row.result.clone().or_else(|| row.active.then(|| "running".to_owned()))),
            row.reason.clone().unwrap_or_default(),
        ]
    });
    Ok(Exit::Success)
}

async fn retry(context: &CommandContext, name: &str, event: &str, dry_run: bool) -> Result<Exit> {
    if name.starts_with("watch/") {
        return Err(CommandError::usage("the file of a watched folder is not there any more")
            .hint("put it back from failed/ into the folder: it is taken again"));
    }
    let document = context.backend().await?.retry_event(&context.order(dry_run), name, event).await?;
    match context.output.format {
        Format::Json => context.output.document(&document),
        Format::Plain | Format::Table => {
            let verb = if dry_run { "would wait" } else { "waits" };
            context.output.line(&format!("{event} {verb} for a scheduler to start it"));
        }
    }
    Ok(Exit::Success)
}
