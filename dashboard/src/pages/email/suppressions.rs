//! The addresses to which nothing is sent: kept as hashes, so that the list names no person.

use gristmill_core::access::Permission;

use gristmill_core::letter::{SuppressionReason, stream_fault};
use gristmill_mail::compose::{address_hash, canonical};
use gristmill_store::{Suppression, SuppressionView};
use maud::{Markup, html};

use super::places;
use crate::api::emails::{AddressHash, asked_of};
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Query, Result, Time, perm};
use crate::pages::answer::Sent;
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::copies;
use crate::pages::parts::empty::empty;
use crate::pages::parts::field::{other_faults, required, text};
use crate::pages::parts::filters::{self, typed};
use crate::pages::parts::number::counted;
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::{Row, actions, column, row, table, wide};
use crate::pages::parts::{links, time};
use crate::pages::{Form, Head, Page, Paged, Redirect, View};

/// Which entries are shown.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    address: Option<String>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self { address: filters::text(query, "address", "Only the entries of this address") }
    }
}

pub(super) async fn list(
    caller: Allowed<perm::EmailsRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    page(&caller, &view, &wanted, &paging, &Form::default()).await
}

async fn page(caller: &Caller, view: &View, wanted: &Wanted, paging: &Paging, given: &Form) -> Paged {
    let found = match asked_of(caller, wanted.address.as_deref().map(address_hash))? {
        Some(hash) => view.read(caller.store().suppressions_of(caller.tenant(), &hash)).await?,
        None => view.read(caller.store().suppressions(caller.tenant(), &paging.0)).await?,
    };
    let next = match &wanted.address {
        Some(_) => None,
        None => paging.next(&found, |entry| format!("{}/{}", entry.address_sha256, entry.stream)),
    };
    let changes = caller.may(Permission::EmailsControl);
    let main = html! {
        (head("Suppressions", "Addresses to which nothing is sent. They are kept as hashes: the list names no person.", Markup::default()))
        (places(caller, "/email/suppressions"))
        (panel("list", "Entries that stand", html! {
            @if caller.may(Permission::ContentsRead) {
                (filters::form("/email/suppressions", &[], &[typed("address", "Address", wanted.address.as_deref())]))
            }
            @if found.is_empty() { (nothing(wanted)) } @else {
                (table("entries", "Suppressions", &columns(), found.iter().map(|entry| line(entry, changes, view.address()))))
                (pager(view, found.len(), next.as_deref()))
            }
        }))
        @if changes { (panel("add", "Put addresses on the list", adding(given))) }
        (copies("gristmill mail suppress list", "/api/v1/suppressions"))
    };
    Ok(view.page(caller, Head::new("Suppressions", "/email"), main))
}

fn nothing(wanted: &Wanted) -> Markup {
    match &wanted.address {
        Some(_) => empty("Nothing stands against this address", "Messages to it are sent.", &[]),
        None => empty(
            "The list is empty",
            "An address comes here by itself when a server says that there is no such mailbox.",
            &[],
        ),
    }
}

fn columns() -> [crate::pages::parts::table::Column; 7] {
    [column("Address"), column("Stream"), column("Reason"), column("Since"), column("Until"), wide("Note"), actions()]
}

fn line(entry: &SuppressionView, changes: bool, back: &str) -> Row {
    let stream = if entry.stream.is_empty() { "all" } else { entry.stream.as_str() };
    let id = format!("{}-{stream}", &entry.address_sha256[..12.min(entry.address_sha256.len())]);
    let hidden = html! {
        input type="hidden" name="address_sha256" value=(entry.address_sha256);
        input type="hidden" name="stream" value=(entry.stream);
        input type="hidden" name="next" value=(back);
    };
    let about = match entry.reason {
        SuppressionReason::Complaint => "They called a message unwanted. Whoever is sent more may have you blocked.",
        SuppressionReason::Bounce => "A server said that there is no such mailbox. Going on looks like spam.",
        SuppressionReason::Unsubscribe => "They took themselves off. Make sure that they want to be back.",
        SuppressionReason::Manual => "Messages to it are sent again.",
    };
    let remove = Action::confirmed(format!("remove-{id}"), "/email/suppressions/remove", "Remove", about).with(hidden);
    let cells = [
        html! { code { (links::cut(&entry.address_sha256, 16)) } },
        html! { (stream) },
        html! { (entry.reason) },
        time::instant(entry.created_at),
        time::maybe(entry.until),
        html! { (links::cut(entry.note.as_deref().unwrap_or_default(), 160)) },
        if changes { remove.form() } else { Markup::default() },
    ];
    row(id, cells)
}

fn adding(form: &Form) -> Markup {
    let reasons: Vec<(&str, &str)> = SuppressionReason::ALL.map(|one| (one.as_str(), one.as_str())).to_vec();
    html! {
        form method="post" action="/email/suppressions" class="stack" id="add-form" {
            (other_faults(form))
            (required("addresses", "Addresses", "One a line, at most 1,000").show_lines(form, 4))
            (text("stream", "Stream", "All of them, unless you name one").show(form))
            (required("why", "Reason", "A complaint stands above a bounce, a bounce above the others").show_choice(form, &reasons))
            (text("note", "Note", "Who asked for it, and how").show(form))
            (text("for", "For", "A time such as 90d; for ever, if you leave it empty").show(form))
            button class="primary" { "Put on the list" }
        }
    }
}

fn first_page() -> Paging {
    Paging(gristmill_store::Page { after: None, limit: 50 })
}

/// Addresses of a form, one a line.
fn addresses(form: &mut Form) -> Vec<[u8; 32]> {
    let given = form.required::<String>("addresses").unwrap_or_default();
    let lines: Vec<&str> = given.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if let Some(wrong) = lines.iter().position(|line| canonical(line).is_none()) {
        form.fault("addresses", format!("line {} is no address", wrong + 1));
    }
    if lines.len() > gristmill_store::SUPPRESSIONS_MAX {
        form.fault("addresses", "are more than 1,000: use `gristmill mail suppress import`");
    }
    lines.into_iter().map(address_hash).collect()
}

pub(super) async fn add(caller: Allowed<perm::EmailsControl>, view: View, mut form: Form) -> Result<Sent> {
    let hashes = addresses(&mut form);
    let (stream, note) = (form.text("stream").unwrap_or_default(), form.text("note"));
    let (reason, keep) = (form.required::<SuppressionReason>("why"), form.optional::<Time>("for"));
    if let Some(wrong) = Some(stream.as_str()).filter(|stream| !stream.is_empty()).and_then(stream_fault) {
        form.fault("stream", wrong);
    }
    let change = form.change();
    let (Ok(()), Some(reason)) = (form.finish(), reason) else {
        let page: Page = page(&caller, &view, &Wanted::default(), &first_page(), &form).await?;
        return Ok(Sent::Again(Box::new(page.refused())));
    };
    let entry = |address_hash: &[u8; 32]| Suppression {
        tenant: caller.tenant().to_owned(),
        address_hash: *address_hash,
        stream: stream.clone(),
        reason,
        note: note.clone(),
        keep: keep.map(|keep| keep.0),
    };
    let entries: Vec<Suppression> = hashes.iter().map(entry).collect();
    let report = caller.service().suppress(&caller.order(&change), &entries).await?;
    let said = match report.affected {
        0 => Flash::careful("They stand there for a stronger reason already."),
        many => Flash::done(format!("{} on the list.", counted(many, "address is", "addresses are"))),
    };
    Ok(Sent::Done(Redirect::to("/email/suppressions").saying(said)))
}

pub(super) async fn remove(caller: Allowed<perm::EmailsControl>, mut form: Form) -> Result<Redirect> {
    let hash = form.required::<AddressHash>("address_sha256");
    let (stream, change, _) = (form.text("stream").unwrap_or_default(), form.change(), form.text("next"));
    form.finish()?;
    let AddressHash(hash) = hash.unwrap_or(AddressHash([0; 32]));
    let report = caller.service().unsuppress(&caller.order(&change), &hash, &stream).await?;
    let said = match report.affected {
        0 => Flash::careful("It is not on the list any more."),
        _ => Flash::done("It is off the list."),
    };
    Ok(Redirect::to("/email/suppressions").saying(said))
}
