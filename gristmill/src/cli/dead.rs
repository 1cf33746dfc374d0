//! `gristmill dead`: look at dead letters, redrive or discard them.

use clap::{Args, Subcommand};
use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_store::JobFilter;

use super::delete::{dead_by_id, discard};
use super::job;
use super::list::{DryRun, Paging, id, report};
use crate::cli::context::CommandContext;
use crate::exit_code::{CommandError, Exit, Result};

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
  gristmill dead list --kind email --queue mail")]
    List(List),
    /// One dead letter with its payload and its attempts
    Show {
        /// Its id
        id: String,
    },
    /// Bring dead letters back with as many attempts again as they had
    #[command(before_help = "Examples:
  gristmill dead redrive 0198f9c1-…
  gristmill dead redrive --kind email --error 'connection refused' --since 2h --dry-run
  gristmill dead redrive --all")]
    Redrive(Redrive),
    /// Delete dead letters for good; chunks go with their batch
    #[command(before_help = "Examples:
  gristmill dead discard 0198f9c1-… --dry-run
  gristmill dead discard --kind email --error 'no such mailbox'
  gristmill dead discard --all")]
    Discard(Redrive),
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
    paging: Paging,
}

#[derive(Debug, Args)]
struct Redrive {
    /// Their ids
    #[arg(
        required_unless_present_any = ["all", "queue", "kind", "batch", "error", "since"],
        conflicts_with_all = ["all", "queue", "kind", "batch", "error", "since"]
    )]
    ids: Vec<String>,
    /// All that are dead when the command starts
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    dry: DryRun,
}

impl Dead {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List(list) => {
                let jobs = context.store().await?.jobs(&list.which.filter(context).await?, &list.paging.page()).await?;
                job::rows(context, &jobs);
                list.paging.next(context, jobs.len(), jobs.last().map(|job| job.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id } => job::show(context, &id).await,
            Verb::Redrive(redrive) => redrive.run(context).await,
            Verb::Discard(which) => which.discard(context).await,
        }
    }
}

impl Which {
    async fn filter(&self, context: &CommandContext) -> Result<JobFilter> {
        Ok(JobFilter {
            tenant: context.tenant.clone(),
            states: vec![JobState::Dead],
            queue: self.queue.clone(),
            key: None,
            kind: self.kind.clone(),
            batch: self.batch.as_deref().map(|text| id("batch", text)).transpose()?,
            error: self.error.clone(),
            since: match &self.since {
                None => None,
                Some(text) => Some(since(text, context.store().await?.now().await?)?),
            },
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

impl Redrive {
    async fn discard(self, context: &CommandContext) -> Result<Exit> {
        let dead = if self.ids.is_empty() {
            context.service().await?.matching_dead(&self.which.filter(context).await?).await?
        } else {
            dead_by_id(context, &self.ids).await?
        };
        discard(context, &self.dry, dead).await
    }

    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let (service, order) = (context.service().await?, context.order(self.dry.dry_run));
        if !self.ids.is_empty() {
            let jobs = self.ids.iter().map(|text| id("job", text)).collect::<Result<Vec<JobId>>>()?;
            let total = service.redrive_dead(&order, &jobs).await?;
            report(context, self.dry.dry_run, "redriven", "would redrive", &total);
            return Ok(Exit::Success);
        }
        let filter = self.which.filter(context).await?;
        let mut found = service.matching_jobs(&filter).await?;
        // Jobs of one batch are adjacent, so that its next generation is opened once.
        found.sort_unstable();
        let jobs: Vec<JobId> = found.into_iter().map(|(_, id)| id).collect();
        let total = service.redrive_each(&order, &jobs).await?;
        report(context, self.dry.dry_run, "redriven", "would redrive", &total.redriven);
        for reason in &total.reasons {
            context.output.note(&format!("  {reason}"));
        }
        if total.refused > 0 {
            context.output.error(&format!("{} cannot be redriven now; the command may be repeated", total.refused));
            return Ok(Exit::Partial);
        }
        Ok(Exit::Success)
    }
}
