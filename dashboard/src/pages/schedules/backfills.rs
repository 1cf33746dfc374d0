//! Backfills: a past range, looked at before it runs; paused, resumed, cancelled.

use gristmill_core::access::Permission;
use gristmill_store::{BackfillView, NewBackfill};
use maud::{Markup, html};
use uuid::Uuid;

use crate::api::schedules::backfill::{BackfillBody, CONCURRENCY_MAX, backfill};
use crate::api::schedules::find;
use crate::gate::{Allowed, Caller, Path, Result, perm};
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, shell};
use crate::pages::parts::field::{Field, other_faults, required, text};
use crate::pages::parts::number::{count, counted};
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::{Row, actions, column, numbers, row, table};
use crate::pages::parts::time;
use crate::pages::view::{Head, View};

/// How many slots of a preview are listed.
const LISTED: usize = 100;

/// What a backfill would run, of how many slots.
type Preview = (Vec<gristmill_core::Instant>, usize);

pub(super) async fn blank(caller: Allowed<perm::SchedulesControl>, view: View, Path(name): Path<String>) -> Paged {
    find(&caller, &name).await?;
    Ok(page(&caller, &view, &name, &Form::of("concurrency=1"), None))
}

fn page(caller: &Caller, view: &View, name: &str, form: &Form, preview: Option<&Preview>) -> Page {
    let main = html! {
        (head(html! { "Backfill " a href={ "/schedules/" (name) } { (name) } }, "Runs the slots of a past range that have no run yet, or whose run was skipped or has failed.", Markup::default()))
        @if let Some(preview) = preview { (previewed(name, form, preview)) }
        (panel("range", "The range", fields(name, form)))
        (copies(&format!("gristmill schedule backfill {} --from 2030-01-01 --to 2030-01-31 --dry-run", shell(name)), &format!("/api/v1/schedules/{name}/backfills")))
    };
    view.page(caller, Head::new(format!("Backfill {name}"), "/schedules"), main)
}

fn fields(name: &str, form: &Form) -> Markup {
    let number =
        Field { kind: "number", ..text("concurrency", "Under way at once", "How many runs at most; 1 unless said") };
    html! {
        form method="post" action={ "/schedules/" (name) "/backfill" } class="stack" {
            (other_faults(form))
            (required("from", "From", "The first slot, or an instant before it: 2030-01-01, 2030-01-01T02:00 on the schedule's clock, or 2030-01-01T02:00:00Z").show(form))
            (required("to", "To", "The last slot, or an instant after it; not after now").show(form))
            (number.show(form))
            (text("order", "Order", "").show_choice(form, &[("", "oldest first"), ("newest", "newest first")]))
            (text("reason", "Reason", "For those who look later").show(form))
            button class="primary" name="verb" value="preview" { "Preview" }
        }
    }
}

fn previewed(name: &str, form: &Form, (slots, asked): &Preview) -> Markup {
    let columns = [column("Slot (UTC)"), column("How long ago")];
    let line = |at: &gristmill_core::Instant| {
        let shown = html! { span class="n" title=(at.to_rfc3339()) { (at.format("%a %Y-%m-%d %H:%M:%S")) } };
        row(at.timestamp_micros().to_string(), [shown, time::instant(*at)])
    };
    let hidden = ["from", "to", "concurrency", "order", "reason"];
    panel(
        "preview",
        "Preview: nothing was started yet",
        html! {
            p { strong { (counted(slots.len() as u64, "slot", "slots")) } " would run, of " (asked) " in the range; the others have run, or wait already." }
            @if !slots.is_empty() {
                form method="post" action={ "/schedules/" (name) "/backfill" } {
                    @for field in hidden { input type="hidden" name=(field) value=(form.given(field)); }
                    button class="primary" name="verb" value="start" { "Start " (counted(slots.len() as u64, "run", "runs")) }
                }
                (table("would", "Slots that would run", &columns, slots.iter().take(LISTED).map(line)))
                @if slots.len() > LISTED { p class="muted" { "The first " (LISTED) " are listed." } }
            }
        },
    )
}

/// The range of a form, as the API takes it.
fn read(form: &mut Form) -> Option<BackfillBody> {
    let (from, to) = (form.required("from"), form.required("to"));
    let concurrency = form.optional("concurrency").unwrap_or(1);
    if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
        form.fault("concurrency", format!("must be 1 to {CONCURRENCY_MAX}"));
    }
    let newest_first = form.text("order").as_deref() == Some("newest");
    Some(BackfillBody { from: from?, to: to?, concurrency, newest_first })
}

pub(super) async fn start(
    caller: Allowed<perm::SchedulesControl>,
    view: View,
    Path(name): Path<String>,
    mut form: Form,
) -> Result<Sent> {
    let (body, change, verb) = (read(&mut form), form.change(), form.text("verb"));
    let again = |form: &Form| Ok(Sent::Again(Box::new(page(&caller, &view, &name, form, None).refused())));
    let (Some(body), Ok(())) = (body, form.finish()) else { return again(&form) };
    let planned = match backfill(&caller, &name, &body).await {
        Ok(planned) => planned,
        Err(error) => {
            form.take(error)?;
            return again(&form);
        }
    };
    if verb.as_deref() != Some("start") {
        let preview = preview(&caller, &planned).await?;
        return Ok(Sent::Again(Box::new(page(&caller, &view, &name, &form, Some(&preview)))));
    }
    let waiting = caller.service().start_backfill(&caller.order(&change), &planned).await?;
    let flash = match waiting {
        0 => Flash::careful("No slot of that range is without a run."),
        _ => Flash::done(format!("{} wait for a scheduler to start them.", counted(waiting, "slot", "slots"))),
    };
    Ok(Sent::Done(Redirect::to(format!("/schedules/{name}#backfills")).saying(flash)))
}

async fn preview(caller: &Caller, planned: &NewBackfill) -> Result<Preview> {
    let mut slots: Vec<_> = caller.service().open_slots(planned).await?.into_iter().map(|(tick, _)| tick).collect();
    if planned.newest_first {
        slots.reverse();
    }
    Ok((slots, planned.ticks.len()))
}

/// The backfills of a schedule, the newest first.
pub(super) fn rows(caller: &Caller, name: &str, backfills: &[BackfillView]) -> Markup {
    let columns = [column("From"), column("To"), numbers("Waiting"), column("State"), column("Made"), actions()];
    html! {
        @if backfills.is_empty() { p class="muted" { "No past range was run again." } }
        @else { (table("backfill", "Backfills", &columns, backfills.iter().map(|one| line(caller, name, one)))) }
    }
}

fn line(caller: &Caller, name: &str, one: &BackfillView) -> Row {
    let day = |at: gristmill_core::Instant| html! { span class="n" title=(at.to_rfc3339()) { (at.format("%Y-%m-%d %H:%M")) } };
    let controls = caller.may(Permission::SchedulesControl) && one.waiting > 0;
    let state = match (one.waiting, one.paused) {
        (0, true) => "cancelled",
        (0, false) => "all started",
        (_, true) => "paused",
        (_, false) => "under way",
    };
    let cells = [
        day(one.from),
        day(one.to),
        count(one.waiting),
        html! { (state) },
        time::instant(one.created_at),
        if controls { acts(name, one) } else { Markup::default() },
    ];
    row(one.id.to_string(), cells)
}

fn acts(name: &str, one: &BackfillView) -> Markup {
    let to = |verb: &str| format!("/schedules/{name}/backfills/{}/{verb}", one.id);
    let id = |verb: &str| format!("{verb}-{}", one.id);
    html! {
        @if one.paused { (Action::light(id("resume"), to("resume"), "Resume", "Go on with it").form()) }
        @else { (Action::confirmed(id("pause"), to("pause"), "Pause", "Nothing more of it is started just now.").form()) }
        (Action::confirmed(id("cancel"), to("cancel"), "Cancel", "What still waits of it is taken away.").destroying().form())
    }
}

async fn paused(caller: &Caller, (name, id): (String, Uuid), mut form: Form, paused: bool) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let waiting = caller.service().pause_backfill(&caller.order(&change), &name, id, paused).await?;
    let word = if paused { "wait until it is resumed" } else { "are started in turn" };
    let flash = Flash::done(format!("{} {word}.", counted(waiting, "slot", "slots")));
    Ok(Redirect::to(format!("/schedules/{name}#backfills")).saying(flash))
}

pub(super) async fn pause(
    caller: Allowed<perm::SchedulesControl>,
    Path(place): Path<(String, Uuid)>,
    form: Form,
) -> Result<Redirect> {
    paused(&caller, place, form, true).await
}

pub(super) async fn resume(
    caller: Allowed<perm::SchedulesControl>,
    Path(place): Path<(String, Uuid)>,
    form: Form,
) -> Result<Redirect> {
    paused(&caller, place, form, false).await
}

pub(super) async fn cancel(
    caller: Allowed<perm::SchedulesControl>,
    Path((name, id)): Path<(String, Uuid)>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let gone = caller.service().cancel_backfill(&caller.order(&change), &name, id).await?;
    let flash = Flash::done(format!("{} do not run any more.", counted(gone, "slot", "slots")));
    Ok(Redirect::to(format!("/schedules/{name}#backfills")).saying(flash))
}
