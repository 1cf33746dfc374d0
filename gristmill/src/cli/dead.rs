//! `gristmill dead`: look at dead letters, redrive or discard them.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::DeadQuery;
use gristmill_service::Order;
use gristmill_service::control::dead::RedriveReport;
use gristmill_service::documents::{BatchDocument, RedrivenDocument};
use gristmill_store::{ControlReport, JobFilter};

use super::delete::{dead_by_id, discard, discard_named};
use super::list::{DryRun, Paging, id, report};
use super::named::Named;
use super::operation::{Awaited, Wanted, rate, start};
use super::query::DeadAsked;
use super::waiting::{Waiting, describe_ends, exit_of};
use super::{batch_view, job};
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::work::WaitFor;

/// Look at dead letters, redrive or discard them
#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Dead letters, newest first
    #[command(before_help = "Examples:
  gristmill dead list
  gristmill dead list --kind email --queue mail
  gristmill dead list --query 'kind:import* error:\"no route\"'")]
    List(List),
    /// One dead letter with its payload and its attempts
    Show {
        /// Its id
        id: String,
    },
    /// Bring dead letters back with as many attempts again as they had
    #[command(before_help = "Examples:
  gristmill dead redrive 0198f9c1-… --wait
  gristmill dead redrive --kind email --error 'connection refused' --since 2h --dry-run
  gristmill dead redrive --query 'kind:email ended:2026-11-19..' --rate 200/s --reason 'provider is back'
  gristmill dead redrive --all

A query is carried out by the scheduler, in steps, as an operation. Exit code 3 when there is no such job, 6 when some cannot be redriven.")]
    Redrive(Redrive),
    /// Delete dead letters for good; chunks go with their batch
    #[command(before_help = "Examples:
  gristmill dead discard 0198f9c1-… --dry-run
  gristmill dead discard --kind email --error 'no such mailbox'
  gristmill dead discard --query 'kind:email error:\"no such mailbox\"' --reason 'unknown people' --wait
  gristmill dead discard --all

A query is carried out by the scheduler, in steps, as an operation: it goes on by itself, and can be undone for a while.")]
    Discard(Discard),
}

#[derive(Debug, Args)]
struct Which {
    /// Only on this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only of this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only with this text in the error, whatever its case
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those that died since then: how long ago, such as 2h, or an instant such as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    asked: DeadAsked,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
struct Redrive {
    #[command(flatten)]
    what: Selected,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, Args)]
struct Discard {
    #[command(flatten)]
    what: Selected,
    #[command(flatten)]
    awaited: Awaited,
}

#[derive(Debug, Args)]
struct Selected {
    /// Their ids
    #[arg(
        required_unless_present_any = ["all", "queue", "kind", "batch", "error", "since", "query"],
        conflicts_with_all = ["all", "queue", "kind", "batch", "error", "since", "query"]
    )]
    ids: Vec<String>,
    /// All that are dead when the command starts
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// All that match, as an operation, such as 'kind:email error:"no route"' (docs/query.md)
    #[arg(
        long,
        value_name = "QUERY",
        allow_hyphen_values = true,
        conflicts_with_all = ["all", "queue", "kind", "batch", "error", "since"]
    )]
    query: Option<DeadQuery>,
    /// How many jobs a second at most
    #[arg(long, value_name = "N", requires = "query", value_parser = rate)]
    rate: Option<u32>,
    /// Why; needed with --query
    #[arg(long, requires = "query")]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
}

impl Dead {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List(list) => {
                let query = list.asked.as_of_now(context).await?;
                let filter = JobFilter { query, ..list.which.filter(context).await? };
                let jobs = context.backend().await?.jobs(&filter, &list.paging.page()).await?;
                job::rows(context, &jobs);
                list.paging.next(context, jobs.len(), jobs.last().map(|job| job.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id } => job::show(context, &id).await,
            Verb::Redrive(redrive) => redrive.run(context).await,
            Verb::Discard(discard) => discard.run(context).await,
        }
    }
}

impl Which {
    async fn filter(&self, context: &CommandContext) -> Result<JobFilter> {
        Ok(JobFilter {
            tenant: context.tenant.clone(),
            states: vec![JobState::Dead],
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            batch: self.batch.as_deref().map(|text| id("batch", text)).transpose()?,
            error: self.error.clone(),
            since: match &self.since {
                None => None,
                Some(text) => Some(since(text, context.backend().await?.now().await?)?),
            },
            ..JobFilter::default()
        })
    }
}

/// Returns an instant, or the one that lies this long before the database's now.
fn since(text: &str, now: Instant) -> Result<Instant> {
    if let Ok(instant) = chrono::DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let ago = gristmill_core::duration::parse(text).ok().and_then(|ago| chrono::TimeDelta::from_std(ago).ok());
    ago.and_then(|ago| now.checked_sub_signed(ago)).ok_or_else(|| {
        CommandError::usage(format!("`{text}` is neither how long ago nor an instant"))
            .hint("write `2h`, or an instant with its zone such as `2026-01-31T08:00:00Z`")
    })
}

impl Selected {
    /// Starts the operation that a query asks for; `None` without one.
    async fn operate(
        &self,
        context: &CommandContext,
        verb: OperationVerb,
        wait: Option<WaitFor>,
    ) -> Result<Option<Exit>> {
        let Some(DeadQuery(query)) = &self.query else { return Ok(None) };
        let order = Order { reason: self.reason.clone(), ..context.order(self.dry.dry_run) };
        let wanted = Wanted { verb, query: query.clone(), rate: self.rate, wait };
        start(context, &order, wanted).await.map(Some)
    }
}

impl Discard {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let wait = self.awaited.wait();
        if let Some(exit) = self.what.operate(context, OperationVerb::Discard, wait).await? {
            return Ok(exit);
        }
        if wait.is_some() {
            return Err(CommandError::usage("--wait is for what --query starts: all else is gone at once"));
        }
        self.what.discard(context).await
    }
}

impl Selected {
    async fn discard(self, context: &CommandContext) -> Result<Exit> {
        if !self.ids.is_empty() {
            return discard_named(context, &self.dry, dead_by_id(context, &self.ids).await?).await;
        }
        let dead = context.backend().await?.matching_dead(&self.which.filter(context).await?).await?;
        discard(context, &self.dry, dead).await
    }
}

impl Redrive {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        if let Some(exit) = self.what.operate(context, OperationVerb::Redrive, self.waiting.asked()).await? {
            return Ok(exit);
        }
        let (backend, order) = (context.backend().await?, context.order(self.what.dry.dry_run));
        let (mut found, others): (Vec<_>, _) = if self.what.ids.is_empty() {
            (backend.matching_jobs(&self.what.which.filter(context).await?).await?, Named::default())
        } else {
            let (dead, others) = dead_by_id(context, &self.what.ids).await?;
            (dead.into_iter().map(|job| (job.batch, job.id)).collect(), others)
        };
        // Jobs of one batch are adjacent, so that its next generation is opened once.
        found.sort_unstable();
        let jobs: Vec<JobId> = found.iter().map(|(_, id)| *id).collect();
        let redriven = backend.redrive_each(&order, &jobs).await?;
        let exit = self.report(context, others, redriven)?;
        if order.dry_run { Ok(exit) } else { self.wait(context, &found, exit).await }
    }

    /// Those that were named are reported one by one. Those that match, and cannot be redriven now, may match again.
    fn report(&self, context: &CommandContext, others: Named, redriven: RedriveReport) -> Result<Exit> {
        let dry_run = self.what.dry.dry_run;
        let print = |done: &ControlReport| {
            self.waiting
                .report(context, dry_run, |dry_run| report(context, dry_run, "redriven", "would redrive", done));
        };
        if !self.what.ids.is_empty() {
            return others.dead(redriven).report(context, print);
        }
        print(&redriven.redriven);
        redriven.reasons.iter().for_each(|reason| context.output.note(&format!("  {reason}")));
        if redriven.refused > 0 {
            let refused = redriven.refused;
            context.output.error(&format!("{refused} cannot be redriven now; the command may be repeated"));
            return Ok(Exit::Partial);
        }
        Ok(Exit::Success)
    }

    /// A chunk or an aggregate is done when its batch has ended, which may need other jobs.
    async fn wait(&self, context: &CommandContext, jobs: &[(Option<BatchId>, JobId)], exit: Exit) -> Result<Exit> {
        let alone: Vec<JobId> = jobs.iter().filter(|(batch, _)| batch.is_none()).map(|(_, job)| *job).collect();
        let Some(ended) = self.waiting.jobs(context, &alone).await? else { return Ok(exit) };
        let text = context.output.format != Format::Json;
        if text && !alone.is_empty() {
            context.output.line(&describe_ends(&ended));
        }
        let (mut exits, mut batches) = (vec![exit, exit_of(&ended)], Vec::new());
        for batch in jobs.iter().filter_map(|(batch, _)| *batch).collect::<BTreeSet<BatchId>>() {
            let Some(end) = self.waiting.see_through(context, batch).await? else { continue };
            exits.push(if text { batch_view::end(context, &end).await? } else { end.exit() });
            batches.push(BatchDocument::from(end.batch()));
        }
        if !text {
            context.output.document(&RedrivenDocument { ended, batches });
        }
        Ok(exits.into_iter().find(|exit| *exit != Exit::Success).unwrap_or(Exit::Success))
    }
}
