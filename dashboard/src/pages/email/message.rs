//! One email: where it is for each recipient, what was said with the server, and what can be done.

use gristmill_core::access::Permission;
use gristmill_core::id::JobId;
use gristmill_core::letter::RecipientState;
use gristmill_service::documents::EmailDocument;
use gristmill_store::{EmailAttempt, EmailKey, RecipientView};
use maud::{Markup, html};

use super::recipient_look;
use crate::gate::{Allowed, ApiError, Caller, Path, Result, perm};
use crate::live::Topic;
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, copy};
use crate::pages::parts::empty::empty;
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{count, counted};
use crate::pages::parts::panel::{head, note, panel};
use crate::pages::parts::state::Tone;
use crate::pages::parts::table::{Row, column, facts, numbers, row, table, wide};
use crate::pages::parts::{links, time};
use crate::pages::{Form, Head, Paged, Redirect, View};

fn missing(email: &str) -> ApiError {
    ApiError::not_found(format!("there is no email {email}")).hint("it is there from the first attempt of its job on")
}

pub(super) async fn show(caller: Allowed<perm::EmailsRead>, view: View, Path(email): Path<String>) -> Paged {
    let key = EmailKey { tenant: caller.tenant().to_owned(), key: email.clone() };
    let found = view.read(caller.service().email(&key)).await?.ok_or_else(|| missing(&email))?;
    let found = found.shown_to(&caller.principal);
    let title = found.email.subject.clone().unwrap_or_else(|| format!("Email {}", links::short(&email)));
    let main = html! {
        (head(title.as_str(), about(&found), acts(&caller, &found, view.address())))
        (copy("id", "Id", &email))
        (notes(&found))
        (recipients(&found))
        (facts_of(&caller, &found))
        (attempts(&caller, &found.attempts))
        (copies(&format!("gristmill mail show {email}"), &format!("/api/v1/emails/{email}")))
    };
    let head = Head::new(title, "/email");
    Ok(view.page(
        &caller,
        if found.email.job.0.is_nil() { head } else { head.live([Topic::Job(found.email.job)]) },
        main,
    ))
}

fn about(found: &EmailDocument) -> Markup {
    html! {
        span id="state" { (super::look(found.email.state)) }
        span { "in the stream " code { (found.email.stream) } }
        span { "by the job " (links::job(found.email.job)) }
        @if let Some(batch) = found.email.batch { span { "about the batch " (links::batch(batch)) } }
    }
}

/// What the caller may do.
fn acts(caller: &Caller, found: &EmailDocument, back: &str) -> Markup {
    let way_back = html! { input type="hidden" name="next" value=(back); };
    let to = |verb: &str| format!("/jobs/{}/{verb}", found.email.job);
    let owed = found.recipients.iter().any(|one| one.state.is_owed());
    let failed = found.recipients.iter().any(|one| one.state.is_failed() || one.state == RecipientState::Unknown);
    let mut all = Vec::new();
    if caller.may(Permission::JobsControl) {
        if owed {
            all.push(
                Action::light("retry", to("retry"), "Try now", "It waits no longer for its next attempt.").key('r'),
            );
            all.push(Action::confirmed("cancel", to("cancel"), "Cancel", CANCEL).destroying().key('c'));
        } else if failed {
            all.push(Action::confirmed("redrive", to("redrive"), "Try again", REDRIVE).key('r'));
        }
    }
    if caller.may(Permission::EmailsControl) {
        let to = format!("/email/messages/{}/resend", found.email.key);
        all.push(Action::confirmed("resend", to, "Send once more", RESEND));
    }
    html! { @for action in all { (action.with(way_back.clone()).form()) } }
}

const CANCEL: &str = "Those who have not got it yet do not get it.";
const REDRIVE: &str = "The same bytes go to those who did not get it, and to no other.";
const RESEND: &str = "All of its recipients get a further message, also those who have got this one.";

pub(super) async fn resend(
    caller: Allowed<perm::EmailsControl>,
    Path(job): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, _) = (form.change(), form.text("next"));
    form.finish()?;
    let enqueued = caller.service().resend_email(&caller.order(&change), job).await?;
    let to = enqueued.map_or_else(|| format!("/email/messages/{job}"), |job| format!("/jobs/{}", job.id));
    Ok(Redirect::to(to).saying(Flash::done("A further message is enqueued: this is its job.")))
}

/// What a person should know of it.
fn notes(found: &EmailDocument) -> Markup {
    let count_of = |is: fn(&RecipientView) -> bool| found.recipients.iter().filter(|one| is(one)).count() as u64;
    let unknown = count_of(|one| one.state == RecipientState::Unknown);
    let twice = count_of(|one| one.may_be_twice);
    html! {
        @if unknown > 0 {
            (note(Tone::Careful, Icon::Warning, html! {
                "Of " (counted(unknown, "recipient", "recipients")) " nobody can know whether they have got it: the server's last answer never came. "
                "What becomes of them is said by " code { "[mail] uncertain" } "."
            }))
        }
        @if twice > 0 {
            (note(Tone::Careful, Icon::Warning, html! { (counted(twice, "recipient", "recipients")) " may have got it twice." }))
        }
    }
}

fn recipients(found: &EmailDocument) -> Markup {
    let columns = [
        column("State"),
        column("Address"),
        column("As"),
        numbers("Asked"),
        column("Answer"),
        wide("What was said"),
        column("Moved"),
    ];
    panel(
        "recipients",
        "Recipients",
        html! {
            @if found.recipients.is_empty() { (empty("None is recorded", "It was sent by an earlier version, which kept none.", &[])) }
            @else { (table("recipients-table", "Recipients in the order of the message", &columns, found.recipients.iter().map(recipient))) }
        },
    )
}

fn recipient(one: &RecipientView) -> Row {
    let answer =
        [one.code.map(|code| code.to_string()), one.status.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let cells = [
        recipient_look(one.state),
        html! { @if one.address.is_empty() { span class="muted" { "not shown" } } @else { (links::cut(&one.address, 80)) } },
        html! { (one.role) },
        html! { (one.attempts) },
        html! { (answer) },
        html! {
            @if let Some(note) = &one.note { (links::cut(note, 200)) }
            @if let Some(rule) = &one.rule { " " span class="muted" { (rule) } }
        },
        time::instant(one.moved_at),
    ];
    row(one.position.to_string(), cells)
}

fn facts_of(caller: &Caller, found: &EmailDocument) -> Markup {
    let email = &found.email;
    let mut known = vec![
        ("Message-ID", html! { code { (email.message_id) } }),
        ("Made", time::instant(email.created_at)),
        ("Size", html! { @if let Some(size) = email.size { (count(size)) " bytes" } @else { "it could not be made" } }),
    ];
    if let Some(sender) = &email.sender {
        known.push(("Refusals go to", html! { code { (sender) } }));
    }
    if let Some(template) = &email.template {
        known.push(("Template", html! { code { (template) } }));
    }
    if let Some(hash) = &email.sha256 {
        known.push(("SHA-256", html! { code { (hash) } }));
    }
    let readable = email.size.is_some() && caller.may(Permission::ContentsRead);
    panel(
        "about",
        "Message",
        html! {
            (facts(known))
            @if readable { p { a class="button" href={ "/api/v1/emails/" (email.key) "/raw" } download { "Download as .eml" } } }
        },
    )
}

fn attempts(caller: &Caller, attempts: &[EmailAttempt]) -> Markup {
    panel(
        "transcripts",
        "What was said with the server",
        html! {
            @if !caller.may(Permission::ContentsRead) { p class="muted" { "Your role does not show what emails contain." } }
            @else if attempts.is_empty() { (empty("No server was asked yet", "Each attempt leaves what was said.", &[])) }
            @else {
                @for attempt in attempts {
                    details id={ "attempt-" (attempt.attempt) } open[attempts.len() == 1] {
                        summary { "Attempt " (attempt.attempt) " with " code { (attempt.server) } ", " (time::instant(attempt.ended_at)) }
                        pre { code { (attempt.transcript) } }
                    }
                }
            }
        },
    )
}
