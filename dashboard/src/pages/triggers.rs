//! Triggers: hooks and watched folders, and the events that they have brought.

use gristmill_core::access::Permission;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::documents::starts;
use gristmill_store::{LedgerTally, TickOutcome, TickView};
use maud::{Markup, html};

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::action::Action;
use super::parts::copies::{copies, shell};
use super::parts::empty::empty;
use super::parts::icon::Icon;
use super::parts::number::{count_or_none, counted, none};
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, actions, column, numbers, row, table, wide};
use super::parts::{links, time};
use super::view::{Head, View};
use crate::api::schedules::{Range, ledger};
use crate::api::triggers::{configured, find, missing};
use crate::gate::{Allowed, ApiError, Caller, Moment, Paging, Parameters, Params, Path, Query, Result, Routes, perm};

/// Of how many events of a trigger the list says what became of them.
const COUNTED: u32 = 100;

/// How many triggers a page has at most.
const ROWS_MAX: usize = 20;

/// How many events a page has.
const ROWS: u32 = 50;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/triggers", "Hooks and watched folders, with their last event", list)
        .get("/triggers/{sort}/{name}", "The events of a trigger, newest first", show)
        .post("/triggers/{sort}/{name}/retry", "Start an event anew whose run could not be started", retry)
}

async fn list(caller: Allowed<perm::SchedulesRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    let all = configured(&caller);
    let (total, after) = (all.len() as u64, paging.0.after.clone().unwrap_or_default());
    let most = ROWS_MAX.min(paging.0.limit as usize);
    let mut shown: Vec<(String, ScheduleSpec)> =
        all.into_iter().filter(|(name, _)| *name > after).take(most + 1).collect();
    let more = shown.len() > most;
    shown.truncate(most);
    let next = shown.last().filter(|_| more).map(|(name, _)| name.clone());
    let names: Vec<String> = shown.iter().map(|(name, _)| name.clone()).collect();
    let tallies = view.read(caller.store().tallies(caller.tenant(), &names, COUNTED)).await?;
    let main = html! {
        (head("Triggers", html! { (counted(total, "hook or watched folder", "hooks and watched folders")) }, Markup::default()))
        (panel("triggers", "What starts work from outside", html! {
            @if shown.is_empty() { (nothing()) } @else {
                (rows(&shown, &tallies))
                (pager(&view, shown.len(), next.as_deref()))
                p class="muted" { "The numbers are those of the newest " (COUNTED) " events of each." }
            }
        }))
        (copies("gristmill trigger list", "/api/v1/triggers"))
    };
    Ok(view.page(&caller, Head::new("Triggers", "/triggers").poll(15), main))
}

fn nothing() -> Markup {
    let first = [
        "[hook.orders]\nbatch = \"retail\"\nsecret_file = \"orders.key\"",
        "[watch.inbox]\nfolder = \"/srv/inbox\"\nbatch = \"retail\"",
    ];
    empty(
        "There is no trigger yet",
        "A hook starts work when another system calls; a watched folder when a file comes:",
        &first,
    )
}

fn rows(shown: &[(String, ScheduleSpec)], tallies: &[LedgerTally]) -> Markup {
    let columns = [
        column("Trigger"),
        column("Starts"),
        column("Last event"),
        numbers("Running"),
        numbers("Waiting"),
        numbers("Failed"),
    ];
    let line = |(name, spec): &(String, ScheduleSpec)| {
        let tally = tallies.iter().find(|tally| tally.schedule == *name).cloned().unwrap_or_default();
        let cells = [
            html! { a href={ "/triggers/" (name) } { (name) } },
            html! { (starts(spec)) },
            time::maybe(tally.last),
            count_or_none(tally.running),
            count_or_none(tally.waiting),
            count_or_none(tally.failed),
        ];
        row(name.replace('/', "-"), cells)
    };
    table("list", "Triggers", &columns, shown.iter().map(line))
}

/// Where the page begins: before the last event of the page before.
struct Wanted(Option<Moment>);

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self(query.one("after", "Before this instant: the last event of the page before"))
    }
}

async fn show(
    caller: Allowed<perm::SchedulesRead>,
    view: View,
    Path((sort, name)): Path<(String, String)>,
    Params(Wanted(after)): Params<Wanted>,
) -> Paged {
    let trigger = format!("{sort}/{name}");
    let until = after.map(|Moment(at)| at - chrono::TimeDelta::microseconds(1));
    let range = Range { from: None, until, limit: Some(ROWS) };
    let events = ledger(&caller, &trigger, &range).await?;
    let spec = configured(&caller).remove(&trigger);
    if events.is_empty() && spec.is_none() {
        return Err(missing(&trigger));
    }
    let next = events.last().filter(|_| events.len() == ROWS as usize);
    let next = next.map(|last| last.tick.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    let about = spec.map_or_else(
        || "It is in the configuration no more; its ledger stays.".to_owned(),
        |spec| format!("Starts {}", starts(&spec)),
    );
    let main = html! {
        (head(html! { "Trigger " (trigger) }, about, Markup::default()))
        (panel("events", "Events, newest first", html! {
            @if events.is_empty() { (empty("No event came yet", "What comes is written down here once.", &[])) }
            @else {
                (event_rows(&caller, &trigger, &events))
                (pager(&view, events.len(), next.as_deref()))
            }
        }))
        (copies(&format!("gristmill trigger show {}", shell(&trigger)), &format!("/api/v1/triggers/{trigger}/events")))
    };
    Ok(view.page(&caller, Head::new(format!("Trigger {trigger}"), "/triggers").poll(15), main))
}

fn event_rows(caller: &Caller, trigger: &str, events: &[TickView]) -> Markup {
    let columns = [
        column("Came"),
        wide("Event"),
        column("What became of it"),
        column("Run"),
        column("Result"),
        wide("Why"),
        actions(),
    ];
    table("event", "Events", &columns, events.iter().map(|event| one(caller, trigger, event)))
}

fn one(caller: &Caller, trigger: &str, event: &TickView) -> Row {
    let key = event.event.as_deref().unwrap_or_default();
    let again = event.outcome == TickOutcome::Failed && trigger.starts_with("hook/");
    let cells = [
        time::instant(event.tick),
        html! { code { (links::cut(key, 80)) } },
        outcome(event.outcome),
        match (event.batch, event.job) {
            (Some(batch), _) => links::batch(batch),
            (None, Some(job)) => links::job(job),
            (None, None) => none(),
        },
        html! { (event.result.as_deref().or(event.active.then_some("under way")).unwrap_or("–")) },
        html! { (links::cut(event.reason.as_deref().unwrap_or_default(), 200)) },
        if again && caller.may(Permission::SchedulesControl) {
            retry_form(trigger, event, key)
        } else {
            Markup::default()
        },
    ];
    row(event.tick.timestamp_micros().to_string(), cells)
}

fn outcome(of: TickOutcome) -> Markup {
    match of {
        TickOutcome::Ran => state(Icon::Done, "ran", Tone::Good),
        TickOutcome::Buffered | TickOutcome::Waiting => state(Icon::Waiting, "waiting", Tone::Calm),
        TickOutcome::SkippedMissed | TickOutcome::SkippedOverlap => state(Icon::Cancelled, "skipped", Tone::Off),
        TickOutcome::Failed => state(Icon::Dead, "failed", Tone::Bad),
    }
}

fn retry_form(trigger: &str, event: &TickView, key: &str) -> Markup {
    let hidden = html! { input type="hidden" name="event" value=(key); };
    let id = format!("retry-{}", event.tick.timestamp_micros());
    let about = "Starts its run anew, with what the event has brought.";
    Action::confirmed(id, format!("/triggers/{trigger}/retry"), "Retry", about).with(hidden).form()
}

async fn retry(
    caller: Allowed<perm::SchedulesControl>,
    Path((sort, name)): Path<(String, String)>,
    mut form: Form,
) -> Result<Redirect> {
    let trigger = format!("{sort}/{name}");
    let (event, change) = (form.required::<String>("event"), form.change());
    form.finish()?;
    if sort == "watch" {
        return Err(ApiError::conflict("the file of a watched folder is not there any more")
            .hint("put it back from failed/ into the folder: it is taken again"));
    }
    let row = find(&caller, &trigger, &event.unwrap_or_default()).await?;
    let affected = caller.service().retry_event(&caller.order(&change), &row).await?;
    let flash = match affected {
        0 => Flash::careful("Somebody else was first."),
        _ => Flash::done("The event waits for a scheduler to start its run anew."),
    };
    Ok(Redirect::to(format!("/triggers/{trigger}")).saying(flash))
}
