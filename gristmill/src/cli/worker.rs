//! `gristmill worker`: do the work, or list who does.

use clap::{Args, Subcommand};

use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};
use crate::runtime::roles::Roles;
use crate::runtime::serve::serve;

/// Do the work, or list who does
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Examples:
  gristmill worker
  gristmill --store postgres://app@db/app --broker amqp://app@mq/%2f worker run --slots 32 --queues default,mail
  gristmill worker list

On SQLite the worker does the scheduler's duties too, because no other process can work there.
SIGTERM or SIGINT: stop claiming, finish what runs within [worker] drain, give the rest back. A second one
gives everything back at once."
)]
pub(crate) struct Worker {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Claim jobs, run and settle them until a signal comes
    Run(Run),
    /// Every process that is alive or was seen within the last day
    #[command(before_help = "Examples:
  gristmill worker list --json")]
    List,
}

#[derive(Debug, Args)]
struct Run {
    /// How many jobs run at once
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Only these queues, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    queues: Vec<String>,
}

impl Worker {
    /// Whether it only looks at who works.
    pub(super) fn only_looks(&self) -> bool {
        matches!(self.verb, Some(Verb::List))
    }

    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            None => self.run.run(context).await,
            Some(Verb::Run(run)) => run.run(context).await,
            Some(Verb::List) => list(context).await,
        }
    }
}

impl Run {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let slots = self.slots.map(|slots| ("slots", "worker.slots", slots.to_string()));
        let queues = Some(self.queues.join(",")).filter(|queues| !queues.is_empty());
        let queues = queues.map(|queues| ("queues", "worker.queues", queues));
        let context = context.with_flags(slots.into_iter().chain(queues).collect())?;
        let embedded = context.store().await?.embedded();
        serve(&context, Roles::worker(embedded), false).await
    }
}

async fn list(context: &CommandContext) -> Result<Exit> {
    let workers = context.backend().await?.workers().await?;
    let columns = ["ID", "ROLE", "STATE", "HOST", "PID", "SLOTS", "RUNNING", "QUEUES", "STARTED", "SEEN"];
    context.output.list(&workers, &columns, |worker, output| {
        vec![
            worker.id.to_string(),
            worker.role.clone(),
            worker.state.clone(),
            worker.host.clone(),
            worker.pid.to_string(),
            worker.slots.to_string(),
            worker.running.to_string(),
            if worker.queues.is_empty() { "all".to_owned() } else { worker.queues.join(",") },
            output.time(worker.started_at),
            output.time(worker.seen_at),
        ]
    });
    Ok(Exit::Success)
}
