//! `gristmill batch`: run batches, look at them and control them.

use clap::{Args, Subcommand};
use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::id::BatchId;
use gristmill_core::operation::OperationVerb;
use gristmill_service::documents::BatchDocument;
use gristmill_store::{BatchFilter, Restart};

use super::batch_outputs::{Outputs, report_to};
use super::batch_results::Results;
use super::batch_run::Run;
use super::batch_try::Try;
use super::batch_view::{end, find, show};
use super::cancel::CancelBatches;
use super::delete::DeleteBatches;
use super::list::{DryRun, Paging, Why, id, report};
use super::operation::{AllBatches, Awaited, OperationReason};
use super::query::BatchAsked;
use super::waiting::Waiting;
use crate::cli::backend::batches::Steer;
use crate::cli::context::CommandContext;
use crate::cli::output::Output;
use crate::cli::wait::{Patience, wait_for_batch};
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::work::Work;

/// Run batches, look at them and steer them
#[derive(Debug, Args)]
pub(crate) struct Batch {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start a run of a batch definition
    Run(Box<Run>),
    Try(Box<Try>),
    /// Batches, newest first
    #[command(before_help = "Examples:
  gristmill batch list
  gristmill batch list --name retail --state halted --json")]
    List(List),
    /// One batch with its counts and its result
    Show {
        /// Its id
        id: String,
    },
    /// What was merged of its chunks: as JSON, as CSV, or as Markdown
    #[command(before_help = "Examples:
  gristmill batch results 0198f9c1-… > result.json
  gristmill batch results 0198f9c1-… | jq .revenue
  gristmill batch results 0198f9c1-… --format csv --of by_country > countries.csv
  gristmill batch results 0198f9c1-… --format markdown")]
    Results(Results),
    /// A document that stands by itself: its numbers, its chunks as a field and over time, why items failed, its result
    #[command(before_help = "Examples:
  gristmill batch report 0198f9c1-… --html report.html
  gristmill batch report 0198f9c1-… --html - | mail -a 'Content-Type: text/html' ada@example.com")]
    Report {
        /// Its id
        id: String,
        /// The file that is written; `-` is standard output
        #[arg(long, value_name = "FILE")]
        html: std::path::PathBuf,
    },
    /// The files that it has written: list them, or fetch them
    #[command(before_help = "Examples:
  gristmill batch outputs 0198f9c1-…
  gristmill batch outputs 0198f9c1-… --to orders
  gristmill batch outputs 0198f9c1-… --to orders --name part-000007-a1-8f3c5d20b1e6.jsonl

Each file is checked against the hash that it was written with. What was cut short is gone on with by the same command.")]
    Outputs(Outputs),
    /// Follow a batch until it has ended
    #[command(before_help = "Examples:
  gristmill batch watch 0198f9c1-…
  gristmill batch watch 0198f9c1-… --timeout 10m --json")]
    Watch {
        /// Its id
        id: String,
        /// How long at most, such as 10m
        #[arg(long, value_parser = gristmill_core::duration::parse)]
        timeout: Option<std::time::Duration>,
    },
    /// Stop claiming its chunks; what runs is finished
    #[command(before_help = "Examples:
  gristmill batch pause 0198f9c1-… --reason 'supplier is down'
  gristmill batch pause --query 'name:retail' --reason 'supplier is down' --dry-run")]
    Pause {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        awaited: Awaited,
    },
    /// Claim its chunks again
    Resume {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: OperationReason,
        #[command(flatten)]
        awaited: Awaited,
    },
    /// Call it off for good
    #[command(before_help = "Examples:
  gristmill batch cancel 0198f9c1-… --reason 'wrong file' --dry-run
  gristmill batch cancel 0198f9c1-… --reason 'wrong file'
  gristmill batch cancel --name retail --state sealed
  gristmill batch cancel --query 'name:retail age<1h' --reason 'wrong file' --rate 5/s

Chunks that run are called off within a second, and nothing of them is written.")]
    Cancel(CancelBatches),
    /// Go on with one that halted or was cancelled; what is done is not done again
    #[command(before_help = "Examples:
  gristmill batch restart 0198f9c1-… --dry-run
  gristmill batch restart 0198f9c1-… --failure-budget 5% --wait
  gristmill batch restart 0198f9c1-… --dead          its dead chunks as well
  gristmill batch restart --query 'state:halted ended:2026-11-19' --reason 'supplier is back'")]
    Restart {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        why: OperationReason,
        /// How many items may be quarantined from now on: a count, or a percentage such as 5%
        #[arg(long, alias = "tolerate", value_name = "BUDGET", conflicts_with = "query")]
        failure_budget: Option<FailureBudget>,
        /// Give its dead chunks another chance too
        #[arg(long, conflicts_with = "query")]
        dead: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Delete batches that have ended, each with its chunks, results and quarantined items
    #[command(before_help = "Examples:
  gristmill batch delete 0198f9c1-… --dry-run
  gristmill batch delete 0198f9c1-… 0198f9c2-…
  gristmill batch delete --query 'name:trial* ended:..2026-10-31' --reason 'only trials' --dry-run

Its output stays. With [retention] archive, everything is written there first.")]
    Delete(DeleteBatches),
}

#[derive(Debug, Args)]
struct Named {
    /// Its id
    #[arg(required_unless_present = "query", conflicts_with = "query")]
    id: Option<String>,
    #[command(flatten)]
    all: AllBatches,
    #[command(flatten)]
    dry: DryRun,
}

impl Named {
    /// The one batch that is named.
    fn batch(&self) -> Result<BatchId> {
        id("batch", self.id.as_deref().unwrap_or_default())
    }

    /// The one batch that is named, for a command that waits only for an operation.
    fn at_once(&self, awaited: Awaited) -> Result<BatchId> {
        match awaited.wait() {
            Some(_) => Err(CommandError::usage("--wait is for what --query starts: all else is done at once")),
            None => self.batch(),
        }
    }
}

#[derive(Debug, Args)]
struct List {
    /// Only runs of this definition
    #[arg(long)]
    name: Option<String>,
    /// Only in this state
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    asked: BatchAsked,
    #[command(flatten)]
    paging: Paging,
}

impl Batch {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Run(run) => run.run(context).await,
            Verb::Try(tried) => tried.run(context).await,
            Verb::List(list) => list.run(context).await,
            Verb::Show { id: text } => {
                show(context, &find(context, id("batch", &text)?).await?).await?;
                Ok(Exit::Success)
            }
            Verb::Results(results) => results.run(context).await,
            Verb::Report { id, html } => report_to(context, &id, &html).await,
            Verb::Outputs(outputs) => outputs.run(context).await,
            Verb::Watch { id: text, timeout } => watch(context, id("batch", &text)?, timeout).await,
            Verb::Pause { named, why, awaited } => pause(context, &named, &why, awaited).await,
            Verb::Resume { named, why, awaited } => resume(context, &named, &why, awaited).await,
            Verb::Cancel(cancel) => cancel.run(context).await,
            Verb::Delete(delete) => delete.run(context).await,
            Verb::Restart { named, why, failure_budget, dead, waiting } => {
                let asked = (&why.order(context, &named.dry), waiting.asked());
                if let Some(exit) = named.all.operate(context, OperationVerb::RestartBatches, asked).await? {
                    return Ok(exit);
                }
                let batch = named.batch()?;
                let (restart, order) = (Restart { batch, failure_budget, dead }, context.order(named.dry.dry_run));
                let done = context.backend().await?.restart_batch(&order, &restart).await?;
                waiting.report(context, order.dry_run, |dry_run| {
                    report(context, dry_run, "chunks that go on", "chunks that would go on", &done);
                });
                waiting.batch(context, order.dry_run, batch, Exit::Success).await
            }
        }
    }
}

impl List {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let state = self.state.as_deref().map(state).transpose()?;
        let query = self.asked.as_of_now(context).await?;
        let filter = BatchFilter { tenant: context.tenant.clone(), name: self.name, state, query };
        let batches = context.backend().await?.batches(&filter, &self.paging.page()).await?;
        let columns =
            ["ID", "NAME", "STATE", "INPUT", "OK", "SKIPPED", "QUARANTINED", "CANCELLED", "PENDING", "CREATED"];
        context.output.list(&batches, &columns, cells);
        self.paging.next(context, batches.len(), batches.last().map(|batch| batch.id.to_string()));
        Ok(Exit::Success)
    }
}

fn cells(batch: &BatchDocument, output: &Output) -> Vec<String> {
    let counts = &batch.counts;
    let state = if batch.paused { format!("{} (paused)", batch.state) } else { batch.state.to_string() };
    vec![
        batch.id.to_string(),
        batch.name.clone(),
        state,
        counts.input.to_string(),
        counts.ok.to_string(),
        counts.skipped.to_string(),
        counts.quarantined.to_string(),
        counts.cancelled.to_string(),
        counts.pending.to_string(),
        output.time(batch.created_at),
    ]
}

async fn watch(context: &CommandContext, batch: BatchId, timeout: Option<std::time::Duration>) -> Result<Exit> {
    let backend = context.backend().await?;
    let patience = Patience::at_most(timeout);
    let mut idle = backend.begin_work(Work::Never).await?;
    let ended = wait_for_batch(context, &backend, batch, &mut idle, patience).await?;
    end(context, &ended).await
}

async fn pause(context: &CommandContext, named: &Named, why: &Why, awaited: Awaited) -> Result<Exit> {
    let order = why.order(context, &named.dry)?;
    if let Some(exit) = named.all.operate(context, OperationVerb::PauseBatches, (&order, awaited.wait())).await? {
        return Ok(exit);
    }
    let control_report = context.backend().await?.steer_batch(&order, named.at_once(awaited)?, Steer::Pause).await?;
    let (done, would) = ("paused; chunks that wait", "would pause; chunks that wait");
    report(context, named.dry.dry_run, done, would, &control_report);
    Ok(Exit::Success)
}

async fn resume(context: &CommandContext, named: &Named, why: &OperationReason, awaited: Awaited) -> Result<Exit> {
    let order = why.order(context, &named.dry);
    if let Some(exit) = named.all.operate(context, OperationVerb::ResumeBatches, (&order, awaited.wait())).await? {
        return Ok(exit);
    }
    let control_report = context.backend().await?.steer_batch(&order, named.at_once(awaited)?, Steer::Resume).await?;
    let (done, would) = ("resumed; chunks that may be claimed", "would resume; chunks that may be claimed");
    report(context, named.dry.dry_run, done, would, &control_report);
    Ok(Exit::Success)
}

/// Reads a state.
pub(super) fn state(word: &str) -> Result<BatchState> {
    word.parse().map_err(|error: gristmill_core::words::UnknownWord| {
        let known = BatchState::ALL.map(BatchState::as_str);
        CommandError::usage(error.to_string()).hint(suggest(word, known).unwrap_or_default())
    })
}
