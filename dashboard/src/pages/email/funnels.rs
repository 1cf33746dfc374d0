//! How far mailings are: a bar of the recipients by state, and the numbers below it.

use gristmill_core::access::Permission;
use gristmill_core::id::BatchId;
use gristmill_core::letter::RecipientState;
use gristmill_core::mailing::Funnel;
use gristmill_store::{MailingVariant, MailingView};
use maud::{Markup, html};

use crate::gate::{Allowed, Caller, Path, Result, perm};
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::links;
use crate::pages::parts::number::{count, counted, percent};
use crate::pages::parts::panel::panel;
use crate::pages::parts::progress::{Share, bar, legend};
use crate::pages::parts::table::{Row, column, numbers, row, table};
use crate::pages::{Form, Redirect, View};

/// How many mailings are shown above the messages.
const SHOWN: u32 = 5;

/// The last mailings, above the list of messages. Nothing where there was none.
pub(super) async fn last(caller: &Caller, view: &View) -> Markup {
    let mailings = view.panel(caller.store().mailings(caller.tenant(), SHOWN)).await.unwrap_or_default();
    if mailings.is_empty() {
        return Markup::default();
    }
    let columns =
        [column("Mailing"), column("Recipients by state"), numbers("Made"), numbers("Accepted"), numbers("Bounced")];
    panel("mailings", "The last mailings", table("mailings", "Mailings", &columns, mailings.iter().map(mailing)))
}

fn mailing(mailing: &MailingView) -> Row {
    let cells = [
        html! { a href={ "/batches/" (mailing.batch) } { (mailing.name) " " (links::short(&mailing.batch.to_string())) } },
        bar(&mailing.name, &shares(&mailing.funnel)),
        html! { (count(mailing.funnel.made)) },
        html! { (percent(mailing.funnel.accepted(), mailing.funnel.made)) },
        html! { (percent(mailing.funnel.bounced, mailing.funnel.tried())) },
    ];
    row(mailing.batch.to_string(), cells)
}

/// The funnel of a batch, and of each variant where it has several. Nothing for a batch without messages.
pub(crate) async fn of_batch(caller: &Caller, view: &View, batch: BatchId) -> Markup {
    if !caller.may(Permission::EmailsRead) {
        return Markup::default();
    }
    let variants = view.panel(caller.store().mailing(caller.tenant(), batch)).await.unwrap_or_default();
    if variants.is_empty() {
        return Markup::default();
    }
    let mut all = Funnel::default();
    variants.iter().for_each(|one| all.merge(&one.funnel));
    panel(
        "mailing",
        "Messages",
        html! {
            (bar("Recipients", &shares(&all)))
            (legend(&shares(&all)))
            p class="muted" {
                (count(all.made)) " made, " (count(all.accepted())) " taken by a server, "
                (percent(all.bounced, all.tried())) " of those tried bounced. "
                a href={ "/email?batch=" (batch) } { "Look at them" } "."
            }
            @if variants.len() > 1 { (by_variant(&variants)) }
            @if all.deferred + all.unknown > 0 && caller.may(Permission::EmailsControl) { (again(batch, view.address())) }
        },
    )
}

fn by_variant(variants: &[MailingVariant]) -> Markup {
    let columns = [
        column("Template"),
        numbers("Made"),
        numbers("Suppressed"),
        numbers("Accepted"),
        numbers("Put off"),
        numbers("Bounced"),
        numbers("Unknown"),
        numbers("Complained"),
    ];
    let line = |(at, one): (usize, &MailingVariant)| {
        let funnel = &one.funnel;
        let numbers = [
            funnel.made,
            funnel.suppressed,
            funnel.accepted(),
            funnel.deferred,
            funnel.bounced,
            funnel.unknown,
            funnel.complained,
        ];
        let name = html! { @if one.variant.is_empty() { "none" } @else { code { (one.variant) } } };
        row(at.to_string(), std::iter::once(name).chain(numbers.map(count)))
    };
    table("variants", "Messages by template", &columns, variants.iter().enumerate().map(line))
}

const AGAIN: &str = "Those that were put off are tried now. Those of whom it is unknown may get it twice.";

fn again(batch: BatchId, back: &str) -> Markup {
    let action =
        Action::confirmed("mailing-resend", format!("/batches/{batch}/mailing/resend"), "Try the rest again", AGAIN);
    action.with(html! { input type="hidden" name="next" value=(back); }).form()
}

pub(super) async fn resend(
    caller: Allowed<perm::EmailsControl>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, _) = (form.change(), form.text("next"));
    form.finish()?;
    let report = caller.service().resend_mailing(&caller.order(&change), batch).await?;
    let said = match report.affected {
        0 => Flash::careful("None waits any longer, and of none it is unknown whether it was taken."),
        many => Flash::done(format!("{} tried again.", counted(many, "message is", "messages are"))),
    };
    Ok(Redirect::to(format!("/batches/{batch}")).saying(said))
}

/// The shares of the bar, in the order in which a message goes through them.
fn shares(funnel: &Funnel) -> Vec<Share> {
    let share = |(state, count): (RecipientState, u64)| Share { name: name(state), count, class: class(state) };
    funnel.by_state().map(share).to_vec()
}

fn name(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Deferred => "put off",
        state => state.as_str(),
    }
}

fn class(state: RecipientState) -> &'static str {
    use RecipientState as R;
    match state {
        R::Sent | R::Delivered => "f-ok",
        R::Suppressed | R::Cancelled => "f-skip",
        R::Bounced | R::Dropped | R::Expired | R::Complained => "f-bad",
        R::Deferred | R::Unknown => "f-off",
        R::Queued | R::Sending | R::Transmitted => "f-wait",
    }
}
