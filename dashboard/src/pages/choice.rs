//! In which tenant a person works, and in which time zone they are shown instants: two cookies of their browser.

use axum::http::HeaderValue;
use gristmill_core::access::Subject;
use gristmill_core::schedule::{zone, zone_names};
use gristmill_store::accounts::MembershipView;
use maud::{Markup, html};

use super::answer::{Paged, Redirect, local};
use super::form::Form;
use super::parts::panel::{head, panel};
use super::parts::time::{UTC, shown, zone_name};
use super::view::{Head, View};
use crate::gate::authenticate::CHOSEN_TENANT;
use crate::gate::zone::COOKIE;
use crate::gate::{Caller, Parameters, Params, Query, Recognized, Result, Routes};

/// For how long a browser keeps a choice.
const KEPT_SECONDS: u32 = 31_536_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/choice", "Your tenant, and the time zone of what is shown", show)
        .post("/choice/tenant", "Work in another of your tenants", tenant)
        .post("/choice/zone", "Show instants in another time zone", time_zone)
}

/// Where the person came from.
struct From {
    next: Option<String>,
}

impl Parameters for From {
    fn read(query: &mut Query) -> Self {
        Self { next: query.one("next", "The page to go back to") }
    }
}

async fn show(caller: Recognized, view: View, Params(from): Params<From>) -> Paged {
    let memberships = match caller.principal.subject {
        Subject::User(user) => {
            let found = view.read(caller.whole_store().user(user)).await?;
            found.map(|user| user.memberships).unwrap_or_default()
        }
        Subject::Token { .. } | Subject::Anyone => Vec::new(),
    };
    let next = local(from.next.as_deref().unwrap_or("/"));
    let main = html! {
        (head("Tenant and time zone", "Kept in this browser alone.", Markup::default()))
        (panel("tenants", "Your tenant", tenants(&caller, &memberships)))
        (panel("zone", "Time zone", zones(&view, next)))
        p { a class="button" href=(next) { "Back" } }
    };
    Ok(view.page(&caller, Head::new("Tenant and time zone", ""), main))
}

fn tenants(caller: &Caller, memberships: &[MembershipView]) -> Markup {
    html! {
        @if memberships.len() < 2 { p class="muted" { "You work in " strong { (caller.tenant()) } ", and are a member of no other." } }
        @else {
            form method="post" action="/choice/tenant" class="acts" {
                @for of in memberships {
                    button name="tenant" value=(of.tenant) disabled[of.tenant == caller.tenant()]
                        aria-current=[(of.tenant == caller.tenant()).then_some("true")] { (of.tenant) " as " (of.role) }
                }
            }
        }
    }
}

fn zones(view: &View, next: &str) -> Markup {
    let now = zone_name();
    html! {
        p { "Instants are shown in " strong { (now) } ": it is " (shown(view.now())) "." }
        form method="post" action="/choice/zone" class="acts" {
            input type="hidden" name="next" value=(next);
            label for="zone-name" { "Zone" }
            select id="zone-name" name="zone" {
                option selected[now == UTC] { (UTC) }
                @for name in zone_names().filter(|name| name.contains('/') && !name.starts_with("Etc/")) {
                    option selected[name == now] { (name) }
                }
            }
            button class="primary" { "Use it" }
        }
    }
}

async fn tenant(caller: Recognized, mut form: Form) -> Result<Redirect> {
    let wanted = form.required::<String>("tenant");
    form.finish()?;
    let wanted = wanted.unwrap_or_default();
    let Subject::User(user) = caller.principal.subject else { return Ok(Redirect::to("/")) };
    let found = caller.whole_store().user(user).await?;
    let is_member = found.is_some_and(|user| user.memberships.iter().any(|of| of.tenant == wanted));
    if !is_member {
        form.fault("tenant", format!("is not one of yours: {wanted}"));
        form.finish()?;
    }
    Ok(Redirect::to("/").setting(vec![kept(CHOSEN_TENANT, &wanted)]))
}

async fn time_zone(_: Recognized, mut form: Form) -> Result<Redirect> {
    let (wanted, next) = (form.required::<String>("zone"), form.text("next").unwrap_or_default());
    let wanted = wanted.unwrap_or_default();
    if wanted != UTC && zone(&wanted).is_none() {
        form.fault("zone", "is no time zone; one is called `Europe/Berlin`");
    }
    form.finish()?;
    Ok(Redirect::to(local(&next)).setting(vec![kept(COOKIE, &wanted)]))
}

fn kept(name: &str, value: &str) -> HeaderValue {
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={KEPT_SECONDS}");
    HeaderValue::try_from(cookie).unwrap_or_else(|_| HeaderValue::from_static(""))
}
