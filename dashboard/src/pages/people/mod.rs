//! People: the members of the tenant, open invitations, tokens; one's own account; tenants.
//!
//! * [`account`]: one's own sessions, tokens and password.
//! * [`factor`]: one's own second factor.
//! * [`invitations`]: invite, withdraw.
//! * [`logins`]: one's own logins elsewhere.
//! * [`members`]: give another role, remove.
//! * [`tenants`]: for owners of the installation.
//! * [`tokens`]: tokens as they are listed, and revoked.

mod account;
mod factor;
mod invitations;
mod logins;
mod members;
mod tenants;
mod tokens;

use gristmill_core::access::{Permission, Role};
use gristmill_store::Page;
use maud::{Markup, html};

use super::answer::{Page as Shown, Paged};
use super::form::Form;
use super::parts::copies::copies;
use super::parts::number::counted;
use super::parts::panel::{head, late_panel, panel};
use super::view::{Head, View};
use crate::gate::{Allowed, Caller, Paging, Params, Result, Routes, perm};

/// How many invitations and tokens are shown beside the members.
const BESIDE: u32 = 200;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/people", "The members of the tenant, open invitations and tokens", list)
        .post("/people/{user}/role", "Give a member another role", members::set_role)
        .post("/people/{user}/remove", "Remove a member, with their tokens for the tenant", members::remove)
        .post("/people/invite", "Invite somebody to the tenant by a mail", invitations::invite)
        .post("/people/invitations/{invitation}/withdraw", "Withdraw an invitation", invitations::withdraw)
        .post("/people/tokens/{token}/revoke", "Revoke a token of a member, at once", tokens::revoke)
        .and(account::routes())
        .and(factor::routes())
        .and(logins::routes())
        .and(tenants::routes())
}

async fn list(caller: Allowed<perm::UsersRead>, view: View, Params(paging): Params<Paging>) -> Paged {
    page(&caller, &view, &paging, &Form::default()).await
}

/// The page, with the form of an invitation as it was filled in.
async fn page(caller: &Caller, view: &View, paging: &Paging, form: &Form) -> Result<Shown> {
    let store = caller.store();
    let members = view.read(store.members(caller.tenant(), &paging.0)).await?;
    let beside = Page { after: None, limit: BESIDE };
    let invited = view.panel(store.invitations(caller.tenant(), &beside)).await;
    let tokens = view.panel(store.tokens(caller.tenant(), None, &beside)).await;
    let about = html! { span { "Of the tenant " strong { (caller.tenant()) } ". Your own account is " a href="/account" { "elsewhere" } "." } };
    let main = html! {
        (head("People", about, tenants_button(caller)))
        (panel("members", "Members, by address", members::rows(caller, view, paging, &members)))
        @if caller.may(Permission::UsersChange) { (panel("invite", "Invite", invitations::form(form))) }
        (late_panel("invitations", "Open invitations", invited, |invited| invitations::rows(caller, &invited)))
        (late_panel("tokens", "Tokens of programs", tokens, |tokens| html! {
            p class="muted" { (counted(tokens.len() as u64, "token", "tokens")) " that are not revoked. A person creates them in their account." }
            (tokens::rows(&tokens, caller.may(Permission::UsersChange).then_some("/people/tokens")))
        }))
        (copies("gristmill user list", "/api/v1/users"))
    };
    Ok(view.page(caller, Head::new("People", "/people"), main))
}

fn tenants_button(caller: &Caller) -> Markup {
    html! { @if caller.principal.installation { a class="button" href="/tenants" { "Tenants" } } }
}

/// The roles, each with what it is for.
const ROLES: [(Role, &str); 5] = [
    (Role::Viewer, "looks at the work, without what it contains"),
    (Role::Operator, "runs the daily work"),
    (Role::Auditor, "looks at everything, and changes nothing"),
    (Role::Admin, "everything but what concerns owners"),
    (Role::Owner, "everything"),
];

/// The choices of a role that the caller may give.
fn choices(caller: &Caller, now: Option<Role>, id: &str) -> Markup {
    let given = |role: &Role| caller.principal.role.may_appoint(*role) || now == Some(*role);
    html! {
        select name="role" id=(id) {
            @for (role, about) in ROLES.iter().filter(|(role, _)| given(role)) {
                option value=(role) selected[now == Some(*role)] title=(about) { (role) }
            }
        }
    }
}
