//! Emails: the list, one email with its recipients and what was said, and the addresses to which nothing is sent.

mod flow;
pub(crate) mod funnels;
mod message;
mod suppressions;

use gristmill_core::access::Permission;
use gristmill_core::id::BatchId;
use gristmill_core::letter::RecipientState;
use gristmill_mail::compose::address_hash;
use gristmill_store::{EmailFilter, EmailState, EmailView};
use maud::{Markup, html};

use crate::api::emails::{asked_of, shown};
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Query, Routes, perm};
use crate::pages::parts::copies::{copies, path, shell};
use crate::pages::parts::empty::empty;
use crate::pages::parts::filters::{self, Filter, Tab, typed};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::state::{Tone, state};
use crate::pages::parts::table::{Row, column, numbers, row, table, wide};
use crate::pages::parts::{links, time};
use crate::pages::{Head, Paged, View};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/email", "Emails, newest first", list)
        .get("/email/messages/{email}", "An email: where it is for each recipient, and what was said", message::show)
        .post("/email/messages/{email}/resend", "Send an email once more, as a message of its own", message::resend)
        .post("/batches/{batch}/mailing/resend", "Try the messages of a batch again that were put off", funnels::resend)
        .get("/email/suppressions", "The addresses to which nothing is sent", suppressions::list)
        .post("/email/suppressions", "Put addresses on the list of those to which nothing is sent", suppressions::add)
        .post("/email/suppressions/remove", "Take an address off that list", suppressions::remove)
        .get("/email/flow", "Through which relays mail goes, and how fast to which domains", flow::show)
        .post("/email/flow/relays/{relay}/suspend", "Hand no mail to a relay until it is resumed", flow::suspend_relay)
        .post("/email/flow/relays/{relay}/resume", "Use a relay again at once", flow::resume_relay)
        .post("/email/flow/domains/suspend", "Send nothing to a domain; its messages wait", flow::suspend_domain)
        .post(
            "/email/flow/domains/{domain}/resume",
            "Send to a domain again; what waits tries at once",
            flow::resume_domain,
        )
}

/// Which emails are shown.
#[derive(Debug, Default)]
struct Wanted {
    state: Option<EmailState>,
    address: Option<String>,
    batch: Option<BatchId>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            state: filters::value(query, "state", "Only those that are so far"),
            address: filters::text(query, "address", "Only those with this recipient"),
            batch: filters::value(query, "batch", "Only those of this batch"),
        }
    }
}

impl Wanted {
    fn batch(&self) -> Option<String> {
        self.batch.map(|batch| batch.to_string())
    }

    fn limits<'a>(&'a self, batch: &'a Option<String>) -> [(&'static str, Option<&'a str>); 3] {
        let state = self.state.map(EmailState::as_str);
        [("state", state), ("address", self.address.as_deref()), ("batch", batch.as_deref())]
    }

    fn command(&self) -> String {
        let batch = self.batch();
        let flag = |(name, value): (&str, Option<&str>)| Some(format!(" --{name} {}", shell(value?)));
        format!("gristmill mail list{}", self.limits(&batch).into_iter().filter_map(flag).collect::<String>())
    }
}

/// The tabs over the pages of emails. Relays and domains are for those who may see what all tenants share.
fn places(caller: &Caller, current: &str) -> Markup {
    let tab =
        |name: &'static str, href: &str| Tab { name, href: href.to_owned(), count: None, current: href == current };
    let mut tabs = vec![tab("messages", "/email"), tab("suppressions", "/email/suppressions")];
    if caller.principal.installation {
        tabs.push(tab("relays and domains", "/email/flow"));
    }
    filters::tabs("Emails", &tabs)
}

/// How far an email is.
fn look(of: EmailState) -> Markup {
    match of {
        EmailState::Pending => state(Icon::Waiting, "pending", Tone::Calm),
        EmailState::Sending => state(Icon::Running, "sending", Tone::Calm),
        EmailState::Sent => state(Icon::Done, "sent", Tone::Good),
        EmailState::Uncertain => state(Icon::Warning, "uncertain", Tone::Careful),
        EmailState::Failed => state(Icon::Dead, "failed", Tone::Bad),
    }
}

/// Where an email is for a recipient.
fn recipient_look(of: RecipientState) -> Markup {
    use RecipientState as R;
    let (shape, tone) = match of {
        R::Queued | R::Deferred => (Icon::Waiting, Tone::Calm),
        R::Sending | R::Transmitted => (Icon::Running, Tone::Calm),
        R::Sent | R::Delivered => (Icon::Done, Tone::Good),
        R::Unknown => (Icon::Warning, Tone::Careful),
        R::Bounced | R::Dropped | R::Expired | R::Complained => (Icon::Dead, Tone::Bad),
        R::Suppressed | R::Cancelled => (Icon::Cancelled, Tone::Off),
    };
    state(shape, of.as_str(), tone)
}

async fn list(
    caller: Allowed<perm::EmailsRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let filter = EmailFilter {
        tenant: caller.tenant().to_owned(),
        state: wanted.state,
        address_hash: asked_of(&caller, wanted.address.as_deref().map(address_hash))?,
        batch: wanted.batch,
    };
    let batch = wanted.batch();
    let emails = view.read(caller.store().emails(&filter, &paging.0)).await?;
    let next = paging.next(&emails, |email| email.key.clone());
    let emails: Vec<EmailView> = emails.into_iter().map(|email| shown(&caller, email)).collect();
    let main = html! {
        (head("Emails", "Each is a job. Sent means that a server has taken it, not that it has arrived.", Markup::default()))
        (places(&caller, "/email"))
        (funnels::last(&caller, &view).await)
        (panel("list", "Messages, newest first", html! {
            (form(&caller, &wanted))
            @if emails.is_empty() { (nothing(&wanted)) } @else {
                (table("emails", "Emails", &columns(), emails.iter().map(line)))
                (pager(&view, emails.len(), next.as_deref()))
            }
        }))
        (copies(&wanted.command(), &path("/api/v1/emails", &wanted.limits(&batch))))
    };
    Ok(view.page(&caller, Head::new("Emails", "/email").poll(15), main))
}

fn form(caller: &Caller, wanted: &Wanted) -> Markup {
    let states: Vec<(&str, &str)> =
        std::iter::once(("", "any")).chain(EmailState::ALL.map(|one| (one.as_str(), one.as_str()))).collect();
    let state = Filter { name: "state", label: "State", value: wanted.state.map(EmailState::as_str), choices: &states };
    let recipient = typed("address", "Recipient", wanted.address.as_deref());
    let fields: &[Filter<'_>] = if caller.may(Permission::ContentsRead) { &[state, recipient] } else { &[state] };
    filters::form("/email", &[], fields)
}

fn nothing(wanted: &Wanted) -> Markup {
    if wanted.state.is_some() || wanted.address.is_some() {
        return empty("No email is like that", "Other filters may show some.", &[]);
    }
    let first = ["gristmill mail send --to ada@example.org --subject Hello --text 'It works.'"];
    empty("No email was sent yet", "Batches send reports by their callbacks; a command sends one at once:", &first)
}

fn columns() -> [crate::pages::parts::table::Column; 6] {
    [
        column("Email"),
        column("State"),
        wide("Subject"),
        column("First recipient"),
        numbers("Recipients"),
        column("Moved"),
    ]
}

fn line(email: &EmailView) -> Row {
    let cells = [
        html! { a href={ "/email/messages/" (email.key) } { (links::short(&email.key)) } },
        look(email.state),
        html! {
            @match &email.subject {
                Some(subject) => { (links::cut(subject, 120)) }
                None => { span class="muted" { "not shown to your role" } }
            }
            @if email.stream != gristmill_core::letter::TRANSACTIONAL { " " span class="muted" { (email.stream) } }
        },
        html! { @if let Some(address) = &email.first_recipient { (links::cut(address, 60)) } },
        html! { (email.recipient_count) },
        time::instant(email.moved_at),
    ];
    row(email.key.clone(), cells)
}
