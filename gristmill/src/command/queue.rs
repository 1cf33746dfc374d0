//! `gristmill queue`: look at queues, pause and resume them.

use clap::{Args, Subcommand};
use gristmill_store::{QueueView, UnservedView};
use serde::Serialize;

use super::list::{DryRun, report};
use crate::config::verify::is_name;
use crate::door::Door;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at queues, pause and resume them
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
    /// Stop claiming from a queue; what runs is finished
    #[command(before_help = "Examples:
  gristmill queue pause mail --dry-run
  gristmill queue pause mail")]
    Pause(Named),
    /// Claim from a queue again
    Resume(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The queue
    name: String,
    #[command(flatten)]
    dry: DryRun,
}

impl Queue {
    pub(super) async fn run(self, door: &Door) -> Result<Exit> {
        match self.verb {
            Verb::List => list(door).await,
            Verb::Pause(named) => pause(door, &named, true).await,
            Verb::Resume(named) => pause(door, &named, false).await,
        }
    }
}

async fn list(door: &Door) -> Result<Exit> {
    let store = door.store().await?;
    let mut unserved = store.unserved(&door.tenant).await?;
    let queues: Vec<Row> = store
        .queues(&door.tenant)
        .await?
        .into_iter()
        .map(|queue| Row { unserved: unserved.extract_if(.., |found| found.queue == queue.name).collect(), queue })
        .collect();
    let columns =
        ["QUEUE", "PAUSED", "QUEUED", "RUNNING", "SCHEDULED", "RETRY", "DEAD", "DONE", "CANCELLED", "OLDEST QUEUED"];
    door.output.list(&queues, &columns, |Row { queue, .. }, output| {
        vec![
            queue.name.clone(),
            if queue.paused { "yes" } else { "no" }.to_owned(),
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
    queues.iter().flat_map(|row| &row.unserved).for_each(|found| door.output.note(&waits_for(found)));
    Ok(Exit::Success)
}

/// A queue, and what of it waits in vain.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    queue: QueueView,
    unserved: Vec<UnservedView>,
}

/// Says what waits in vain.
pub(crate) fn waits_for(found: &UnservedView) -> String {
    let UnservedView { queue, kind, version, jobs } = found;
    let version = if *version == 1 { String::new() } else { format!(" version {version}") };
    format!("{jobs} jobs of kind `{kind}`{version} wait on queue `{queue}`, and no live worker has it")
}

async fn pause(door: &Door, named: &Named, paused: bool) -> Result<Exit> {
    if !is_name(&named.name) {
        let wrong = format!("`{}` cannot be the name of a queue", named.name);
        return Err(CommandError::usage(wrong).hint("a name has 1 to 100 letters, digits, `-` and `_`"));
    }
    let steered = door.store().await?.pause_queue(&door.tenant, &named.name, paused, named.dry.dry_run).await?;
    door.publish(&steered.dispatched).await;
    let (done, would) = if paused {
        ("paused; jobs that wait", "would pause; jobs that wait")
    } else {
        ("resumed; jobs that may be claimed", "would resume; jobs that may be claimed")
    };
    report(door, named.dry.dry_run, done, would, &steered);
    Ok(Exit::Success)
}
