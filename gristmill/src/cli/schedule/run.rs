//! `schedule run`: now, or one slot.

use clap::Args;
use gristmill_core::Instant;
use gristmill_core::schedule::{ScheduleSpec, Target, tzdb};
use gristmill_service::documents::{RunDocument, WouldRunDocument};
use gristmill_service::start::{RunError, StartedRun};
use gristmill_store::{FireTick, Firing, TickCause, TickFilter, TickOutcome, TickView};

use super::look::{compiled, upcoming};
use super::{find, read_instant, utc};
use crate::cli::backend::schedules::{self, Ran};
use crate::cli::context::CommandContext;
use crate::cli::list::DryRun;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::schedules::run_context_now;

/// Run it now, or run one slot
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule run nightly
  gristmill schedule run nightly --slot 2026-11-20T02:00
  gristmill schedule run nightly --slot 2026-11-20T02:00 --dry-run

Without --slot the run stands for the interval that ended last, and earlier runs are not waited for. A slot runs
once: one that has run is refused (exit code 5), one that was skipped or failed is made up for.")]
pub(super) struct Run {
    /// The schedule
    name: String,
    /// The slot: one of the schedule's own ticks
    #[arg(long, value_name = "INSTANT")]
    slot: Option<String>,
    #[command(flatten)]
    dry: DryRun,
}

impl Run {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let ran = match context.remote() {
            None => self.run_here(context).await?,
            Some(server) => {
                let order = context.order(self.dry.dry_run);
                schedules::run(server, &order, &self.name, self.slot.as_deref()).await?
            }
        };
        match (context.output.format, &ran) {
            (Format::Json, Ran::Would(document)) => context.output.document(document),
            (Format::Json, Ran::Done(document)) => context.output.document(document),
            (Format::Plain | Format::Table, Ran::Would(WouldRunDocument { slot, .. })) => {
                let (from, to) = (utc(slot.from), utc(slot.to));
                context.output.line(&format!("would run {} for {from} to {to}", self.name));
            }
            (Format::Plain | Format::Table, Ran::Done(document)) => {
                let row = &document.run;
                let run = row.batch.map(|id| format!("batch {id}")).or_else(|| row.job.map(|id| format!("job {id}")));
                context.output.line(&format!("started: {}", run.unwrap_or_else(|| "nothing".to_owned())));
            }
        }
        Ok(Exit::Success)
    }

    /// Runs it over the store of this process.
    async fn run_here(&self, context: &CommandContext) -> Result<Ran> {
        let found = find(context, &self.name).await?;
        let tick = self.tick(context, &found.spec).await?;
        let schedule = self.name.clone();
        if self.dry.dry_run {
            let slot = (tick.tick, tick.interval).into();
            return Ok(Ran::Would(WouldRunDocument { dry_run: true, schedule, slot }));
        }
        let firing =
            Firing { tenant: context.tenant.clone(), schedule: self.name.clone(), advance: None, ticks: vec![tick] };
        let run = self.fire(context, &found.spec, firing).await?;
        Ok(Ran::Done(Box::new(RunDocument { schedule, run })))
    }

    /// The row of the ledger that this run becomes.
    async fn tick(&self, context: &CommandContext, spec: &ScheduleSpec) -> Result<FireTick> {
        let timetable = compiled(&self.name, spec)?;
        let store = context.store().await?;
        let now = store.now().await?;
        let (tick, interval, was, about) = match &self.slot {
            None => {
                let last = timetable.previous(now);
                (now, last.map_or((now, now), |last| timetable.interval(last)), None, None)
            }
            Some(text) => {
                let slot = read_instant("slot", text, timetable.zone())?;
                let row = known(context, &self.name, slot).await?;
                // A tick that an event made is not a tick of the clock, but can be run again all the same.
                let made = row.as_ref().filter(|row| row.event.is_some()).map(|row| (row.from, row.to));
                if made.is_none() && !timetable.is_tick(slot) {
                    let next = upcoming(&timetable, slot, 1).first().map(|next| format!("the next is {}", utc(*next)));
                    let wrong = format!("{} is no slot of `{}`", utc(slot), self.name);
                    return Err(CommandError::usage(wrong).hint(next.unwrap_or_else(|| "it has none after".to_owned())));
                }
                let interval = made.unwrap_or_else(|| timetable.interval(slot));
                (slot, interval, row.as_ref().map(|row| row.outcome), row.and_then(|row| row.about))
            }
        };
        if was == Some(TickOutcome::Ran) {
            return Err(ran_already(&self.name, tick));
        }
        let late_ms = (now - tick).num_milliseconds().max(0);
        Ok(FireTick {
            tick,
            interval,
            cause: TickCause::Manual,
            outcome: TickOutcome::Ran,
            late_ms,
            ticks: 1,
            reason: None,
            was,
            run: None,
            holder: None,
            about,
            tzdb: Some(tzdb().0.to_owned()),
        })
    }

    async fn fire(&self, context: &CommandContext, spec: &ScheduleSpec, firing: Firing) -> Result<TickView> {
        let (service, run_context) = (context.service().await?, run_context_now(context)?);
        let tick = firing.ticks[0].tick;
        if matches!(spec.target(), Ok(Target::Batch(_))) {
            // A broker that refuses for good is reported before anything exists.
            context.dispatcher().await?;
        }
        let started = match service.start_run(&context.order(false), &run_context, spec, firing).await {
            Ok(StartedRun::Planned(_) | StartedRun::Enqueued(_)) => true,
            Ok(StartedRun::Lost | StartedRun::Rehearsed) => false,
            Ok(StartedRun::Failed(reason)) => {
                return Err(CommandError::new(Exit::Failed, format!("the run did not start: {reason}")));
            }
            Err(RunError::Job(wrong)) => return Err(CommandError::usage(wrong)),
            Err(RunError::Store(error)) => return Err(error.into()),
        };
        if !started {
            return Err(ran_already(&self.name, tick));
        }
        let row = known(context, &self.name, tick).await?;
        row.ok_or_else(|| CommandError::new(Exit::Internal, "the run started and is not in the ledger"))
    }
}

/// A tick's row of the ledger.
async fn known(context: &CommandContext, name: &str, tick: Instant) -> Result<Option<TickView>> {
    let filter = TickFilter {
        tenant: context.tenant.clone(),
        schedule: name.to_owned(),
        from: Some(tick),
        until: Some(tick),
        limit: 1,
    };
    Ok(context.store().await?.ticks(&filter).await?.into_iter().next())
}

fn ran_already(name: &str, tick: Instant) -> CommandError {
    CommandError::new(Exit::Conflict, format!("the slot {} of `{name}` has run already", utc(tick)))
        .hint("each slot runs once; `gristmill schedule run NAME` without --slot runs it now")
}
