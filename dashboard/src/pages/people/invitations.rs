//! Invitations: invite, withdraw.

use gristmill_core::access::{Permission, Role};
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::LinkId;
use gristmill_service::accounts::AccountError;
use gristmill_store::StoreError;
use gristmill_store::accounts::InvitationView;
use maud::{Markup, html};

use super::{ROLES, page};
use crate::api::asks::appointer;
use crate::gate::{Allowed, ApiError, Caller, Paging, Params, Path, Result, perm};
use crate::pages::answer::{Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::field::{Field, other_faults, required};
use crate::pages::parts::table::{Row, actions, column, row, table};
use crate::pages::parts::time;
use crate::pages::view::View;

/// The form of an invitation.
pub(super) fn form(form: &Form) -> Markup {
    let email =
        Field { kind: "email", ..required("email", "Address", "They get a mail with a link that may be used once") };
    let roles: Vec<(String, String)> =
        ROLES.iter().map(|(role, about)| (role.to_string(), format!("{role}: {about}"))).collect();
    let roles: Vec<(&str, &str)> = roles.iter().map(|(value, name)| (value.as_str(), name.as_str())).collect();
    html! {
        form method="post" action="/people/invite" class="stack" id="invite-form" {
            (other_faults(form))
            (email.show(form))
            (required("role", "Role", "A role above your own is not yours to give").show_choice(form, &roles))
            button class="primary" { "Invite" }
        }
    }
}

/// The invitations that are open.
pub(super) fn rows(caller: &Caller, invited: &[InvitationView]) -> Markup {
    let columns = [column("Address"), column("Role"), column("By"), column("Sent"), column("Over"), actions()];
    html! {
        @if invited.is_empty() { p class="muted" { "None is open." } }
        @else { (table("invitation", "Open invitations", &columns, invited.iter().map(|one| line(caller, one)))) }
    }
}

fn line(caller: &Caller, one: &InvitationView) -> Row {
    let to = format!("/people/invitations/{}/withdraw", one.id);
    let about = "The link in the mail does nothing any more.";
    let cells = [
        html! { (one.email) },
        html! { (one.role) },
        html! { (one.by.as_deref().unwrap_or("the owner of the database")) },
        time::instant(one.created_at),
        time::instant(one.expires_at),
        html! {
            @if caller.may(Permission::UsersChange) {
                (Action::confirmed(format!("withdraw-{}", one.id), to, "Withdraw", about).destroying().form())
            }
        },
    ];
    row(one.id.to_string(), cells)
}

pub(super) async fn invite(
    caller: Allowed<perm::UsersChange>,
    view: View,
    Params(paging): Params<Paging>,
    mut form: Form,
) -> Result<Sent> {
    let (email, role) = (form.required::<EmailAddress>("email"), form.required::<Role>("role"));
    let change = form.change();
    let (Some(email), Some(role), Ok(())) = (email, role, form.finish()) else {
        return Ok(Sent::Again(Box::new(page(&caller, &view, &paging, &form).await?.refused())));
    };
    let (order, by) = (caller.order(&change), appointer(&caller));
    match caller.api().accounts().invite(&order, by, &email, role).await {
        Ok(_) => Ok(Sent::Done(
            Redirect::to("/people").saying(Flash::done(format!("{email} is invited as {role}; a mail is on its way."))),
        )),
        Err(AccountError::Store(StoreError::Conflict(why))) => again(&caller, &view, &paging, form, "email", why).await,
        Err(AccountError::Store(StoreError::Denied(why))) => again(&caller, &view, &paging, form, "role", why).await,
        Err(error) => Err(error.into()),
    }
}

async fn again(
    caller: &Caller,
    view: &View,
    paging: &Paging,
    mut form: Form,
    field: &str,
    why: String,
) -> Result<Sent> {
    form.fault(field, format!("is refused: {why}"));
    Ok(Sent::Again(Box::new(page(caller, view, paging, &form).await?.refused())))
}

pub(super) async fn withdraw(
    caller: Allowed<perm::UsersChange>,
    Path(invitation): Path<LinkId>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    if !caller.api().accounts().withdraw_invitation(&caller.order(&change), invitation).await? {
        return Err(ApiError::not_found(format!("there is no open invitation {invitation}")));
    }
    Ok(Redirect::to("/people").saying(Flash::done("The invitation is withdrawn.")))
}
