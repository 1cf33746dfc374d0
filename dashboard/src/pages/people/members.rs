//! Members: give another role, remove.

use gristmill_core::access::{Permission, Role, Subject};
use gristmill_core::id::UserId;
use gristmill_store::accounts::{MemberView, UserState};
use maud::{Markup, html};

use super::choices;
use crate::api::asks::appointer;
use crate::gate::{Allowed, Caller, Paging, Path, Result, perm};
use crate::pages::answer::Redirect;
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::empty::empty;
use crate::pages::parts::icon::Icon;
use crate::pages::parts::pager::pager;
use crate::pages::parts::state::{Tone, state};
use crate::pages::parts::table::{Row, actions, column, row, table};
use crate::pages::parts::time;
use crate::pages::view::View;

/// The members, with what the caller may do with each.
pub(super) fn rows(caller: &Caller, view: &View, paging: &Paging, members: &[MemberView]) -> Markup {
    if members.is_empty() {
        let first = ["gristmill user add ada@example.com --name Ada --role owner", "gristmill user first-owner"];
        return empty(
            "The tenant has no members",
            "Where callers have to log in, the first is made by command:",
            &first,
        );
    }
    let next = paging.next(members, |member| member.email.clone());
    let columns = [
        column("Address"),
        column("Name"),
        column("Role"),
        column("State"),
        column("Member since"),
        column("Last login"),
        actions(),
    ];
    html! {
        (table("list", "Members", &columns, members.iter().map(|member| one(caller, member))))
        (pager(view, members.len(), next.as_deref()))
    }
}

fn one(caller: &Caller, member: &MemberView) -> Row {
    let own = matches!(caller.principal.subject, Subject::User(user) if user == member.user);
    let changes = caller.may(Permission::UsersChange) && caller.principal.role.may_appoint(member.role);
    let cells = [
        html! { (member.email) @if own { " " span class="badge" { "you" } } },
        html! { (member.name) },
        html! { (member.role) },
        shown(member.state),
        time::instant(member.since),
        time::maybe(member.last_login_at),
        if changes { acts(caller, member) } else { Markup::default() },
    ];
    row(member.user.to_string(), cells)
}

fn shown(of: UserState) -> Markup {
    match of {
        UserState::Active => state(Icon::Done, of.as_str(), Tone::Good),
        UserState::Disabled => state(Icon::Cancelled, of.as_str(), Tone::Off),
        UserState::Unverified => state(Icon::Waiting, of.as_str(), Tone::Careful),
    }
}

fn acts(caller: &Caller, member: &MemberView) -> Markup {
    let (user, id) = (member.user, format!("role-{}-choice", member.user));
    let role = html! { label for=(id) { "Role" } (choices(caller, Some(member.role), &id)) };
    html! {
        (Action::confirmed(format!("role-{user}"), format!("/people/{user}/role"), "Role", "Gives another role, at once.").with(role).form())
        (Action::typed(format!("remove-{user}"), format!("/people/{user}/remove"), "Remove", "Removes the member, with their tokens for the tenant.", member.email.clone()).form())
    }
}

pub(super) async fn set_role(
    caller: Allowed<perm::UsersChange>,
    Path(user): Path<UserId>,
    mut form: Form,
) -> Result<Redirect> {
    let (role, change) = (form.required::<Role>("role"), form.change());
    form.finish()?;
    let role = role.unwrap_or(Role::Viewer);
    let by = appointer(&caller);
    let before = caller.api().accounts().set_role(&caller.order(&change), by, user, role).await?;
    let flash = match before == Some(role) {
        true => Flash::careful(format!("They were {role} already.")),
        false => Flash::done(format!("They are {role} now.")),
    };
    Ok(Redirect::to("/people").saying(flash))
}

pub(super) async fn remove(
    caller: Allowed<perm::UsersChange>,
    Path(user): Path<UserId>,
    mut form: Form,
) -> Result<Redirect> {
    let (typed, change) = (form.required::<String>("confirm"), form.change());
    let known = caller.whole_store().user(user).await?;
    if let Some(known) = known.filter(|known| typed.as_deref().is_some_and(|typed| typed != known.email)) {
        form.confirm(&known.email);
    }
    form.finish()?;
    let by = appointer(&caller);
    caller.api().accounts().remove_member(&caller.order(&change), by, user).await?;
    Ok(Redirect::to("/people")
        .saying(Flash::done("The member is removed, and their tokens for the tenant are revoked.")))
}
