//! Through which relays mail goes, and how fast to which domains. Both are shared by all tenants.

use gristmill_core::access::Permission;
use gristmill_core::mail_flow::{Breaker, BreakerState};
use gristmill_store::{MailDomainView, MailRelayView};
use maud::{Markup, html};

use super::places;
use crate::gate::text::encoded;
use crate::gate::{Caller, Overseer, Paging, Params, Path, Result, Time, perm};
use crate::pages::answer::Sent;
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::copies;
use crate::pages::parts::empty::empty;
use crate::pages::parts::field::{other_faults, required, text};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::state::{Tone, state};
use crate::pages::parts::table::{Row, actions, column, numbers, row, table, wide};
use crate::pages::parts::{links, time};
use crate::pages::{Form, Head, Page, Paged, Redirect, View};

const HERE: &str = "/email/flow";

pub(super) async fn show(caller: Overseer<perm::EmailsRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    page(&caller, &view, &paging, &Form::default()).await
}

async fn page(caller: &Caller, view: &View, paging: &Paging, given: &Form) -> Paged {
    let relays = view.read(caller.whole_store().mail_flow()).await?.relays;
    let domains = view.read(caller.whole_store().mail_domains(&paging.0)).await?;
    let next = paging.next(&domains, |view| view.domain.name.clone());
    let steers = caller.may(Permission::EmailsControl);
    let main = html! {
        (head("Relays and domains", "Through which servers mail goes, and how fast to whom. All tenants share them.", Markup::default()))
        (places(caller, HERE))
        (panel("relays", "Relays", html! {
            @if relays.is_empty() {
                (empty("No relay was used yet", "One is here from its first message on.", &[]))
            } @else { (table("relay", "Relays", &relay_columns(), relays.iter().map(|relay| relay_line(relay, steers)))) }
        }))
        (panel("domains", "Domains that are held back", html! {
            @if domains.is_empty() {
                (empty("No domain is held back", "One comes here when its servers ask to be sent less, or when it is suspended.", &[]))
            } @else {
                (table("domain", "Domains", &domain_columns(), domains.iter().map(|view| domain_line(view, steers))))
                (pager(view, domains.len(), next.as_deref()))
            }
        }))
        @if steers { (panel("suspend", "Suspend a domain", suspending(given))) }
        (copies("gristmill mail relay list", "/api/v1/mail/relays"))
    };
    Ok(view.page(caller, Head::new("Relays and domains", "/email").poll(15), main))
}

fn relay_columns() -> [crate::pages::parts::table::Column; 8] {
    [
        column("Relay"),
        column("Server"),
        column("State"),
        column("Until"),
        numbers("Taken"),
        numbers("Failed"),
        wide("Why"),
        actions(),
    ]
}

fn relay_look(breaker: &Breaker) -> Markup {
    match breaker.state {
        BreakerState::Closed => state(Icon::Done, "used", Tone::Good),
        BreakerState::Open if breaker.fault => state(Icon::Dead, "does not let us in", Tone::Bad),
        BreakerState::Open => state(Icon::Warning, "left alone", Tone::Careful),
        BreakerState::HalfOpen => state(Icon::Again, "tried", Tone::Active),
        BreakerState::Suspended => state(Icon::Paused, "suspended", Tone::Off),
    }
}

fn relay_line(relay: &MailRelayView, steers: bool) -> Row {
    let (breaker, name) = (&relay.breaker, encoded(&relay.name));
    let act = if breaker.state == BreakerState::Closed {
        let about = "No mail is handed to it until it is resumed. Other relays take it, or it waits.";
        Action::confirmed(format!("suspend-{}", relay.name), format!("{HERE}/relays/{name}/suspend"), "Suspend", about)
    } else {
        let about = "It is used again at once.";
        Action::light(format!("resume-{}", relay.name), format!("{HERE}/relays/{name}/resume"), "Resume", about)
    };
    let cells = [
        html! { (relay.name) },
        html! { (relay.place) },
        relay_look(breaker),
        time::maybe(breaker.until),
        html! { (breaker.taken) },
        html! { (breaker.failed) },
        html! { (links::cut(breaker.why.as_deref().unwrap_or_default(), 160)) },
        if steers { act.form() } else { Markup::default() },
    ];
    row(relay.name.clone(), cells)
}

fn domain_columns() -> [crate::pages::parts::table::Column; 6] {
    [
        column("Domain"),
        column("Suspended"),
        numbers("Messages a minute"),
        numbers("Jobs waiting"),
        wide("Last said"),
        actions(),
    ]
}

fn domain_line(view: &MailDomainView, steers: bool) -> Row {
    let domain = &view.domain;
    let about = "Messages to it are sent again, as fast as is configured.";
    let to = format!("{HERE}/domains/{}/resume", encoded(&domain.name));
    let resume = Action::light(format!("resume-domain-{}", domain.name), to, "Resume", about);
    let held = domain.suspension.is_some() || domain.pace.learned.is_some();
    let suspended = match &domain.suspension {
        None => html! { "no" },
        Some(one) => html! {
            @match one.until { Some(until) => { "until " (time::instant(until)) } None => { "until resumed" } }
            ", by " (links::cut(&one.by, 60))
            @if let Some(why) = &one.why { ": " (links::cut(why, 160)) }
        },
    };
    let cells = [
        html! { (domain.name) },
        suspended,
        html! { @match domain.pace.learned { Some(many) => { (many) } None => { "–" } } },
        html! { (view.waiting) },
        html! { (links::cut(domain.pace.said.as_deref().unwrap_or_default(), 160)) },
        if steers && held { resume.form() } else { Markup::default() },
    ];
    row(domain.name.clone(), cells)
}

fn suspending(form: &Form) -> Markup {
    html! {
        form method="post" action={ (HERE) "/domains/suspend" } class="stack" id="suspend-form" {
            (other_faults(form))
            (required("domain", "Domain", "Such as example.com").show(form))
            (text("for", "For", "A time such as 2h; until it is resumed, if you leave it empty").show(form))
            (text("reason", "Reason", "For those who look later").show(form))
            button class="primary" { "Suspend" }
        }
    }
}

fn said(affected: u64, done: &'static str, not: &'static str) -> Flash {
    if affected > 0 { Flash::done(done) } else { Flash::careful(not) }
}

pub(super) async fn suspend_relay(
    caller: Overseer<perm::EmailsControl>,
    Path(relay): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let report = caller.api().service().suspend_relay(&caller.order(&change), &relay).await?;
    Ok(Redirect::to(HERE).saying(said(report.affected, "It is out of use.", "It was out of use already.")))
}

pub(super) async fn resume_relay(
    caller: Overseer<perm::EmailsControl>,
    Path(relay): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let report = caller.api().service().resume_relay(&caller.order(&change), &relay).await?;
    Ok(Redirect::to(HERE).saying(said(report.affected, "It is used again.", "It is used already.")))
}

pub(super) async fn suspend_domain(caller: Overseer<perm::EmailsControl>, view: View, mut form: Form) -> Result<Sent> {
    let (domain, keep) = (form.required::<String>("domain"), form.optional::<Time>("for"));
    if domain.as_ref().is_some_and(|domain| domain.contains(['@', ' ', '/']) || !domain.contains('.')) {
        form.fault("domain", "is no domain, such as example.com");
    }
    let change = form.change();
    let (Ok(()), Some(domain)) = (form.finish(), domain) else {
        let first = Paging(gristmill_store::Page { after: None, limit: 50 });
        let page: Page = page(&caller, &view, &first, &form).await?;
        return Ok(Sent::Again(Box::new(page.refused())));
    };
    let keep = keep.map(|keep| keep.0);
    caller.api().service().suspend_domain(&caller.order(&change), &domain, keep).await?;
    Ok(Sent::Done(Redirect::to(HERE).saying(Flash::done("Nothing is sent there; what is for it waits."))))
}

pub(super) async fn resume_domain(
    caller: Overseer<perm::EmailsControl>,
    Path(domain): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    let report = caller.api().service().resume_domain(&caller.order(&change), &domain).await?;
    Ok(Redirect::to(HERE).saying(said(report.affected, "It is sent to again.", "Nothing held it back.")))
}
