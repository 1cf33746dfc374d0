//! `gristmill job edit`: change a job that waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use gristmill_core::duration;
use gristmill_core::job::{Priority, RunAt};
use gristmill_core::job_edit::JobEdit;

use super::enqueue::{moment, read_payload};
use super::list::{DryRun, id, report};
use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Exit, Result};

/// What is changed of a job.
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// Its id
    id: String,
    /// Its priority: high, normal, low
    #[arg(long)]
    priority: Option<Priority>,
    /// The queue on which it waits
    #[arg(long)]
    queue: Option<String>,
    /// Start after so long, such as 5m; 0s is at once
    #[arg(long = "in", value_name = "DURATION", value_parser = duration::parse, conflicts_with = "at")]
    after: Option<Duration>,
    /// Start at this instant, such as 2030-01-01T02:00:00Z
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    at: Option<DateTime<Utc>>,
    /// Its payload as a whole: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    payload: Option<String>,
    /// Why: it is kept in the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
}

impl Edit {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let job = id("job", &self.id)?;
        let payload = self.payload.as_deref().map(read_payload).transpose()?;
        let run = self.after.map(RunAt::In).or(self.at.map(RunAt::At));
        let edit = JobEdit { priority: self.priority, queue: self.queue, run, payload, edition: None };
        if edit == JobEdit::default() {
            return Err(CommandError::usage("nothing is named that is to be changed")
                .hint("give --priority, --queue, --in, --at or --payload"));
        }
        let order = context.order(self.dry.dry_run);
        let order = self.reason.into_iter().fold(order, |order, reason| order.because(reason));
        let done = context.backend().await?.edit_job(&order, job, &edit).await?;
        report(context, order.dry_run, "edited", "would edit", &done);
        Ok(Exit::Success)
    }
}
