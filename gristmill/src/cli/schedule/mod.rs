//! `gristmill schedule`: look at schedules, make, run, backfill and switch them.

mod backfill;
mod calendar;
mod change;
pub(super) mod look;
mod run;

use chrono::{Local, SecondsFormat};
use clap::{Args, Subcommand};
use gristmill_core::Instant;
use gristmill_core::schedule::{ScheduleSpec, Zone, instant, tzdb};
use gristmill_service::documents::ScheduleDocument;
use gristmill_store::{ScheduleOrigin, ScheduleView};

use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at schedules, make, run, backfill and switch them
#[derive(Debug, Args)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every schedule, with its next tick
    #[command(before_help = "Examples:
  gristmill schedule list
  gristmill schedule list --json")]
    List,
    /// One schedule, its next ticks and its last runs
    #[command(before_help = "Examples:
  gristmill schedule show nightly
  gristmill schedule show nightly --json")]
    Show(Named),
    /// The next ticks; needs no running scheduler
    Next(look::Next),
    /// Make a schedule in the store
    Create(change::Create),
    /// Change a schedule that was made by a command
    Edit(change::Edit),
    /// Let a schedule run by itself again; what it missed meanwhile follows its policy
    #[command(before_help = "Examples:
  gristmill schedule enable nightly --dry-run
  gristmill schedule enable nightly")]
    Enable(Switch),
    /// Stop a schedule from running by itself; what runs goes on
    #[command(
        alias = "pause",
        before_help = "Examples:
  gristmill schedule disable nightly --dry-run
  gristmill schedule disable nightly"
    )]
    Disable(Switch),
    /// Take away a schedule that was made by a command; its ledger stays
    Delete(Switch),
    /// Run it now, or run one slot
    Run(run::Run),
    /// Run a past range, or steer such a backfill
    Backfill(backfill::Backfill),
    /// The slots of a schedule by day: on time, late, missed, skipped, planned
    Calendar(calendar::Calendar),
}

#[derive(Debug, Args)]
struct Named {
    /// The schedule
    name: String,
}

#[derive(Debug, Args)]
struct Switch {
    /// The schedule
    name: String,
    #[command(flatten)]
    dry: DryRun,
}

impl Schedule {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => look::list(context).await,
            Verb::Show(named) => look::show(context, &named.name).await,
            Verb::Next(next) => next.run(context).await,
            Verb::Create(create) => create.run(context).await,
            Verb::Edit(edit) => edit.run(context).await,
            Verb::Enable(switch) => change::switch(context, &switch.name, true, switch.dry.dry_run).await,
            Verb::Disable(switch) => change::switch(context, &switch.name, false, switch.dry.dry_run).await,
            Verb::Delete(switch) => change::delete(context, &switch.name, switch.dry.dry_run).await,
            Verb::Run(run) => run.run(context).await,
            Verb::Backfill(backfill) => backfill.run(context).await,
            Verb::Calendar(calendar) => calendar.run(context).await,
        }
    }
}

/// A schedule as the configuration and the store know it.
struct Found {
    spec: ScheduleSpec,
    /// Its row, once a scheduler or a command has made it.
    view: Option<ScheduleView>,
}

impl Found {
    /// Where it was created.
    fn origin(&self) -> ScheduleOrigin {
        self.view.as_ref().map_or(ScheduleOrigin::File, |view| view.origin)
    }
}

impl From<ScheduleDocument> for Found {
    fn from(document: ScheduleDocument) -> Self {
        Self { view: document.view(), spec: document.spec }
    }
}

/// Finds a schedule in the store or in the configuration; for schedules of the file, the file is the newest.
async fn find(context: &CommandContext, name: &str) -> Result<Found> {
    match context.backend().await?.schedule(name).await? {
        Some(document) => Ok(Found::from(document)),
        None => Err(unknown(context, name).await),
    }
}

async fn unknown(context: &CommandContext, name: &str) -> CommandError {
    let mut names = Vec::new();
    if let Ok(backend) = context.backend().await
        && let Ok(schedules) = backend.schedules().await
    {
        names.extend(schedules.into_iter().map(|schedule| schedule.name));
    }
    let error = CommandError::not_found(format!("there is no schedule `{name}`"));
    match suggest(name, names.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint("write [schedule.NAME] in the configuration, or `gristmill schedule create NAME …`"),
    }
}

/// Which rules of time zones are in use, and where they are from.
pub(in crate::cli) fn time_zones() -> String {
    match tzdb() {
        (edition, Some(place)) => format!("IANA database {edition}, from {place}"),
        (edition, None) => format!("IANA database {edition}, built in"),
    }
}

/// An instant on a wall clock, with its offset and the zone's name for it: `2026-03-29 02:30:00 BST`.
fn on_the_clock(at: Instant, zone: Zone) -> String {
    at.with_timezone(&zone).format("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The same instant on the viewer's clock.
fn on_our_clock(at: Instant) -> String {
    at.with_timezone(&Local).format("%a %Y-%m-%d %H:%M:%S %:z").to_string()
}

/// RFC 3339 in UTC, with as many digits as it needs.
fn utc(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Reads the instant of a flag: RFC 3339, or a date and time on the schedule's wall clock.
fn read_instant(flag: &str, text: &str, zone: Zone) -> Result<Instant> {
    instant(text, zone).ok_or_else(|| {
        CommandError::usage(format!("--{flag}: `{text}` is not an instant")).hint(format!(
            "write one such as 2030-01-31T02:00:00Z, or 2030-01-31T02:00 or 2030-01-31 on the clock of {zone}"
        ))
    })
}
