//! Events: what has happened, what became of one, and who is given which.

use gristmill_core::access::Permission;
use gristmill_core::event::Event;
use gristmill_service::events::walk;
use gristmill_store::{DeliveryView, EventFilter, SubscriptionView};
use maud::{Markup, html};

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::action::Action;
use super::parts::copies::{copies, path, shell};
use super::parts::empty::empty;
use super::parts::icon::Icon;
use super::parts::number::{count_or_none, none};
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, actions, column, facts, numbers, row, table, wide};
use super::parts::{links, time};
use super::view::{Head, View};
use crate::api::events::Wanted;
use crate::gate::{Allowed, Caller, Params, Path, Result, Routes, perm};
use crate::live::Topic;

/// How many events of a chain are shown.
const CHAIN_MAX: u32 = 50;

/// How many characters of the data are shown.
const DATA_CHARS_MAX: usize = 20_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/events", "Events, the newest first, and the subscriptions to them", list)
        .get("/events/{position}", "An event, what became of it, and its chain", show)
        .post("/events/subscriptions/{subscription}/pause", "Give a subscription no events until it is resumed", pause)
        .post("/events/subscriptions/{subscription}/resume", "Let a subscription go on where it was", resume)
}

async fn list(caller: Allowed<perm::EventsRead>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let Wanted { types, filter } = wanted;
    let before = filter.before.or(filter.after);
    let filter = EventFilter { tenant: caller.tenant().to_owned(), after: None, before, newest_first: true, ..filter };
    let page = view.read(walk::list(&**caller.store(), &filter, &types)).await?;
    let subscriptions = view.read(caller.store().subscriptions(Some(caller.tenant()))).await?;
    let next = page.next.map(|position| position.to_string());
    let pattern = types.first().map(ToString::to_string);
    let main = html! {
        (head("Events", "What has happened, and what it starts", Markup::default()))
        (panel("subscriptions", "Subscriptions", html! {
            @if subscriptions.is_empty() {
                (empty("There is no subscription yet", "A subscription starts a job or a batch for each event that it means:",
                    &["[events.subscriptions.receipts]\ntypes = \"order.paid\"\nbatch = \"receipts\""]))
            } @else { (subscription_rows(&caller, &subscriptions)) }
        }))
        (panel("events", "Events, the newest first", html! {
            form class="filter" method="get" action="/events" {
                label for="type" { "Type" }
                input id="type" name="type" value=(pattern.clone().unwrap_or_default()) placeholder="batch.*";
                button { "Show" }
            }
            @if page.events.is_empty() {
                (empty("No event is here", "What happens is written down here, and what you publish:",
                    &["gristmill event publish order.paid --data '{\"total\": 12}'"]))
            } @else {
                (event_rows(&page.events))
                (pager(&view, page.events.len(), next.as_deref()))
            }
        }))
        (copies("gristmill event list", &path("/api/v1/events", &[("type", pattern.as_deref())])))
    };
    Ok(view.page(&caller, Head::new("Events", "/events").live([Topic::Events]), main))
}

fn event_rows(events: &[Event]) -> Markup {
    let columns = [numbers("Position"), wide("Type"), wide("Subject"), column("Source"), column("When")];
    let line = |event: &Event| {
        let position = event.position.unwrap_or_default();
        let cells = [
            html! { a href={ "/events/" (position) } { (position) } },
            html! { code { (event.kind) } },
            event.subject.as_deref().map_or_else(none, |subject| links::cut(subject, 80)),
            links::cut(&event.source, 40),
            time::instant(event.accepted_at),
        ];
        row(position.to_string(), cells)
    };
    table("event", "Events", &columns, events.iter().map(line))
}

fn subscription_rows(caller: &Caller, subscriptions: &[SubscriptionView]) -> Markup {
    let columns = [
        column("Subscription"),
        wide("Types"),
        column("Starts"),
        column("State"),
        numbers("Lag"),
        column("Behind since"),
        numbers("Delivered"),
        numbers("Refused"),
        actions(),
    ];
    table("subscription", "Subscriptions", &columns, subscriptions.iter().map(|one| subscription(caller, one)))
}

fn subscription(caller: &Caller, view: &SubscriptionView) -> Row {
    let starts = match (&view.spec.batch, &view.spec.job) {
        (Some(batch), _) => format!("batch {batch}"),
        (None, Some(job)) => format!("job {}", job.kind),
        (None, None) => String::new(),
    };
    let how = match (&view.paused_at, &view.error) {
        (Some(_), _) => state(Icon::Waiting, "paused", Tone::Off),
        (None, Some(_)) => state(Icon::Dead, "waits", Tone::Bad),
        (None, None) => state(Icon::Done, "active", Tone::Good),
    };
    let reason = view.error.as_ref().or(view.paused_for.as_ref());
    let cells = [
        html! { (view.name) },
        html! { code { (view.spec.types.as_slice().join(", ")) } },
        html! { (starts) },
        html! { (how) @if let Some(reason) = reason { " " (links::cut(reason, 120)) } },
        count_or_none(view.lag),
        time::maybe(view.behind_since),
        count_or_none(view.delivered),
        count_or_none(view.refused),
        if caller.may(Permission::EventsControl) { control(view) } else { Markup::default() },
    ];
    row(view.name.clone(), cells)
}

fn control(view: &SubscriptionView) -> Markup {
    let (verb, word, about) = match view.paused_at {
        None => ("pause", "Pause", "It is given no events until it is resumed, and misses none."),
        Some(_) => ("resume", "Resume", "It goes on where it was."),
    };
    let to = format!("/events/subscriptions/{}/{verb}", view.name);
    Action::confirmed(format!("{verb}-{}", view.name), to, word, about).form()
}

async fn show(caller: Allowed<perm::EventsRead>, view: View, Path(position): Path<u64>) -> Paged {
    let at = EventFilter {
        tenant: caller.tenant().to_owned(),
        after: Some(position.saturating_sub(1)),
        before: Some(position.saturating_add(1)),
        limit: 1,
        ..EventFilter::default()
    };
    let found = view.read(caller.store().list_events(&at)).await?.pop();
    let missing = || gristmill_store::StoreError::NotFound(format!("there is no event at position {position}"));
    let event = found.ok_or_else(missing)?;
    let deliveries = view.read(caller.store().event_deliveries(caller.tenant(), position)).await?;
    let chain = EventFilter {
        tenant: caller.tenant().to_owned(),
        correlation: Some(event.correlation.clone()),
        limit: CHAIN_MAX,
        ..EventFilter::default()
    };
    let chain = view.read(caller.store().list_events(&chain)).await?;
    let contents = caller.may(Permission::ContentsRead);
    let main = html! {
        (head(html! { "Event " (position) }, html! { code { (event.kind) } }, Markup::default()))
        (panel("event", "What it says", about(&event, contents)))
        (panel("deliveries", "What became of it", html! {
            @if deliveries.is_empty() { (empty("No subscription means it", "Or none has come to it yet.", &[])) }
            @else { (delivery_rows(&deliveries)) }
        }))
        @if chain.len() > 1 { (panel("chain", "The chain that it belongs to", event_rows(&chain))) }
        (copies(&format!("gristmill event show {}", shell(&event.id)), &format!("/api/v1/events/{}", event.id)))
    };
    Ok(view.page(&caller, Head::new(format!("Event {position}"), "/events").poll(15), main))
}

fn about(event: &Event, contents: bool) -> Markup {
    let text = |text: &Option<String>| text.as_deref().map_or_else(none, |text| html! { (text) });
    let data: String =
        serde_json::to_string_pretty(&event.data).unwrap_or_default().chars().take(DATA_CHARS_MAX).collect();
    html! {
        (facts([
            ("Id", html! { code { (event.id) } }),
            ("Type", html! { code { (event.kind) } ", version " (event.version) }),
            ("Source", html! { (event.source) }),
            ("Subject", text(&event.subject)),
            ("Stream", html! { (event.stream) @if let Some(seq) = event.seq { ", number " (seq) } }),
            ("When", time::instant(event.time)),
            ("Who", text(&event.user)),
            ("Caused by", text(&event.causation)),
        ]))
        @if contents { pre { code { (data) } } }
        @else { p class="muted" { "What it says is for those who may see contents." } }
    }
}

fn delivery_rows(deliveries: &[DeliveryView]) -> Markup {
    let columns = [column("Subscription"), column("Started"), wide("Why not"), column("Replay"), column("When")];
    let line = |one: &DeliveryView| {
        let started = match (&one.job, &one.run) {
            (Some(job), _) => links::job(*job),
            (None, Some(run)) => html! { "run " code { (links::cut(run, 80)) } },
            (None, None) => state(Icon::Dead, "refused", Tone::Bad),
        };
        let replay = one.replay.map_or_else(none, |replay| html! { code { (links::short(&replay.to_string())) } });
        let why = one.reason.as_deref().map_or_else(none, |reason| links::cut(reason, 200));
        let id = format!("{}-{}", one.subscription, one.replay.map(|id| id.to_string()).unwrap_or_default());
        row(id, [html! { (one.subscription) }, started, why, replay, time::instant(one.at)])
    };
    table("delivery", "Deliveries", &columns, deliveries.iter().map(line))
}

async fn pause(caller: Allowed<perm::EventsControl>, Path(name): Path<String>, mut form: Form) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let report = caller.service().pause_subscription(&caller.order(&change), &name).await?;
    Ok(Redirect::to("/events").saying(said(report.affected, "It is given no events until it is resumed.")))
}

async fn resume(caller: Allowed<perm::EventsControl>, Path(name): Path<String>, mut form: Form) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let report = caller.service().resume_subscription(&caller.order(&change), &name).await?;
    Ok(Redirect::to("/events").saying(said(report.affected, "It goes on where it was.")))
}

fn said(affected: u64, done: &'static str) -> Flash {
    if affected > 0 { Flash::done(done) } else { Flash::careful("It was so already.") }
}
