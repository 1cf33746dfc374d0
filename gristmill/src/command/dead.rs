//! `gristmill dead`: look at dead letters and redrive them.

use clap::{Args, Subcommand};
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_store::{JobFilter, Page, Steered};

use super::job;
use super::list::{DryRun, Paging, add, id, report};
use crate::door::Door;
use crate::exit_code::{Exit, Result};

/// Look at dead letters and redrive them
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
  gristmill dead redrive --all --kind email --dry-run")]
    Redrive(Redrive),
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
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// All that are dead when the command starts, or all that the other flags choose
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    dry: DryRun,
}

impl Dead {
    pub(super) async fn run(self, door: &Door) -> Result<Exit> {
        match self.verb {
            Verb::List(list) => {
                let jobs = door.store().await?.jobs(&list.which.filter(door)?, &list.paging.page()).await?;
                job::rows(door, &jobs);
                list.paging.next(door, jobs.len(), jobs.last().map(|job| job.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id } => job::show(door, &id).await,
            Verb::Redrive(redrive) => redrive.run(door).await,
        }
    }
}

impl Which {
    fn filter(&self, door: &Door) -> Result<JobFilter> {
        Ok(JobFilter {
            tenant: door.tenant.clone(),
            states: vec![JobState::Dead],
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            batch: self.batch.as_deref().map(|text| id("batch", text)).transpose()?,
        })
    }
}

impl Redrive {
    async fn run(self, door: &Door) -> Result<Exit> {
        let jobs = match self.all {
            true => self.everything(door).await?,
            false => self.ids.iter().map(|text| id("job", text)).collect::<Result<Vec<JobId>>>()?,
        };
        let store = door.store().await?;
        let mut total = Steered::default();
        for group in jobs.chunks(gristmill_store::GROUP_JOBS_MAX) {
            let steered = store.redrive_dead(&door.tenant, group, self.dry.dry_run).await?;
            door.publish(&steered.dispatched).await;
            add(&mut total, steered);
        }
        report(door, self.dry.dry_run, "redriven", "would redrive", &total);
        Ok(Exit::Success)
    }

    /// The ids are gathered before the first one moves: what dies meanwhile is not touched.
    async fn everything(&self, door: &Door) -> Result<Vec<JobId>> {
        let store = door.store().await?;
        let filter = self.which.filter(door)?;
        let mut ids = Vec::new();
        let mut page = Page { after: None, limit: 1_000 };
        loop {
            let jobs = store.jobs(&filter, &page).await?;
            ids.extend(jobs.iter().map(|job| job.id));
            match jobs.last() {
                Some(last) if jobs.len() == 1_000 => page.after = Some(last.id.to_string()),
                _ => return Ok(ids),
            }
        }
    }
}
