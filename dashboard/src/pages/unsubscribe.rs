//! Take oneself off a stream of emails, by the link in one of them: without a login, by one click.
//!
//! A mail program follows the link by a POST of its own (RFC 8058). A person is shown what the link is for first: a GET
//! changes nothing, because scanners follow every link.

use axum::http::StatusCode;
use gristmill_core::access::Subject;
use gristmill_core::letter::SuppressionReason;
use gristmill_mail::signed::Unsubscribe;
use gristmill_service::{Actor, Order};
use gristmill_store::Suppression;
use maud::{Markup, html};

use super::answer::{Page, Paged};
use super::view::View;
use crate::gate::{Open, Path, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().get("/unsubscribe/{token}", "What a link in an email takes its recipient off", ask).post(
        "/unsubscribe/{token}",
        "Take oneself off a stream of emails, by one click",
        unsubscribe,
    )
}

fn about(open: &Open, token: &str) -> Option<Unsubscribe> {
    open.api.program().mail_signing()?.unsubscribe_of(token)
}

fn page(open: &Open, view: &View, inner: Markup) -> Page {
    view.bare(&open.api, "Emails", html! { div class="narrow" { (inner) } })
}

fn unknown(open: &Open, view: &View) -> Page {
    let inner = html! {
        h1 { "This link does not work" }
        p { "It may be cut off: open it from the email itself, or copy all of it." }
    };
    page(open, view, inner).status(StatusCode::NOT_FOUND)
}

async fn ask(open: Open, view: View, Path(token): Path<String>) -> Paged {
    let Some(about) = about(&open, &token) else { return Ok(unknown(&open, &view)) };
    Ok(page(
        &open,
        &view,
        html! {
            h1 { "No more of these emails?" }
            p { "You get no more emails of the kind " strong { (about.stream) } " to the address that got the one with this link. Other kinds are not touched." }
            form method="post" action={ "/unsubscribe/" (token) } class="stack" {
                button class="primary" { "Send me no more of these" }
            }
        },
    ))
}

async fn unsubscribe(open: Open, view: View, Path(token): Path<String>) -> Result<Page> {
    let Some(Unsubscribe { tenant, stream, address_hash }) = about(&open, &token) else {
        return Ok(unknown(&open, &view));
    };
    let off = open.api.service().store().suppressions_of(&tenant, &address_hash).await?;
    if off.iter().any(|entry| entry.stream == stream && entry.until.is_none()) {
        // Mail programs ask more than once; the audit has it once.
        return Ok(page(&open, &view, done(&stream)));
    }
    let entry = Suppression {
        tenant: tenant.clone(),
        address_hash,
        stream: stream.clone(),
        reason: SuppressionReason::Unsubscribe,
        note: Some("by the link in an email".to_owned()),
        keep: None,
    };
    // The signature says who: the recipient of the email, known by the hash of the address alone.
    let order = Order::new(tenant, Actor::Caller(Subject::Anyone, "a recipient".to_owned()));
    open.api.service().suppress(&order, &[entry]).await?;
    Ok(page(&open, &view, done(&stream)))
}

fn done(stream: &str) -> Markup {
    html! {
        h1 { "You get no more of these" }
        p { "The address is off " strong { (stream) } ". What is under way already may still come." }
    }
}
