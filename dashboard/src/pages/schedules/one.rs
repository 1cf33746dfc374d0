//! A schedule by itself: when it runs next, what became of its last ticks, its calendar, its backfills.

use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::duration;
use gristmill_core::schedule::{ScheduleSpec, Timetable};
use gristmill_service::documents::{PlannedTickDocument, ScheduleDocument, SlotState, starts};
use gristmill_store::{ScheduleOrigin, StoreError, TickFilter, TickView};
use maud::{Markup, html};

use super::calendar::{Calendar, Wanted};
use super::{backfills, run_now, shown, slot};
use crate::api::schedules::{Found, compiled, find, shown as seen, upcoming};
use crate::gate::{Allowed, Caller, Params, Path, perm};
use crate::pages::answer::Paged;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, shell};
use crate::pages::parts::number::none;
use crate::pages::parts::panel::{head, late_panel, panel};
use crate::pages::parts::table::{Column, Row, column, facts, numbers, row, table, wide};
use crate::pages::parts::{links, number, time};
use crate::pages::view::{Head, View};

/// How many ticks to come are shown.
const NEXT: usize = 5;

/// How many ticks that came are shown.
const LAST: u32 = 10;

pub(super) async fn show(
    caller: Allowed<perm::SchedulesRead>,
    view: View,
    Path(name): Path<String>,
    Params(wanted): Params<Wanted>,
) -> Paged {
    let found = find(&caller, &name).await?;
    let timetable = compiled(&name, &found.spec)?;
    let now = view.read(caller.store().now()).await?;
    let next = upcoming(&timetable, now, NEXT);
    let last = view.panel(ticks(&caller, &name)).await;
    let calendar = view.panel(Calendar::read((&caller, &name, &found), &timetable, now, wanted)).await;
    let backfills = view.panel(caller.store().backfills(caller.tenant(), &name)).await;
    let document = found.document(&caller, &name);
    let main = html! {
        (head(html! { "Schedule " (name) }, html! { "Runs " (document.description) }, acts(&caller, &found, &name)))
        (panel("about", "What it is", about(&document)))
        div class="columns" {
            (panel("next", "Next", next_rows(&timetable, &next, document.enabled)))
            (late_panel("last", "Last", last, |rows| last_rows(&rows, &found.spec)))
        }
        (late_panel("calendar", "Calendar", calendar, |calendar| calendar.show(&caller, &view, &name, wanted)))
        (late_panel("backfills", "Backfills", backfills, |rows| backfills::rows(&caller, &name, &rows)))
        (copies(&format!("gristmill schedule show {}", shell(&name)), &format!("/api/v1/schedules/{name}")))
    };
    Ok(view.page(&caller, Head::new(format!("Schedule {name}"), "/schedules").poll(15), main))
}

async fn ticks(caller: &Caller, name: &str) -> Result<Vec<TickView>, StoreError> {
    let filter = TickFilter {
        tenant: caller.tenant().to_owned(),
        schedule: name.to_owned(),
        from: None,
        until: None,
        limit: LAST,
    };
    let rows = caller.store().ticks(&filter).await?;
    Ok(rows.into_iter().map(|row| seen(caller, row)).collect())
}

fn acts(caller: &Caller, found: &Found, name: &str) -> Markup {
    if !caller.may(Permission::SchedulesControl) {
        return Markup::default();
    }
    html! {
        (run_now(name))
        @if let Some(view) = &found.view {
            @if view.enabled {
                (Action::confirmed("disable", format!("/schedules/{name}/disable"), "Disable", "It does not run by itself until it is enabled; what runs is finished.").form())
            } @else {
                (Action::confirmed("enable", format!("/schedules/{name}/enable"), "Enable", "It runs by itself again, from now on.").form())
            }
        }
        a class="button" href={ "/schedules/" (name) "/backfill" } { "Backfill" }
    }
}

fn about(document: &ScheduleDocument) -> Markup {
    let spec = &document.spec;
    let made = match document.origin {
        ScheduleOrigin::File => "in the configuration",
        ScheduleOrigin::Command => "by command",
    };
    let rhythm = spec.cron.clone().or_else(|| spec.every.map(|every| format!("every {}", duration::format(every.0))));
    html! {
        (facts([
            ("State", shown(document.state)),
            ("Starts", html! { (starts(spec)) }),
            ("Rhythm", html! { @if let Some(rhythm) = &rhythm { code { (rhythm) } } @else { (none()) } }),
            ("Missed ticks", html! { (spec.missed) }),
            ("While an earlier run is under way", html! { (spec.overlap()) }),
            ("Counts as late after", html! { (duration::format(spec.catch_up().grace)) }),
            ("Runs under way", html! { (document.running) @if document.buffered > 0 { ", and " (document.buffered) " wait" } }),
            ("Made", html! { (made) }),
            ("Owner", html! { @if let Some(owner) = &spec.owner { (owner) } @else { (none()) } }),
        ]))
        @if let Some(text) = &spec.description { p { (text) } }
    }
}

/// The ticks to come. UTC has a column where the schedule's clock is another one, and notes have one where there are any.
fn next_rows(timetable: &Timetable, next: &[Instant], enabled: bool) -> Markup {
    let planned: Vec<PlannedTickDocument> =
        next.iter().map(|tick| PlannedTickDocument::new(timetable, *tick)).collect();
    let elsewhere = timetable.zone().name() != "UTC";
    let noted = planned.iter().any(|tick| tick.note.is_some());
    let columns = [
        Some(column("By its own clock")),
        elsewhere.then_some(column("UTC")),
        Some(column("In")),
        noted.then_some(wide("Clock changes")),
    ];
    let columns: Vec<Column> = columns.into_iter().flatten().collect();
    let line = |one: &PlannedTickDocument| {
        let local = one.tick.with_timezone(&timetable.zone()).format("%a %Y-%m-%d %H:%M:%S %Z").to_string();
        let cells = [
            Some(html! { span class="n fixed" title=(one.tick.to_rfc3339()) { (local) } }),
            elsewhere.then(|| html! { span class="n fixed" { (one.tick.format("%Y-%m-%d %H:%M:%S")) } }),
            Some(time::instant(one.starts_at)),
            noted.then(|| html! { @if let Some(note) = &one.note { strong { (note) } } }),
        ];
        row(one.tick.timestamp_micros().to_string(), cells.into_iter().flatten())
    };
    html! {
        @if next.is_empty() { p class="muted" { "No tick is to come by the clock." } }
        @else { (table("ticks", "The next ticks", &columns, planned.iter().map(line))) }
        @if !enabled && !next.is_empty() { p class="note careful" { span { "It is disabled: these would come, and do not." } } }
    }
}

fn last_rows(rows: &[TickView], spec: &ScheduleSpec) -> Markup {
    let columns = [column("Tick"), column("What became of it"), numbers("Late"), column("Run"), wide("Why")];
    html! {
        @if rows.is_empty() { p class="muted" { "It has not come yet." } }
        @else { (table("came", "The last ticks", &columns, rows.iter().map(|row| tick(row, spec)))) }
    }
}

fn tick(one: &TickView, spec: &ScheduleSpec) -> Row {
    let late = u64::try_from(one.late_ms).unwrap_or(0);
    let result = one.result.as_deref().or(one.active.then_some("under way"));
    let cells = [
        time::instant(one.tick),
        html! { (slot(SlotState::of(one, spec))) @if let Some(result) = result { ", " (result) } },
        html! { @if late == 0 { (none()) } @else { (number::duration(std::time::Duration::from_millis(late))) } },
        match (one.batch, one.job) {
            (Some(batch), _) => links::batch(batch),
            (None, Some(job)) => links::job(job),
            (None, None) => none(),
        },
        html! { (one.reason.as_deref().unwrap_or_default()) },
    ];
    row(one.tick.timestamp_micros().to_string(), cells)
}
