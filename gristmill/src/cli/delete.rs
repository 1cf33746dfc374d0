//! `gristmill batch delete`, `gristmill dead discard` and `gristmill queue delete`: what is gone afterwards.

use std::collections::BTreeSet;

use clap::Args;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::operation::OperationVerb;
use gristmill_store::{JobView, PruneNoun};

use super::list::{DryRun, id, report};
use super::named::Named;
use super::operation::{AllBatches, Awaited, OperationReason};
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, grouped};
use crate::exit_code::{CommandError, Exit, Result};

/// Which batches are deleted.
#[derive(Debug, Args)]
pub(super) struct DeleteBatches {
    /// Their ids
    #[arg(required_unless_present = "query", conflicts_with = "query")]
    ids: Vec<String>,
    #[command(flatten)]
    all: AllBatches,
    #[command(flatten)]
    why: OperationReason,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    awaited: Awaited,
}

impl DeleteBatches {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When one of them does not exist or has not ended: then none is deleted.
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (asked, wait) = (self.why.order(context, &self.dry), self.awaited.wait());
        if let Some(exit) = self.all.operate(context, OperationVerb::DeleteBatches, (&asked, wait)).await? {
            return Ok(exit);
        }
        if wait.is_some() {
            return Err(CommandError::usage("--wait is for what --query starts: all else is gone at once"));
        }
        let batches = self.ids.iter().map(|text| id("batch", text)).collect::<Result<Vec<BatchId>>>()?;
        let order = context.order(self.dry.dry_run);
        let document = context.backend().await?.delete_batches(&order, &batches).await?;
        if context.output.format == Format::Json {
            context.output.document(&document);
            return Ok(Exit::Success);
        }
        let (asked, chunks) = (batches.len() as u64, grouped(document.chunks));
        if document.dry_run {
            context.output.line(&format!("would delete: {asked} batches with {chunks} chunks"));
            return Ok(Exit::Success);
        }
        let done = document.deleted.get(&PruneNoun::Batches).copied().unwrap_or(0);
        context.output.line(&format!("deleted: {done} batches with {chunks} chunks"));
        if done < asked {
            let left = asked - done;
            context.output.note(&format!("{left} go when a scheduler has removed the copies of their input"));
        }
        Ok(Exit::Success)
    }
}

/// Which queue is deleted.
#[derive(Debug, Args)]
pub(super) struct DeleteQueue {
    /// The queue
    name: String,
    /// Delete its jobs that are done or cancelled as well, unless they belong to a batch
    #[arg(long)]
    finished: bool,
    #[command(flatten)]
    dry: DryRun,
}

impl DeleteQueue {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When the queue has jobs, or when the configuration, a schedule or a limit names it.
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (backend, order) = (context.backend().await?, context.order(self.dry.dry_run));
        let (document, broker) = backend.delete_queue(&order, &self.name, self.finished).await?;
        if let Some(reason) = &broker {
            context.output.error(&format!("the broker has not deleted its queues: {reason}; delete them by hand"));
        }
        if context.output.format == Format::Json {
            context.output.document(&document);
        } else {
            let verb = if order.dry_run { "would delete" } else { "deleted" };
            let jobs = grouped(document.jobs);
            context.output.line(&format!("{verb}: queue {} with {jobs} finished jobs", self.name));
        }
        Ok(if broker.is_some() { Exit::Partial } else { Exit::Success })
    }
}

/// Discards dead letters that match.
pub(super) async fn discard(context: &CommandContext, dry: &DryRun, dead: Vec<(JobId, Instant)>) -> Result<Exit> {
    let order = context.order(dry.dry_run);
    let total = context.backend().await?.discard_dead(&order, &dead).await?;
    report(context, dry.dry_run, "discarded", "would discard", &total.redriven);
    for reason in &total.reasons {
        context.output.note(&format!("  {reason}"));
    }
    if total.refused > 0 {
        context.output.error(&format!("{} cannot be discarded", total.refused));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Success)
}

/// Discards dead letters that are named.
pub(super) async fn discard_named(
    context: &CommandContext,
    dry: &DryRun,
    (dead, others): (Vec<JobView>, Named),
) -> Result<Exit> {
    let order = context.order(dry.dry_run);
    let dead: Vec<_> = dead.into_iter().filter_map(|job| Some((job.id, job.finished_at?))).collect();
    let total = context.backend().await?.discard_dead(&order, &dead).await?;
    others.dead(total).report(context, |done| report(context, dry.dry_run, "discarded", "would discard", done))
}

/// The dead letters of these ids, those of one batch adjacent, and what is to be said of the other ids.
pub(super) async fn dead_by_id(context: &CommandContext, ids: &[String]) -> Result<(Vec<JobView>, Named)> {
    let backend = context.backend().await?;
    let (mut dead, mut others) = (Vec::new(), Named::default());
    for job in ids.iter().map(|text| id("job", text)).collect::<Result<BTreeSet<JobId>>>()? {
        match backend.job(job).await {
            Err(error) if error.exit == Exit::NotFound => others.fail(error),
            Err(error) => return Err(error),
            Ok(found) if found.state == JobState::Dead => dead.push(found),
            Ok(found) => {
                let wrong = format!("the job {job} is {}, and no dead letter", found.state);
                others.fail(CommandError::new(Exit::Conflict, wrong));
            }
        }
    }
    dead.sort_by_key(|job| (job.batch, job.id));
    Ok((dead, others))
}
