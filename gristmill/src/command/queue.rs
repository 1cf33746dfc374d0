//! `gristmill queue`: look at queues, pause and resume them.

use clap::{Args, Subcommand};
use gristmill_store::{Pause, QueueView, UnservedView};
use serde::Serialize;

use super::list::{DryRun, Why, report, told};
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
    /// One queue: its counters, its pause, and what waits in vain
    Show {
        /// The queue
        name: String,
    },
    /// Stop claiming from a queue; what runs is finished
    #[command(before_help = "Examples:
  gristmill queue pause mail --dry-run
  gristmill queue pause mail --reason 'the server is being moved'")]
    Pause {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
    },
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
            Verb::Show { name } => show(door, &name).await,
            Verb::Pause { named, why } => pause(door, &named, Some(&why.pause())).await,
            Verb::Resume(named) => pause(door, &named, None).await,
        }
    }
}

async fn rows(door: &Door) -> Result<Vec<Row>> {
    let store = door.store().await?;
    let mut unserved = store.unserved(&door.tenant).await?;
    let queues = store.queues(&door.tenant).await?.into_iter();
    Ok(queues
        .map(|queue| Row { unserved: unserved.extract_if(.., |found| found.queue == queue.name).collect(), queue })
        .collect())
}

async fn show(door: &Door, name: &str) -> Result<Exit> {
    let found = rows(door).await?.into_iter().find(|row| row.queue.name == name);
    let row = found.ok_or_else(|| {
        CommandError::not_found(format!("there is no queue `{name}`"))
            .hint("`gristmill queue list` shows those that are there")
    })?;
    let (queue, output) = (&row.queue, &door.output);
    let mut fields = vec![
        ("name", queue.name.clone()),
        ("paused", queue.pause.as_ref().map_or_else(|| paused(queue), |pause| told(pause, output))),
        ("queued", queue.queued.to_string()),
        ("running", queue.running.to_string()),
        ("scheduled", queue.scheduled.to_string()),
        ("retry", queue.retry.to_string()),
        ("dead", queue.dead.to_string()),
        ("done", queue.done.to_string()),
        ("cancelled", queue.cancelled.to_string()),
        ("oldest queued", output.time_or_dash(queue.oldest_queued_at)),
    ];
    fields.extend(row.unserved.iter().map(|found| ("waits in vain", waits_for(found))));
    output.thing(&row, &fields);
    Ok(Exit::Success)
}

fn paused(queue: &QueueView) -> String {
    if queue.paused { "yes" } else { "no" }.to_owned()
}

async fn list(door: &Door) -> Result<Exit> {
    let queues = rows(door).await?;
    let columns =
        ["QUEUE", "PAUSED", "QUEUED", "RUNNING", "SCHEDULED", "RETRY", "DEAD", "DONE", "CANCELLED", "OLDEST QUEUED"];
    door.output.list(&queues, &columns, |Row { queue, .. }, output| {
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
            door.output.note(&format!("queue `{}` is paused since {}", row.queue.name, told(pause, &door.output)));
        }
    }
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

async fn pause(door: &Door, named: &Named, pause: Option<&Pause>) -> Result<Exit> {
    if !is_name(&named.name) {
        let wrong = format!("`{}` cannot be the name of a queue", named.name);
        return Err(CommandError::usage(wrong).hint("a name has 1 to 100 letters, digits, `-` and `_`"));
    }
    let steered = door.store().await?.pause_queue(&door.tenant, &named.name, pause, named.dry.dry_run).await?;
    door.publish(&steered.dispatched).await;
    let (done, would) = if pause.is_some() {
        ("paused; jobs that wait", "would pause; jobs that wait")
    } else {
        ("resumed; jobs that may be claimed", "would resume; jobs that may be claimed")
    };
    report(door, named.dry.dry_run, done, would, &steered);
    Ok(Exit::Success)
}
