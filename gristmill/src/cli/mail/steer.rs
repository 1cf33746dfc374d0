//! Emails: retry, cancel, resend.

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_service::documents::{EnqueuedOneDocument, WouldResendDocument};

use super::look::missing;
use crate::cli::context::CommandContext;
use crate::cli::list::{DryRun, id, report};
use crate::cli::named::Named;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

pub(super) async fn retry(context: &CommandContext, ids: &[String], dry: &DryRun) -> Result<Exit> {
    let (backend, order) = (context.backend().await?, context.order(dry.dry_run));
    let jobs = ids.iter().map(|text| id("job", text)).collect::<Result<Vec<JobId>>>()?;
    let retried = Named::each(jobs, async |job| {
        // One that has failed for good is a dead letter.
        if backend.job(job).await?.state != JobState::Dead {
            return backend.retry_job(&order, job).await;
        }
        let report = backend.redrive_each(&order, &[job]).await?;
        match report.reasons.into_iter().next() {
            Some(reason) => Err(CommandError::new(Exit::Conflict, reason)),
            None => Ok(report.redriven),
        }
    })
    .await?;
    retried.report(context, |done| report(context, dry.dry_run, "tried again", "would be tried again", done))
}

pub(super) async fn cancel(context: &CommandContext, ids: &[String], dry: &DryRun) -> Result<Exit> {
    let (backend, order) = (context.backend().await?, context.order(dry.dry_run));
    let jobs = ids.iter().map(|text| id("job", text)).collect::<Result<Vec<JobId>>>()?;
    let cancelled = Named::each(jobs, async |job| backend.cancel_job(&order, job).await).await?;
    cancelled.report(context, |done| report(context, dry.dry_run, "called off", "would be called off", done))
}

/// Tries the messages of a batch again whose recipients were put off, or of whom it is unknown whether they have it.
pub(super) async fn resend_batch(context: &CommandContext, text: &str, dry: &DryRun) -> Result<Exit> {
    let batch = id::<BatchId>("batch", text)?;
    let done = context.backend().await?.resend_mailing(&context.order(dry.dry_run), batch).await?;
    report(context, dry.dry_run, "messages tried again", "messages that would be tried again", &done);
    Ok(Exit::Success)
}

pub(super) async fn resend(context: &CommandContext, text: &str, dry: &DryRun) -> Result<Exit> {
    let job = id::<JobId>("job", text)?;
    let backend = context.backend().await?;
    let email = backend.email(&job.to_string()).await?.ok_or_else(|| missing(&job.to_string()))?;
    if dry.dry_run {
        let count = email.recipients.len();
        let document = WouldResendDocument { dry_run: true, email: job.to_string() };
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain | Format::Table => {
                context.output.line(&format!("would be sent again, to {count} recipients"))
            }
        }
        return Ok(Exit::Success);
    }
    let enqueued: EnqueuedOneDocument = backend.resend_email(&context.order(false), job).await?;
    match context.output.format {
        Format::Json => context.output.document(&enqueued),
        Format::Plain => context.output.line(&enqueued.job.id.to_string()),
        Format::Table => context.output.line(&format!("sent again as {}", enqueued.job.id)),
    }
    Ok(Exit::Success)
}
