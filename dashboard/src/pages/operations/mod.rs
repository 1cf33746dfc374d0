//! Operations: what is done to every job that a query selects, in steps. Their list, one of them with how far it is, and
//! what can still be done about it. [`start`]: how one begins, after a look at what it would do.

mod start;

use gristmill_core::access::Permission;
use gristmill_core::id::OperationId;
use gristmill_core::operation::OperationState;
use gristmill_service::documents::OperationDocument;
use maud::{Markup, html};

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::action::Action;
use super::parts::copies::{copies, copy};
use super::parts::empty::empty;
use super::parts::icon::Icon;
use super::parts::number::{count, count_or_none, counted, grouped};
use super::parts::pager::pager;
use super::parts::panel::{head, note, panel};
use super::parts::progress::{Share, bar, legend};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, column, facts, numbers, row, table};
use super::parts::time;
use super::view::{Head, View};
use crate::api::operations::{may, may_undo, shown};
use crate::gate::{Allowed, Caller, Paging, Params, Path, Result, Routes, perm};

/// How often a page is read again while an operation is under way.
const POLL_SECONDS: u32 = 3;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/operations", "Operations over many jobs, items or batches, newest first", list)
        .get("/operations/start", "Say what is to be done, and to which jobs, items or batches", start::blank)
        .post_slowly("/operations/start", "Look at what would be done, or do it", start::start)
        .get("/operations/{operation}", "An operation, with how far it is", show)
        .post("/operations/{operation}/cancel", "Call it off: what it has changed stays so", cancel)
        .post("/operations/{operation}/undo", "Bring back what it has changed, where nothing happened since", undo)
}

/// A word at the beginning of a line.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// How a state looks.
fn look(of: OperationState) -> Markup {
    let (shape, tone) = match of {
        OperationState::Running => (Icon::Running, Tone::Active),
        OperationState::Finished => (Icon::Done, Tone::Good),
        OperationState::Cancelled => (Icon::Cancelled, Tone::Off),
        OperationState::Undoing => (Icon::Again, Tone::Active),
        OperationState::Undone => (Icon::Aside, Tone::Calm),
    };
    state(shape, of.as_str(), tone)
}

async fn list(caller: Allowed<perm::OperationsRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    let found = view.read(caller.store().operations(caller.tenant(), &paging.0)).await?;
    let next = paging.next(&found, |operation| operation.id.to_string());
    let acts = html! {
        @if caller.may(Permission::OperationsControl) { a class="button primary" href="/operations/start" { "New operation" } }
    };
    let main = html! {
        (head("Operations", "What was done to everything that a query selects, in steps", acts))
        (panel("list", "Operations, newest first", html! {
            @if found.is_empty() {
                (empty("No operation yet", "One does the same to every job, quarantined item or batch that a query selects:",
                    &["gristmill job cancel --query 'state:queued kind:import.*' --dry-run"]))
            } @else {
                (rows(&found))
                (pager(&view, found.len(), next.as_deref()))
            }
        }))
        (copies("gristmill operation list", "/api/v1/operations"))
    };
    let under_way = found.iter().any(|operation| operation.state.is_under_way());
    let poll = if under_way { POLL_SECONDS } else { 15 };
    Ok(view.page(&caller, Head::new("Operations", "/operations").poll(poll), main))
}

fn rows(operations: &[OperationDocument]) -> Markup {
    let columns = [
        column("Operation"),
        column("State"),
        column("Query"),
        numbers("Matched"),
        numbers("Done"),
        numbers("Not possible"),
        column("By"),
        column("Reason"),
        column("Started"),
    ];
    table("operation", "Operations, newest first", &columns, operations.iter().map(one))
}

fn one(operation: &OperationDocument) -> Row {
    let cells = [
        html! { a href={ "/operations/" (operation.id) } { (operation.verb) } },
        look(operation.state),
        html! { code { (operation.query) } },
        html! { (grouped(operation.preview)) @if operation.preview_more { "+" } },
        count(operation.done),
        count_or_none(operation.failed + operation.skipped),
        html! { (operation.actor) },
        html! { (operation.reason) },
        time::instant(operation.created_at),
    ];
    row(operation.id.to_string(), cells)
}

async fn show(caller: Allowed<perm::OperationsRead>, view: View, Path(id): Path<OperationId>) -> Paged {
    let operation = shown(&caller, view.read(caller.service().operation(caller.tenant(), id)).await?);
    let about =
        html! { (look(operation.state)) " started " (time::instant(operation.created_at)) " by " (operation.actor) };
    let main = html! {
        (head(html! { (operation.verb) " " code { (operation.query) } }, about, acts(&caller, &operation)))
        (copy("operation-id", "Id", &id.to_string()))
        @if operation.can_be_undone {
            (note(Tone::Calm, Icon::Again, html! {
                @match operation.undo_until {
                    Some(until) => { "It can be undone until " (time::instant(until)) "." }
                    None => "It can be undone while it goes on, and for a while after its end.",
                }
            }))
        }
        (panel("progress", "How far it is", progress(&operation)))
        (panel("order", "The order", order(&operation)))
        @if super::nav::exists("/audit") && caller.may(Permission::AuditRead) {
            p { a href={ "/audit?target=" (id) } { "What the audit has of it" } }
        }
        (copies(&format!("gristmill operation show {id}"), &format!("/api/v1/operations/{id}")))
    };
    let head = Head::new(format!("Operation {id}"), "/operations");
    let poll = if operation.state.is_under_way() { POLL_SECONDS } else { 60 };
    Ok(view.page(&caller, head.poll(poll), main))
}

fn progress(operation: &OperationDocument) -> Markup {
    let OperationDocument { done, failed, skipped, undone, preview, .. } = operation;
    let (one, several) = operation.verb.subjects().names();
    let left =
        if operation.state == OperationState::Running { preview.saturating_sub(done + failed + skipped) } else { 0 };
    let shares = [
        Share { name: "changed", count: done - undone.min(done), class: "f-ok" },
        Share { name: "brought back", count: *undone, class: "f-off" },
        Share { name: "not possible", count: *failed, class: "f-bad" },
        Share { name: "in another state by then", count: *skipped, class: "f-skip" },
        Share { name: "to go", count: left, class: "f-wait" },
    ];
    html! {
        (bar(&capital(several), &shares))
        (legend(&shares))
        @if operation.undo_failed > 0 {
            p { (counted(operation.undo_failed, one, several)) " could not be brought back: something has happened to them since." }
        }
        @if let Some(error) = &operation.error { p class="fault" { "The last that was not possible: " (error) } }
    }
}

fn order(operation: &OperationDocument) -> Markup {
    let (_, several) = operation.verb.subjects().names();
    let matched = html! { (grouped(operation.preview)) @if operation.preview_more { " or more" } };
    let rate = html! { @match operation.rate { Some(rate) => { (grouped(u64::from(rate))) " " (several) " a second" } None => "as fast as it goes" } };
    facts([
        ("Query", html! { code { (operation.query) } }),
        ("Matched", matched),
        ("As of", time::instant(operation.snapshot)),
        ("Rate", rate),
        ("Reason", html! { (operation.reason) }),
        ("Ended", time::maybe(operation.ended_at)),
    ])
}

fn acts(caller: &Caller, operation: &OperationDocument) -> Markup {
    let to = |verb: &str| format!("/operations/{}/{verb}", operation.id);
    html! {
        @if caller.may(Permission::OperationsControl) {
            @if operation.state == OperationState::Running {
                (Action::confirmed("cancel", to("cancel"), "Cancel", "Nothing further is changed. What it has changed stays so.").destroying().form())
            }
            @if operation.can_be_undone && may(caller, operation.verb).is_ok() {
                (Action::confirmed("undo", to("undo"), "Undo", "All that it has changed comes back, where nothing has happened to it since.").form())
            }
        }
    }
}

async fn cancel(
    caller: Allowed<perm::OperationsControl>,
    Path(id): Path<OperationId>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let operation = caller.service().cancel_operation(&caller.order(&change), id).await?;
    let (one, several) = operation.verb.subjects().names();
    let flash = Flash::done(format!("It was called off after {}.", counted(operation.done, one, several)));
    Ok(Redirect::to(format!("/operations/{id}")).saying(flash))
}

async fn undo(
    caller: Allowed<perm::OperationsControl>,
    Path(id): Path<OperationId>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    may_undo(&caller, id).await?;
    caller.service().undo_operation(&caller.order(&change), id).await?;
    Ok(Redirect::to(format!("/operations/{id}")).saying(Flash::done("What it has changed is brought back, in steps.")))
}
