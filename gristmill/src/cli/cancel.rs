//! `gristmill job cancel` and `gristmill batch cancel`: by id, or all that match a filter, in groups.
//!
//! Each group is one transaction. An operator who interrupts the command runs it again: what is already cancelled no
//! longer matches.

use clap::Args;
use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::{JobQuery, Query};
use gristmill_service::Order;
use gristmill_store::{BatchFilter, GROUP_JOBS_MAX, JobFilter, Page};

use super::list::{DryRun, id, report};
use super::named::Named;
use super::operation::{AllBatches, Awaited, Wanted, rate, start};
use super::{batch, job};
use crate::cli::backend::Backend;
use crate::cli::backend::batches::Steer;
use crate::cli::context::CommandContext;
use crate::cli::output::grouped;
use crate::exit_code::{CommandError, Exit, Result};

/// Why, where that is not said.
const REASON: &str = "cancelled from the command line";

/// Rows of one page while ids are gathered.
const PAGE_ROWS: u32 = 1_000;

/// Which jobs are called off, and why.
#[derive(Debug, Args)]
pub(super) struct CancelJobs {
    /// Their ids
    #[arg(conflicts_with_all = ["state", "queue", "kind", "batch", "all", "query"])]
    ids: Vec<String>,
    /// All in this state, which is not final; may be repeated
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// All on this queue
    #[arg(long)]
    queue: Option<String>,
    /// All of this kind
    #[arg(long)]
    kind: Option<String>,
    /// All of this batch, its aggregate excepted: to end the batch, cancel the batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// All that are not final, whatever they are
    #[arg(long, conflicts_with_all = ["state", "queue", "kind", "batch"])]
    all: bool,
    /// All that wait and match, as an operation, such as 'kind:import* age>1h' (docs/query.md)
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true, conflicts_with_all = ["state", "queue", "kind", "batch", "all"])]
    query: Option<JobQuery>,
    /// How many jobs a second at most
    #[arg(long, value_name = "N", requires = "query", value_parser = rate)]
    rate: Option<u32>,
    /// Why, kept with each job; needed with --query
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    awaited: Awaited,
}

/// Which batches are called off, and why.
#[derive(Debug, Args)]
pub(super) struct CancelBatches {
    /// Their ids
    #[arg(conflicts_with_all = ["name", "state", "query"])]
    ids: Vec<String>,
    /// All runs of this definition that have not ended
    #[arg(long, conflicts_with = "query")]
    name: Option<String>,
    /// All in this state, which is not final: open, sealed or aggregating
    #[arg(long, conflicts_with = "query")]
    state: Option<String>,
    #[command(flatten)]
    all: AllBatches,
    /// Why, kept with each batch; needed with --query
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    awaited: Awaited,
}

impl CancelJobs {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When nothing selects jobs, when a named one has ended, or when the store refuses.
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if let Some(JobQuery(query)) = &self.query {
            return self.operate(context, query.clone()).await;
        }
        if self.awaited.wait().is_some() {
            return Err(CommandError::usage("--wait is for what --query starts: all else is final at once"));
        }
        let backend = context.backend().await?;
        let order = context.order(self.dry.dry_run).because(self.reason.as_deref().unwrap_or(REASON));
        if !self.ids.is_empty() {
            return self.named(context, &backend, &order).await;
        }
        let jobs = backend.matching_jobs(&self.filter(context)?).await?;
        let jobs: Vec<JobId> = jobs.into_iter().map(|(_, id)| id).collect();
        let progress = |so_far| {
            if jobs.len() > GROUP_JOBS_MAX && !self.dry.dry_run {
                let (so_far, all) = (grouped(so_far), grouped(jobs.len() as u64));
                context.output.note(&format!("{so_far} of {all} cancelled"));
            }
        };
        let total = backend.cancel_jobs(&order, &jobs, progress).await?;
        report(context, self.dry.dry_run, "cancelled", "would cancel", &total);
        Ok(Exit::Success)
    }

    async fn operate(&self, context: &CommandContext, query: Query) -> Result<Exit> {
        let order = Order { reason: self.reason.clone(), ..context.order(self.dry.dry_run) };
        let (rate, wait) = (self.rate, self.awaited.wait());
        start(context, &order, Wanted { verb: OperationVerb::Cancel, query, rate, wait }).await
    }

    /// Cancels one after the other, so that each one that cannot be cancelled is reported.
    async fn named(&self, context: &CommandContext, backend: &Backend<'_>, order: &Order) -> Result<Exit> {
        let jobs = self.ids.iter().map(|text| id("job", text)).collect::<Result<Vec<JobId>>>()?;
        let cancelled = Named::each(jobs, async |job| backend.cancel_job(order, job).await).await?;
        cancelled.report(context, |done| report(context, self.dry.dry_run, "cancelled", "would cancel", done))
    }

    fn filter(&self, context: &CommandContext) -> Result<JobFilter> {
        let says_nothing = self.state.is_empty() && self.queue.is_none() && self.kind.is_none() && self.batch.is_none();
        if says_nothing && !self.all {
            return Err(CommandError::usage("nothing says which jobs to cancel")
                .hint("name their ids, or --state, --queue, --kind, --batch, --query, or --all that are not final"));
        }
        let mut states = self.state.iter().map(|word| job::state(word)).collect::<Result<Vec<JobState>>>()?;
        if let Some(ended) = states.iter().find(|state| state.is_final()) {
            return Err(CommandError::usage(format!(
                "--state {ended}: a job that is {ended} cannot be cancelled any more"
            ))
            .hint("scheduled, queued, running and retry can be"));
        }
        if states.is_empty() {
            states = JobState::ALL.into_iter().filter(|state| !state.is_final()).collect();
        }
        Ok(JobFilter {
            tenant: context.tenant.clone(),
            states,
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            batch: self.batch.as_deref().map(|text| id("batch", text)).transpose()?,
            ..JobFilter::default()
        })
    }
}

impl CancelBatches {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When nothing selects batches, when a named one has ended, or when the store refuses.
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let asked = Order { reason: self.reason.clone(), ..context.order(self.dry.dry_run) };
        let wait = self.awaited.wait();
        if let Some(exit) = self.all.operate(context, OperationVerb::CancelBatches, (&asked, wait)).await? {
            return Ok(exit);
        }
        if wait.is_some() {
            return Err(CommandError::usage("--wait is for what --query starts: all else is final at once"));
        }
        let backend = context.backend().await?;
        let order = asked.because(self.reason.as_deref().unwrap_or(REASON));
        let verbs = ("jobs cancelled", "jobs that would be cancelled");
        if !self.ids.is_empty() {
            let batches = self.ids.iter().map(|text| id("batch", text)).collect::<Result<Vec<BatchId>>>()?;
            let cancel = async |batch| backend.steer_batch(&order, batch, Steer::Cancel).await;
            let cancelled = Named::each(batches, cancel).await?;
            return cancelled.report(context, |done| report(context, self.dry.dry_run, verbs.0, verbs.1, done));
        }
        let batches = self.matching(context, &backend).await?;
        let total = backend.cancel_batches(&order, &batches, |text| context.output.note(&text)).await?;
        let would = if self.dry.dry_run { "would be " } else { "" };
        context.output.note(&format!("{} batches {would}cancelled", batches.len()));
        report(context, self.dry.dry_run, verbs.0, verbs.1, &total);
        Ok(Exit::Success)
    }

    async fn matching(&self, context: &CommandContext, backend: &Backend<'_>) -> Result<Vec<BatchId>> {
        let state = self.state.as_deref().map(batch::state).transpose()?;
        if let Some(ended) = state.filter(|state| state.is_final()) {
            return Err(CommandError::usage(format!(
                "--state {ended}: a batch that is {ended} cannot be cancelled any more"
            ))
            .hint("open, sealed and aggregating ones can be"));
        }
        if self.name.is_none() && state.is_none() {
            return Err(CommandError::usage("nothing says which batches to cancel")
                .hint("name their ids, or --name, --query, or --state open, sealed or aggregating"));
        }
        let states = match state {
            Some(state) => vec![state],
            None => BatchState::ALL.into_iter().filter(|state| !state.is_final()).collect(),
        };
        let mut found = Vec::new();
        for state in states {
            let (tenant, name) = (context.tenant.clone(), self.name.clone());
            let filter = BatchFilter { tenant, name, state: Some(state), ..BatchFilter::default() };
            let mut page = Page { after: None, limit: PAGE_ROWS };
            loop {
                let batches = backend.batches(&filter, &page).await?;
                found.extend(batches.iter().map(|batch| batch.id));
                match batches.last() {
                    Some(last) if batches.len() == PAGE_ROWS as usize => page.after = Some(last.id.to_string()),
                    _ => break,
                }
            }
        }
        Ok(found)
    }
}
