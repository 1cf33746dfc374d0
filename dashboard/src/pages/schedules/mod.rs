//! Schedules: when they run, what became of it, and their backfills.
//!
//! * [`act`]: run, enable, disable.
//! * [`backfills`]: past ranges.
//! * [`calendar`]: the slots of a month.
//! * [`one`]: a schedule by itself.

mod act;
mod backfills;
mod calendar;
mod one;

use std::collections::BTreeMap;

use gristmill_core::access::Permission;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::documents::{ScheduleDocument, ScheduleState, SlotState, starts};
use gristmill_store::TickView;
use maud::{Markup, html};

use super::answer::Paged;
use super::charts::month;
use super::parts::action::Action;
use super::parts::copies::copies;
use super::parts::empty::empty;
use super::parts::icon::Icon;
use super::parts::number::{count_or_none, counted, none};
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, actions, column, numbers, row, table};
use super::parts::time;
use super::view::{Head, View};
use crate::api::schedules::configured;
use crate::gate::{Allowed, Caller, Paging, Params, Routes, perm};

/// How many schedules a page has at most: of each one row of its ledger is read.
const ROWS_MAX: usize = 50;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/schedules", "Schedules with their next run and what became of the last", list)
        .get("/schedules/{schedule}", "A schedule with its next ticks, its last runs and its calendar", one::show)
        .post_slowly("/schedules/{schedule}/run", "Run it now, or run one slot", act::run)
        .post("/schedules/{schedule}/enable", "Let it run by itself", act::enable)
        .post("/schedules/{schedule}/disable", "Stop it from running by itself", act::disable)
        .get("/schedules/{schedule}/backfill", "The form for a past range", backfills::blank)
        .post("/schedules/{schedule}/backfill", "Run a past range, or say what would run", backfills::start)
        .post("/schedules/{schedule}/backfills/{backfill}/pause", "Start nothing more of it just now", backfills::pause)
        .post("/schedules/{schedule}/backfills/{backfill}/resume", "Go on with it", backfills::resume)
        .post("/schedules/{schedule}/backfills/{backfill}/cancel", "Take away what still waits", backfills::cancel)
}

async fn list(caller: Allowed<perm::SchedulesRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    let views = view.read(caller.store().schedules(Some(caller.tenant()), None)).await?;
    let mut all: BTreeMap<String, ScheduleDocument> =
        views.iter().map(|found| (found.name.clone(), ScheduleDocument::from(found))).collect();
    for (name, spec) in configured(&caller) {
        let unseen = ScheduleDocument::new(caller.tenant(), &name, &spec, None);
        all.entry(name).or_insert(unseen);
    }
    let total = all.len() as u64;
    let after = paging.0.after.clone().unwrap_or_default();
    let most = ROWS_MAX.min(paging.0.limit as usize);
    let mut shown: Vec<ScheduleDocument> = all.into_values().filter(|one| one.name > after).take(most + 1).collect();
    let more = shown.len() > most;
    shown.truncate(most);
    let next = shown.last().filter(|_| more).map(|one| one.name.clone());
    let names: Vec<String> = shown.iter().map(|one| one.name.clone()).collect();
    // The page does without where that cannot be read in time.
    let last = view.panel(caller.store().newest_ticks(caller.tenant(), &names)).await.unwrap_or_default();
    let main = html! {
        (head("Schedules", html! { (counted(total, "schedule", "schedules")) }, Markup::default()))
        (panel("schedules", "Schedules, by name", html! {
            @if shown.is_empty() { (nothing()) } @else {
                (rows(&caller, &shown, &last))
                (pager(&view, shown.len(), next.as_deref()))
            }
        }))
        (copies("gristmill schedule list", "/api/v1/schedules"))
    };
    Ok(view.page(&caller, Head::new("Schedules", "/schedules").poll(15), main))
}

fn nothing() -> Markup {
    let first = ["[schedule.nightly]\ncron = \"0 2 * * *\"\ntimezone = \"Europe/London\"\nbatch = \"retail\""];
    empty(
        "There is no schedule yet",
        "Write the first one into the configuration; a running scheduler sees it at once:",
        &first,
    )
}

fn rows(caller: &Caller, schedules: &[ScheduleDocument], last: &[TickView]) -> Markup {
    let columns = [
        column("Schedule"),
        column("When"),
        column("Starts"),
        column("State"),
        column("Next"),
        column("Last"),
        numbers("Running"),
        actions(),
    ];
    let of = |name: &str| last.iter().find(|tick| tick.schedule == name);
    let lines = schedules.iter().map(|one| line(caller, one, of(&one.name)));
    table("list", "Schedules", &columns, lines)
}

fn line(caller: &Caller, one: &ScheduleDocument, last: Option<&TickView>) -> Row {
    let cells = [
        html! { a href={ "/schedules/" (one.name) } { (one.name) } },
        html! { (one.description) },
        html! { (starts(&one.spec)) },
        shown(one.state),
        time::maybe(one.next_at.filter(|_| one.enabled)),
        last.map_or_else(none, |tick| outcome(tick, &one.spec)),
        count_or_none(one.running),
        if caller.may(Permission::SchedulesControl) { run_now(&one.name) } else { Markup::default() },
    ];
    row(one.name.clone(), cells)
}

/// Whether it runs by itself.
fn shown(of: ScheduleState) -> Markup {
    match of {
        ScheduleState::New => state(Icon::Clock, "new", Tone::Calm),
        ScheduleState::Enabled => state(Icon::Done, "enabled", Tone::Good),
        ScheduleState::Disabled => state(Icon::Paused, "disabled", Tone::Careful),
    }
}

/// What became of a tick, and when that was.
fn outcome(tick: &TickView, spec: &ScheduleSpec) -> Markup {
    let result = tick.result.as_deref().or(tick.active.then_some("under way"));
    html! {
        span {
            (slot(SlotState::of(tick, spec)))
            @if let Some(result) = result { ", " (result) }
            " " (time::instant(tick.tick))
        }
    }
}

/// The state of a slot: mark and word.
fn slot(of: SlotState) -> Markup {
    html! { span class="state" { (month::mark(of)) span { (month::word(of)) } } }
}

fn run_now(name: &str) -> Markup {
    let about = "Starts one run now, besides those by the clock.";
    Action::confirmed(format!("run-{name}"), format!("/schedules/{name}/run"), "Run now", about).form()
}
