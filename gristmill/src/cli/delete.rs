//! `gristmill batch delete`, `gristmill dead discard` and `gristmill queue delete`: what is gone afterwards.

use std::collections::BTreeSet;

use clap::Args;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_service::documents::{DeletedBatchesDocument, DeletedQueueDocument};
use gristmill_store::{JobView, PruneNoun};

use super::gone::no_job;
use super::list::{DryRun, id, report};
use super::named::Named;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, grouped};
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::retention::{pruner_options, queue_names};

/// Which batches are deleted.
#[derive(Debug, Args)]
pub(super) struct DeleteBatches {
    /// Their ids
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    dry: DryRun,
}

impl DeleteBatches {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When one of them does not exist or has not ended: then none is deleted.
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let batches = self.ids.iter().map(|text| id("batch", text)).collect::<Result<Vec<BatchId>>>()?;
        let options = pruner_options(&context.loaded.config, true);
        let order = context.order(self.dry.dry_run);
        let (report, deleted) = context.service().await?.delete_batches(&order, &batches, options, |_| {}).await?;
        let document =
            DeletedBatchesDocument { dry_run: order.dry_run, chunks: report.affected, deleted: deleted.rows };
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
        self.refuse_named(context).await?;
        let options = pruner_options(&context.loaded.config, true);
        let order = context.order(self.dry.dry_run);
        let deleted = context.service().await?.delete_queue(&order, &self.name, self.finished, options).await?;
        if let Some(reason) = &deleted.broker {
            context.output.error(&format!("the broker has not deleted its queues: {reason}; delete them by hand"));
        }
        if context.output.format == Format::Json {
            context.output.document(&DeletedQueueDocument::new(order.dry_run, &self.name, &deleted));
        } else {
            let verb = if order.dry_run { "would delete" } else { "deleted" };
            let jobs = grouped(deleted.jobs);
            context.output.line(&format!("{verb}: queue {} with {jobs} finished jobs", self.name));
        }
        Ok(if deleted.broker.is_some() { Exit::Partial } else { Exit::Success })
    }

    /// What names it would make it again.
    async fn refuse_named(&self, context: &CommandContext) -> Result<()> {
        let hint = "change that first, or the queue comes back";
        if let Some(key) = queue_names(&context.loaded.config).get(&self.name) {
            return Err(CommandError::new(Exit::Conflict, format!("`{key}` names queue {}", self.name)).hint(hint));
        }
        for schedule in context.store().await?.schedules(None, None).await? {
            if schedule.spec.job.is_some_and(|job| job.queue.as_deref() == Some(self.name.as_str())) {
                let text = format!("the schedule `{}` names queue {}", schedule.name, self.name);
                return Err(CommandError::new(Exit::Conflict, text).hint(hint));
            }
        }
        Ok(())
    }
}

/// Discards dead letters that match.
pub(super) async fn discard(context: &CommandContext, dry: &DryRun, dead: Vec<(JobId, Instant)>) -> Result<Exit> {
    let options = pruner_options(&context.loaded.config, true);
    let order = context.order(dry.dry_run);
    let total = context.service().await?.discard_dead(&order, &dead, &options).await?;
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
    let options = pruner_options(&context.loaded.config, true);
    let order = context.order(dry.dry_run);
    let dead: Vec<_> = dead.into_iter().filter_map(|job| Some((job.id, job.finished_at?))).collect();
    let total = context.service().await?.discard_dead(&order, &dead, &options).await?;
    others.dead(total).report(context, |done| report(context, dry.dry_run, "discarded", "would discard", done))
}

/// The dead letters of these ids, those of one batch adjacent, and what is to be said of the other ids.
pub(super) async fn dead_by_id(context: &CommandContext, ids: &[String]) -> Result<(Vec<JobView>, Named)> {
    let store = context.store().await?;
    let (mut dead, mut others) = (Vec::new(), Named::default());
    for job in ids.iter().map(|text| id("job", text)).collect::<Result<BTreeSet<JobId>>>()? {
        match store.job(&context.tenant, job).await? {
            None => others.fail(no_job(&store, &context.tenant, job).await),
            Some(found) if found.state == JobState::Dead => dead.push(found),
            Some(found) => {
                let wrong = format!("the job {job} is {}, and no dead letter", found.state);
                others.fail(CommandError::new(Exit::Conflict, wrong));
            }
        }
    }
    dead.sort_by_key(|job| (job.batch, job.id));
    Ok((dead, others))
}
