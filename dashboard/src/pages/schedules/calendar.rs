//! The calendar of a schedule: the slots of a month, drawn and as a table.

use std::collections::BTreeMap;

use chrono::{Datelike, Months, NaiveDate, TimeDelta, TimeZone};
use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::schedule::{Timetable, Zone};
use gristmill_service::documents::{SlotDocument, SlotState, slots};
use gristmill_store::{StoreError, TickFilter, TickView};
use maud::{Markup, html};

use super::slot;
use crate::api::schedules::Found;
use crate::gate::text::encoded;
use crate::gate::{Caller, Parameters, Query};
use crate::pages::charts::month::{self, Day};
use crate::pages::parts::action::Action;
use crate::pages::parts::filters;
use crate::pages::parts::links;
use crate::pages::parts::number::{count, duration, none};
use crate::pages::parts::table::{Row, actions, column, numbers, row, table, wide};
use crate::pages::view::View;

/// The most rows of the ledger, and the most slots to come, that a month shows.
const SLOTS_MAX: usize = 10_000;

/// The most slots of a day that are listed.
const LISTED: usize = 200;

/// Which month, and which day of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    month: Option<NaiveDate>,
    day: Option<NaiveDate>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let month = filters::text(query, "month", "The month of the calendar, such as `2030-01`");
        let day = filters::value(query, "day", "A day whose slots are listed, such as `2030-01-31`");
        let month = month.and_then(|text| match NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d") {
            Ok(first) => Some(first),
            Err(_) => {
                query.fault("month", format!("`{text}` is no month; write one such as `2030-01`"));
                None
            }
        });
        Self { month, day }
    }
}

/// A month of a schedule's slots.
#[derive(Debug)]
pub(super) struct Calendar {
    first: NaiveDate,
    today: NaiveDate,
    zone: Zone,
    days: BTreeMap<NaiveDate, Vec<SlotDocument>>,
    /// Whether there are more slots than are shown.
    more: bool,
}

/// When a day begins by a clock, also where its midnight is skipped.
fn begin(day: NaiveDate, zone: Zone) -> Instant {
    let midnight = day.and_time(chrono::NaiveTime::MIN);
    let hours = (0..4).map(|hour| midnight + TimeDelta::hours(hour));
    let found = hours.filter_map(|time| zone.from_local_datetime(&time).earliest()).next();
    found.map_or_else(|| midnight.and_utc(), |at| at.to_utc())
}

impl Calendar {
    /// Reads the month that is wanted, or this one.
    pub(super) async fn read(
        (caller, name, found): (&Caller, &str, &Found),
        timetable: &Timetable,
        now: Instant,
        wanted: Wanted,
    ) -> Result<Self, StoreError> {
        let zone = timetable.zone();
        let today = now.with_timezone(&zone).date_naive();
        let asked = wanted.month.or(wanted.day).unwrap_or(today);
        let first = asked.with_day(1).unwrap_or(asked);
        let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
        let (from, until) = (begin(first, zone), begin(next, zone) - TimeDelta::microseconds(1));
        let filter = TickFilter {
            tenant: caller.tenant().to_owned(),
            schedule: name.to_owned(),
            from: Some(from),
            until: Some(until),
            limit: u32::try_from(SLOTS_MAX).unwrap_or(u32::MAX),
        };
        let rows = caller.store().ticks(&filter).await?;
        let decided = found.view.as_ref().map_or(now, |view| view.decided_at);
        Ok(Self::of((&rows, found), timetable, (decided, now), (first, from, until)))
    }

    fn of(
        (rows, found): (&[TickView], &Found),
        timetable: &Timetable,
        (decided, now): (Instant, Instant),
        (first, from, until): (NaiveDate, Instant, Instant),
    ) -> Self {
        let zone = timetable.zone();
        let since = decided.max(from - TimeDelta::microseconds(1));
        let all = slots((rows, &found.spec), timetable, since, (now, until), SLOTS_MAX);
        let more = rows.len() >= SLOTS_MAX || all.len() >= rows.len() + SLOTS_MAX;
        let mut days: BTreeMap<NaiveDate, Vec<SlotDocument>> = BTreeMap::new();
        for slot in all {
            days.entry(slot.tick.with_timezone(&zone).date_naive()).or_default().push(slot);
        }
        Self { first, today: now.with_timezone(&zone).date_naive(), zone, days, more }
    }

    fn days(&self, view: &View) -> Vec<Day> {
        let month = self.first.iter_days().take_while(|day| day.month() == self.first.month());
        let day = |date: NaiveDate| Day {
            date,
            today: date == self.today,
            slots: self.of_day(date).iter().map(|slot| slot.state).collect(),
            href: format!("{}#slots", view.with("day", Some(&date.to_string()))),
        };
        month.map(day).collect()
    }

    fn of_day(&self, day: NaiveDate) -> &[SlotDocument] {
        self.days.get(&day).map_or(&[], Vec::as_slice)
    }

    /// The calendar: the picture, the same as a table, and the slots of the day that is wanted.
    pub(super) fn show(&self, caller: &Caller, view: &View, name: &str, wanted: Wanted) -> Markup {
        let days = self.days(view);
        let day = wanted.day.filter(|day| (day.year(), day.month()) == (self.first.year(), self.first.month()));
        let title = self.first.format("%B %Y").to_string();
        html! {
            nav class="months" aria-label="Months" {
                (self.way(name, -1)) strong { (title) } (self.way(name, 1))
                span class="muted" { "by the clock of " (self.zone) }
            }
            (month::month(&format!("Slots of {name} in {title}"), &days))
            (month::legend(&days))
            @if self.more { p class="muted" { "There are more than " (count(SLOTS_MAX as u64)) " slots; the newest are shown." } }
            details id="month-table" { summary { "As a table" } (as_table(&days)) }
            @if let Some(day) = day { (self.listed(caller, name, day)) }
        }
    }

    /// The way to the month before or after.
    fn way(&self, name: &str, by: i32) -> Markup {
        let one = Months::new(1);
        let month = if by < 0 { self.first.checked_sub_months(one) } else { self.first.checked_add_months(one) };
        let Some(month) = month else { return Markup::default() };
        let (sign, word) = if by < 0 { ("‹", "The month before") } else { ("›", "The month after") };
        let href = format!("/schedules/{}?month={}#calendar", encoded(name), month.format("%Y-%m"));
        html! { a class="button" href=(href) aria-label=(word) title=(word) { (sign) } }
    }

    fn listed(&self, caller: &Caller, name: &str, day: NaiveDate) -> Markup {
        let slots = self.of_day(day);
        let columns =
            [column("Slot"), column("State"), numbers("Late"), column("Run"), column("Result"), wide("Why"), actions()];
        html! {
            h3 id="slots" { "Slots of " (day) }
            @if slots.is_empty() { p class="muted" { "It has none." } }
            @else {
                (table("slot", "Slots of the day", &columns, slots.iter().take(LISTED).map(|slot| self.line(caller, name, slot))))
            }
            @if slots.len() > LISTED { p class="muted" { "The first " (LISTED) " of " (slots.len()) "." } }
        }
    }

    fn line(&self, caller: &Caller, name: &str, one: &SlotDocument) -> Row {
        let local = one.tick.with_timezone(&self.zone);
        let late = one.late_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0);
        let cells = [
            html! { span class="n" title=(one.tick.to_rfc3339()) { (local.format("%H:%M:%S %Z")) } },
            html! {
                (slot(one.state))
                @if one.ticks > 1 { " and " (one.ticks - 1) " before it" }
            },
            html! { @if let Some(ms) = late { (duration(std::time::Duration::from_millis(ms))) } @else { (none()) } },
            run_of(one),
            html! { (one.result.as_deref().unwrap_or("–")) },
            html! { (one.reason.as_deref().unwrap_or_default()) },
            if caller.may(Permission::SchedulesControl) && may_run(one.state) {
                run_slot(name, one)
            } else {
                Markup::default()
            },
        ];
        row(one.tick.timestamp_micros().to_string(), cells)
    }
}

/// Whether a slot has no run and could have one.
fn may_run(state: SlotState) -> bool {
    matches!(state, SlotState::Missed | SlotState::Skipped | SlotState::Failed)
}

fn run_of(one: &SlotDocument) -> Markup {
    match (one.batch, one.job) {
        (Some(batch), _) => links::batch(batch),
        (None, Some(job)) => links::job(job),
        (None, None) => none(),
    }
}

fn run_slot(name: &str, one: &SlotDocument) -> Markup {
    let at = one.tick.to_rfc3339();
    let hidden = html! { input type="hidden" name="slot" value=(at); };
    let id = format!("slot-run-{}", one.tick.timestamp_micros());
    let about = "Runs this slot now, with its own interval.";
    Action::confirmed(id, format!("/schedules/{name}/run"), "Run this slot", about).with(hidden).form()
}

/// The month as a table: each day with how many of its slots are in which state.
fn as_table(days: &[Day]) -> Markup {
    let all: Vec<SlotState> = days.iter().flat_map(|day| day.slots.iter().copied()).collect();
    let states: Vec<SlotState> = month::counted(&all).into_iter().map(|(state, _)| state).collect();
    let columns = std::iter::once(column("Day")).chain(states.iter().map(|state| numbers(month::word(*state))));
    let columns: Vec<_> = columns.collect();
    let line = |day: &Day| {
        let count = |state: &SlotState| day.slots.iter().filter(|slot| *slot == state).count();
        let cells = states.iter().map(|state| html! { (count(state)) });
        let first = html! { a href=(day.href) { (day.date) } };
        row(day.date.to_string(), std::iter::once(first).chain(cells))
    };
    table("month", "Slots by day and state", &columns, days.iter().filter(|day| !day.slots.is_empty()).map(line))
}

#[cfg(test)]
mod tests {
    use gristmill_core::schedule::zone;

    use super::*;

    #[test]
    fn a_day_begins_at_its_midnight_or_after_the_hour_that_is_skipped() {
        let date = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).expect("a date");
        let london = zone("Europe/London").expect("a zone");
        assert_eq!(begin(date(2026, 7, 1), london).to_rfc3339(), "2026-06-30T23:00:00+00:00");
        // In Cairo the clocks go forward at midnight.
        let cairo = zone("Africa/Cairo").expect("a zone");
        assert_eq!(begin(date(2026, 4, 24), cairo).to_rfc3339(), "2026-04-23T22:00:00+00:00");
    }
}
