//! `schedule backfill`: a past range as runs of its own, or the control of one.

use clap::Args;
use gristmill_core::schedule::tzdb;
use gristmill_service::documents::{
    BackfillReportDocument, IntervalDocument, StartedBackfillDocument, WouldBackfillDocument,
};
use gristmill_store::{FIRE_TICKS_MAX, NewBackfill};
use uuid::Uuid;

use super::look::compiled;
use super::{find, read_instant, utc};
use crate::cli::context::CommandContext;
use crate::cli::list::DryRun;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// How many ticks a dry run prints for people.
const SHOWN: usize = 20;

/// Run a past range, or steer such a backfill
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule backfill nightly --from 2026-10-01 --to 2026-10-31 --dry-run
  gristmill schedule backfill nightly --from 2026-10-01 --to 2026-10-31 --concurrency 2 --newest-first
  gristmill schedule backfill nightly
  gristmill schedule backfill nightly --pause ID

Without a range the backfills of the schedule are listed. Slots that have run are left alone; those that were
skipped or failed are made up for. A running scheduler does the work.")]
pub(super) struct Backfill {
    /// The schedule
    name: String,
    /// The first slot, or an instant before it
    #[arg(long, value_name = "INSTANT", requires = "to")]
    from: Option<String>,
    /// The last slot, or an instant after it; not after now
    #[arg(long, value_name = "INSTANT", requires = "from")]
    to: Option<String>,
    /// The most runs under way at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    concurrency: u32,
    /// The newest slot first
    #[arg(long)]
    newest_first: bool,
    /// Start nothing more of this backfill just now
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "resume", "cancel"])]
    pause: Option<Uuid>,
    /// Go on with this backfill
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "cancel"])]
    resume: Option<Uuid>,
    /// Take away what still waits of this backfill
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    cancel: Option<Uuid>,
    #[command(flatten)]
    dry: DryRun,
}

impl Backfill {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let found = find(context, &self.name).await?;
        let control_report = [(self.pause, Some(true)), (self.resume, Some(false)), (self.cancel, None)];
        if let Some((id, paused)) = control_report.into_iter().find_map(|(id, paused)| Some((id?, paused))) {
            return self.control(context, id, paused).await;
        }
        let (Some(from), Some(to)) = (&self.from, &self.to) else { return self.list(context).await };
        let timetable = compiled(&self.name, &found.spec)?;
        let (zone, backend) = (timetable.zone(), context.backend().await?);
        let range = (read_instant("from", from, zone)?, read_instant("to", to, zone)?);
        if range.1 > backend.now().await? {
            return Err(
                CommandError::usage("--to lies ahead; what is to come runs by itself").hint("name a past instant")
            );
        }
        let before = range.0 - chrono::TimeDelta::microseconds(1);
        let ticks = timetable.between(before, range.1, FIRE_TICKS_MAX);
        if ticks.more {
            return Err(CommandError::usage(format!("the range has more than {FIRE_TICKS_MAX} slots"))
                .hint("take it in several steps"));
        }
        if ticks.ticks.is_empty() {
            return Err(CommandError::not_found(format!("`{}` has no slot in that range", self.name)));
        }
        let ticks: Vec<_> = ticks.ticks.into_iter().map(|tick| (tick, timetable.interval(tick))).collect();
        let backfill = NewBackfill {
            id: Uuid::now_v7(),
            tenant: context.tenant.clone(),
            schedule: self.name.clone(),
            range,
            concurrency: self.concurrency,
            newest_first: self.newest_first,
            tzdb: Some(tzdb().0.to_owned()),
            ticks,
        };
        if self.dry.dry_run {
            return self.would(context, backfill).await;
        }
        let started = backend.start_backfill(&context.order(false), &backfill).await?;
        match context.output.format {
            Format::Json => context.output.document(&started),
            Format::Plain | Format::Table => {
                let StartedBackfillDocument { backfill: id, waiting, .. } = started;
                context.output.line(&format!("{id}\t{waiting} slots wait"));
                let asked = backfill.ticks.len() as u64;
                context.output.note(&format!("{} of {asked} slots had run or wait already", asked - waiting));
            }
        }
        Ok(Exit::Success)
    }

    /// Returns what the same backfill would do: its slots in order, without those that are in the ledger as run or
    /// waiting.
    async fn would(&self, context: &CommandContext, backfill: NewBackfill) -> Result<Exit> {
        let would = context.backend().await?.rehearse_backfill(&context.order(true), &backfill).await?;
        match context.output.format {
            Format::Json => context.output.document(&would),
            Format::Plain | Format::Table => {
                let WouldBackfillDocument { asked, would_run, slots, .. } = would;
                context.output.line(&format!("would run {would_run} of {asked} slots"));
                for IntervalDocument { tick, from, to } in slots.iter().take(SHOWN) {
                    context.output.line(&format!("  {}  for {} to {}", utc(*tick), utc(*from), utc(*to)));
                }
                if slots.len() > SHOWN {
                    context.output.note(&format!("  and {} more: see them with --json", slots.len() - SHOWN));
                }
            }
        }
        Ok(Exit::Success)
    }

    async fn control(&self, context: &CommandContext, id: Uuid, paused: Option<bool>) -> Result<Exit> {
        let (backend, order) = (context.backend().await?, context.order(self.dry.dry_run));
        let waiting = backend.control_backfill(&order, &self.name, id, paused).await?;
        let word = match paused {
            Some(true) => "paused",
            Some(false) => "resumed",
            None => "called off",
        };
        match context.output.format {
            Format::Json => {
                let (dry_run, affected) = (self.dry.dry_run, waiting);
                context.output.document(&BackfillReportDocument { dry_run, backfill: id, affected });
            }
            Format::Plain | Format::Table => {
                let would = if self.dry.dry_run { "would be " } else { "" };
                context.output.line(&format!("{would}{word}: {waiting} slots that wait"));
            }
        }
        Ok(Exit::Success)
    }

    async fn list(&self, context: &CommandContext) -> Result<Exit> {
        let views = context.backend().await?.backfills(&self.name).await?;
        let columns = ["BACKFILL", "FROM", "TO", "STATE", "WAITING", "RUNNING", "ENDED", "FAILED", "AT ONCE", "ORDER"];
        context.output.list(&views, &columns, |view, _| {
            let state = match (view.waiting + view.running, view.paused) {
                (0, _) => "done",
                (_, true) => "paused",
                (_, false) => "under way",
            };
            vec![
                view.id.to_string(),
                utc(view.from),
                utc(view.to),
                state.to_owned(),
                view.waiting.to_string(),
                view.running.to_string(),
                view.ended.to_string(),
                view.failed.to_string(),
                view.concurrency.to_string(),
                if view.newest_first { "newest first" } else { "oldest first" }.to_owned(),
            ]
        });
        Ok(Exit::Success)
    }
}
