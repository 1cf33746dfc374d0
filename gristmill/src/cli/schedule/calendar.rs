//! `schedule calendar`: the slots of a schedule by day.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate, TimeDelta};
use clap::Args;
use gristmill_core::Instant;
use gristmill_service::documents::{SlotDocument, SlotState, slots};
use gristmill_store::TickFilter;

use super::look::compiled;
use super::{find, utc};
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{Exit, Result};

/// The most slots of a day that are drawn; more are counted.
const DRAWN: usize = 48;

/// The most slots that are looked at.
const SLOTS_MAX: usize = 10_000;

/// The slots of a schedule by day: on time, late, missed, skipped, planned
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule calendar nightly
  gristmill schedule calendar nightly --days 90 --ahead 30
  gristmill schedule calendar nightly --json

Each slot is one sign: # on time, + late, - missed, o skipped because an earlier run was under way, ~ waits,
! failed, b backfilled, m run by hand, . planned, ? due and not decided.")]
pub(super) struct Calendar {
    /// The schedule
    name: String,
    /// How many days back
    #[arg(long, value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u32).range(0..=3660))]
    days: u32,
    /// How many days ahead
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(0..=3660))]
    ahead: u32,
}

/// What became of a slot, and its sign.
const SIGNS: [(SlotState, char); 10] = [
    (SlotState::OnTime, '#'),
    (SlotState::Late, '+'),
    (SlotState::Missed, '-'),
    (SlotState::Skipped, 'o'),
    (SlotState::Waiting, '~'),
    (SlotState::Failed, '!'),
    (SlotState::Backfilled, 'b'),
    (SlotState::Manual, 'm'),
    (SlotState::Planned, '.'),
    (SlotState::Due, '?'),
];

impl Calendar {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let found = find(context, &self.name).await?;
        let timetable = compiled(&self.name, &found.spec)?;
        let backend = context.backend().await?;
        let now = backend.now().await?;
        let (from, until) = (now - TimeDelta::days(self.days.into()), now + TimeDelta::days(self.ahead.into()));
        let filter = TickFilter {
            tenant: context.tenant.clone(),
            schedule: self.name.clone(),
            from: Some(from),
            until: Some(until),
            limit: 10_000,
        };
        let rows = backend.ticks(&filter).await?;
        let since = found.view.as_ref().map_or(now, |view| view.decided_at);
        let slots = slots((&rows, &found.spec), &timetable, since, (now, until), SLOTS_MAX);
        match context.output.format {
            Format::Json => context.output.document(&slots),
            Format::Plain => {
                for slot in &slots {
                    context.output.line(&format!("{}\t{}", utc(slot.tick), slot.state));
                }
            }
            Format::Table => draw(context, &slots, |at| at.with_timezone(&timetable.zone()).date_naive()),
        }
        Ok(Exit::Success)
    }
}

fn draw(context: &CommandContext, slots: &[SlotDocument], day_of: impl Fn(Instant) -> NaiveDate) {
    let mut days: BTreeMap<NaiveDate, Vec<&SlotDocument>> = BTreeMap::new();
    for slot in slots {
        days.entry(day_of(slot.tick)).or_default().push(slot);
    }
    let (Some(first), Some(last)) = (days.keys().next().copied(), days.keys().last().copied()) else {
        context.output.note("no slots in that time");
        return;
    };
    let mut day = first;
    while day <= last {
        let slots = days.get(&day).map_or(&[][..], Vec::as_slice);
        context.output.line(&format!("{}  {}", day.format("%Y-%m-%d %a"), signs(slots)));
        let Some(next) = day.checked_add_days(Days::new(1)) else { break };
        day = next;
    }
    let seen = SIGNS.iter().filter(|(state, _)| slots.iter().any(|slot| slot.state == *state));
    let legend: Vec<String> =
        seen.map(|(state, sign)| format!("{sign} {}", state.as_str().replace('_', " "))).collect();
    context.output.line("");
    context.output.line(&legend.join("   "));
}

fn signs(slots: &[&SlotDocument]) -> String {
    let sign = |state: SlotState| SIGNS.iter().find(|(known, _)| *known == state).map_or(' ', |(_, sign)| *sign);
    let mut line: String = slots.iter().take(DRAWN).map(|slot| sign(slot.state)).collect();
    if slots.len() > DRAWN {
        line.push_str(&format!(" and {} more", slots.len() - DRAWN));
    }
    let missed: u64 = slots.iter().map(|slot| slot.ticks - 1).sum();
    if missed > 0 {
        line.push_str(&format!(" ({missed} more were missed)"));
    }
    line
}
