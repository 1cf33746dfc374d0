//! `--wait` and `--work`: what a command has begun is followed to its end, and done here when no other process works.

use std::time::Duration;

use clap::Args;
use gristmill_core::id::{BatchId, JobId};
use gristmill_scheduler::duties::spools::spools;
use gristmill_service::documents::EndedJobsDocument;
use gristmill_store::JobView;

use super::batch_view::end;
use crate::cli::backend::Backend;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::cli::wait::{Ended, Patience, wait_for_batch, wait_for_effects, wait_for_job, wait_for_jobs};
use crate::exit_code::{Exit, Result};
use crate::runtime::signals::Signals;
use crate::runtime::work::{WaitFor, Work};

/// How long this process, when it does the work, waits for the emails and webhooks of a batch that has ended.
const EFFECTS: Duration = Duration::from_secs(20);

/// Whether a command waits for what it has begun, and who works meanwhile.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Waiting {
    /// Wait until what was begun has ended, at most so long
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "forever")]
    wait: Option<WaitFor>,
    /// Who works while this waits
    #[arg(long, value_enum, default_value_t, requires = "wait")]
    work: Work,
}

impl Waiting {
    /// Waits as long as it takes.
    pub(super) fn forever() -> Self {
        Self { wait: Some(WaitFor::Ever), work: Work::Auto }
    }

    /// How long it waits, if it does.
    pub(super) fn asked(&self) -> Option<WaitFor> {
        self.wait
    }

    /// Whether it waits at all.
    pub(super) fn wanted(&self) -> bool {
        self.wait.is_some()
    }

    /// Prints what was begun. In JSON only the end is printed when it is waited for: one command prints one document.
    pub(super) fn report(&self, context: &CommandContext, dry_run: bool, print: impl FnOnce(bool)) {
        if context.output.format != Format::Json || !self.wanted() || dry_run {
            print(dry_run);
        }
    }

    /// Waits for a batch if that is wanted, and returns the exit code for its end; `begun` when it completed, and when
    /// nothing is waited for.
    ///
    /// # Errors
    ///
    /// When the store fails, or the batch is gone.
    pub(super) async fn batch(
        &self,
        context: &CommandContext,
        dry_run: bool,
        batch: BatchId,
        begun: Exit,
    ) -> Result<Exit> {
        let waiting = Self { wait: self.wait.filter(|_| !dry_run), ..*self };
        let Some(ended) = waiting.see_through(context, batch).await? else { return Ok(begun) };
        let exit = end(context, &ended).await?;
        Ok(if exit == Exit::Success { begun } else { exit })
    }

    /// The same without a word about the end.
    ///
    /// # Errors
    ///
    /// Same as [`Waiting::batch`].
    pub(super) async fn see_through(&self, context: &CommandContext, batch: BatchId) -> Result<Option<Ended>> {
        let Some(wait) = self.wait else { return Ok(None) };
        see_through(context, batch, self.work, wait).await.map(Some)
    }

    /// Waits for a job if that is wanted.
    ///
    /// # Errors
    ///
    /// With exit code 7 when the time is over, with that of the signal if one came.
    pub(super) async fn job(&self, context: &CommandContext, job: JobId) -> Result<Option<JobView>> {
        let Some(wait) = self.wait else { return Ok(None) };
        let backend = context.backend().await?;
        let mut working = backend.begin_work(self.work).await?;
        let waited = wait_for_job(context, &backend, job, &mut working, Patience::at_most(wait.at_most())).await;
        backend.end_work(working, &mut Signals::listen()?).await?;
        waited.map(Some)
    }

    /// Waits for jobs if that is wanted, and returns how they ended.
    ///
    /// # Errors
    ///
    /// As for one job.
    pub(super) async fn jobs(&self, context: &CommandContext, jobs: &[JobId]) -> Result<Option<EndedJobsDocument>> {
        let Some(wait) = self.wait else { return Ok(None) };
        let backend = context.backend().await?;
        let mut working = backend.begin_work(self.work).await?;
        let waited = wait_for_jobs(context, &backend, jobs, &mut working, Patience::at_most(wait.at_most())).await;
        backend.end_work(working, &mut Signals::listen()?).await?;
        waited.map(Some)
    }
}

/// The exit code for the ends of jobs: 6 when some of them are done.
pub(super) fn exit_of(ended: &EndedJobsDocument) -> Exit {
    match ended {
        EndedJobsDocument { dead: 0, cancelled: 0, .. } => Exit::Success,
        EndedJobsDocument { done: 0, dead: 0, .. } => Exit::Cancelled,
        EndedJobsDocument { done: 0, .. } => Exit::Failed,
        EndedJobsDocument { .. } => Exit::Partial,
    }
}

/// The ends of jobs, in words.
pub(super) fn describe_ends(ended: &EndedJobsDocument) -> String {
    let EndedJobsDocument { done, dead, cancelled } = ended;
    format!("ended: {done} done, {dead} dead, {cancelled} cancelled")
}

/// Waits for a batch, working here when no other process does, until what it sends is sent too.
pub(super) async fn see_through(context: &CommandContext, batch: BatchId, work: Work, wait: WaitFor) -> Result<Ended> {
    let backend = context.backend().await?;
    let mut signals = Signals::listen()?;
    let mut working = backend.begin_work(work).await?;
    let patience = Patience::at_most(wait.at_most());
    let waited = wait_for_batch(context, &backend, batch, &mut working, patience).await;
    if let Backend::Store(local) = &backend
        && working.works()
        && matches!(waited, Ok(Ended::Final(_)))
    {
        wait_for_effects(context, local.store(), batch, EFFECTS).await?;
        // No scheduler may ever come to remove the spools of the input.
        if let Err(error) = spools(&**local.store(), context.loaded.config.scheduler.copy_keep.0).await {
            tracing::warn!(%error, "a copy of the input stays until a scheduler removes it");
        }
    }
    let stopped = backend.end_work(working, &mut signals).await;
    let ended = waited?;
    stopped?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_that_failed_are_not_all() {
        let exit = |done, dead, cancelled| exit_of(&EndedJobsDocument { done, dead, cancelled });
        let exits = [exit(2, 0, 0), exit(0, 0, 0), exit(1, 1, 0), exit(1, 0, 1), exit(0, 2, 0), exit(0, 1, 1)];
        use Exit::{Failed, Partial, Success};
        assert_eq!(exits, [Success, Success, Partial, Partial, Failed, Failed]);
        assert_eq!(exit(0, 0, 3), Exit::Cancelled);
    }
}
