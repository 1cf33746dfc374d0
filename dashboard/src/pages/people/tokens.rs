//! Tokens as they are listed, and revoked.

use gristmill_core::id::TokenId;
use gristmill_store::accounts::TokenView;
use maud::{Markup, html};

use crate::gate::{Allowed, ApiError, Path, Result, perm};
use crate::pages::answer::Redirect;
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::number::none;
use crate::pages::parts::table::{Row, actions, column, row, table, wide};
use crate::pages::parts::time;

/// The most scopes that are named.
const SCOPES_MAX: usize = 6;

/// Tokens; `to` is where one is revoked, if the caller may.
pub(super) fn rows(tokens: &[TokenView], to: Option<&str>) -> Markup {
    let columns = [
        column("Name"),
        column("Begins with"),
        column("Of"),
        wide("Limited to"),
        column("Created"),
        column("Last used"),
        column("Over"),
        actions(),
    ];
    html! { @if !tokens.is_empty() { (table("token", "Tokens", &columns, tokens.iter().map(|token| one(token, to)))) } }
}

fn one(token: &TokenView, to: Option<&str>) -> Row {
    let about = "It is not recognized any more, at once.";
    let cells = [
        html! { (token.name) },
        html! { code { (token.prefix) "…" } },
        html! { (token.email) },
        scopes(token),
        time::instant(token.created_at),
        time::maybe(token.last_used_at),
        html! { @if let Some(at) = token.expires_at { (time::instant(at)) } @else { (none()) } },
        html! {
            @if let Some(to) = to {
                (Action::confirmed(format!("revoke-{}", token.id), format!("{to}/{}/revoke", token.id), "Revoke", about).destroying().form())
            }
        },
    ];
    row(token.id.to_string(), cells)
}

fn scopes(token: &TokenView) -> Markup {
    let Some(scopes) = &token.scopes else { return html! { "all that its user may do" } };
    let named: Vec<&str> = scopes.iter().take(SCOPES_MAX).map(|scope| scope.as_str()).collect();
    html! {
        (named.join(", "))
        @if scopes.len() > SCOPES_MAX { " and " (scopes.len() - SCOPES_MAX) " more" }
    }
}

pub(super) async fn revoke(
    caller: Allowed<perm::UsersChange>,
    Path(token): Path<TokenId>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    if !caller.api().accounts().revoke_token(&caller.order(&change), token, None).await? {
        return Err(ApiError::not_found(format!("there is no token {token} that is not revoked")));
    }
    Ok(Redirect::to("/people").saying(Flash::done("The token is revoked.")))
}
