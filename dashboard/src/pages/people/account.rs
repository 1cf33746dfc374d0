//! One's own account: sessions, tokens, password.

use gristmill_core::access::{Permission, Subject};
use gristmill_core::duration;
use gristmill_core::id::{SessionId, TokenId};
use gristmill_service::accounts::{AccountError, CreatedToken, TokenRequest};
use gristmill_store::Page as Part;
use gristmill_store::accounts::{SessionView, WhichSessions};
use maud::{Markup, html};

use super::{factor, logins, tokens};
use crate::api::asks::{OwnSession, Secretive, person};
use crate::gate::{ApiError, Caller, Path, Recognized, Result, Routes};
use crate::pages::answer::{Page, Paged, Redirect, Sent};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, copy};
use crate::pages::parts::field::{Field, other_faults, required, text};
use crate::pages::parts::number::counted;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::{Row, actions, column, facts, row, table, wide};
use crate::pages::parts::time;
use crate::pages::view::{Head, View};

/// How many sessions and tokens are shown.
const ROWS: u32 = 100;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/account", "Your own account: sessions, tokens, password", show)
        .post("/account/password", "Change your password: all of your other sessions end", password)
        .post("/account/sessions/end", "End all of your sessions but this one", end_others)
        .post("/account/sessions/{session}/end", "End one of your sessions, at once", end)
        .post("/account/tokens", "Create a token: its secret is shown this once", create)
        .post("/account/tokens/{token}/revoke", "Revoke one of your tokens, at once", revoke)
}

/// Which form was sent, and is shown again.
#[derive(Debug, Default)]
struct Forms {
    password: Form,
    token: Form,
}

async fn show(caller: Recognized, view: View, OwnSession(own): OwnSession) -> Paged {
    page(&caller, &view, own.map(|own| own.hash()), &Forms::default(), None).await
}

async fn page(
    caller: &Caller,
    view: &View,
    own: Option<[u8; 32]>,
    forms: &Forms,
    created: Option<&CreatedToken>,
) -> Result<Page> {
    let main = match caller.principal.subject {
        Subject::User(_) => own_account(caller, view, own, forms, created).await?,
        Subject::Token { .. } => {
            html! { p { "This is a token of a program. Its account is for the person who logs in." } }
        }
        Subject::Anyone => factor::no_account(),
    };
    let main = html! {
        (head("Your account", html! { "You are " strong { (caller.principal.name) } }, Markup::default()))
        (panel("me", "In this tenant", me(caller)))
        (main)
        (copies("gristmill user list", "/api/v1/me"))
    };
    Ok(view.page(caller, Head::new("Your account", "/account"), main))
}

fn me(caller: &Caller) -> Markup {
    let may: Vec<&str> = Permission::ALL.into_iter().filter(|one| caller.may(*one)).map(Permission::as_str).collect();
    html! {
        (facts([
            ("Tenant", html! { (caller.tenant()) }),
            ("Role", html! { (caller.principal.role) }),
            ("Owner of the installation", html! { @if caller.principal.installation { "yes" } @else { "no" } }),
        ]))
        details { summary { "You may do " (counted(may.len() as u64, "thing", "things")) } p { code { (may.join(", ")) } } }
    }
}

async fn own_account(
    caller: &Caller,
    view: &View,
    own: Option<[u8; 32]>,
    forms: &Forms,
    created: Option<&CreatedToken>,
) -> Result<Markup> {
    let (user, store) = (person(caller)?, caller.whole_store());
    let rows = Part { after: None, limit: ROWS };
    let sessions = view.read(store.sessions(user, &rows)).await?;
    let own = match own {
        Some(hash) => view.read(store.session_id(&hash)).await?,
        None => None,
    };
    let listed = view.read(store.tokens(caller.tenant(), Some(user), &rows)).await?;
    let second = factor::brief(caller, view).await?;
    let elsewhere = logins::brief(caller, view).await?;
    Ok(html! {
        @if let Some(created) = created { (secret(created)) }
        (panel("sessions", "Your sessions, newest first", session_rows(&sessions, own)))
        (panel("tokens", "Your tokens for this tenant", html! {
            @if listed.is_empty() { p class="muted" { "None. A program shows its token instead of a password." } }
            (tokens::rows(&listed, Some("/account/tokens")))
        }))
        div class="columns" {
            (panel("new-token", "New token", token_fields(&forms.token)))
            (panel("change-password", "Password", password_fields(&forms.password)))
            (panel("second-factor", "Second factor", second))
            (panel("logins-elsewhere", "Logins elsewhere", elsewhere))
        }
    })
}

/// The secret of a token, this once.
fn secret(created: &CreatedToken) -> Markup {
    html! {
        section class="panel" id="secret" aria-labelledby="secret-heading" {
            h2 id="secret-heading" { "The secret of " (created.token.name) }
            p { "It is shown this once. Keep it where the program reads it, and nowhere else." }
            (copy("secret-text", "Secret", created.secret.expose()))
        }
    }
}

fn session_rows(sessions: &[SessionView], own: Option<SessionId>) -> Markup {
    let columns = [column("Opened"), column("From"), wide("With"), column("Last used"), column("Over"), actions()];
    html! {
        (table("session", "Your sessions", &columns, sessions.iter().map(|one| session(one, own))))
        @if sessions.len() > 1 {
            p { (Action::confirmed("end-others", "/account/sessions/end", "End all others", "All of your sessions end but this one.").destroying().form()) }
        }
    }
}

fn session(one: &SessionView, own: Option<SessionId>) -> Row {
    let is_own = own == Some(one.id);
    let cells = [
        html! { (time::instant(one.created_at)) @if is_own { " " span class="badge" { "this one" } } },
        html! { (one.address.as_deref().unwrap_or("–")) },
        html! { (one.agent.as_deref().unwrap_or("–")) },
        time::instant(one.last_seen_at),
        time::instant(one.expires_at),
        html! {
            @if !is_own {
                (Action::light(format!("end-{}", one.id), format!("/account/sessions/{}/end", one.id), "End", "It ends at once").form())
            }
        },
    ];
    row(one.id.to_string(), cells)
}

fn token_fields(form: &Form) -> Markup {
    html! {
        form method="post" action="/account/tokens" class="stack" {
            (other_faults(form))
            (required("name", "Name", "What it is for, such as the program that uses it").show(form))
            (text("scopes", "Limited to", "Permissions such as jobs:read jobs:enqueue; all that you may do when it is empty").show(form))
            (text("lifetime", "Lasts", "Such as 90d; until it is revoked when it is empty").show(form))
            button class="primary" { "Create" }
        }
    }
}

fn password_fields(form: &Form) -> Markup {
    let old = Field { kind: "password", autocomplete: "current-password", ..required("old", "Password as it is", "") };
    let new = Field {
        kind: "password",
        autocomplete: "new-password",
        ..required("password", "New password", "12 to 256 characters; all of your other sessions end")
    };
    html! {
        form method="post" action="/account/password" class="stack" {
            (other_faults(form))
            (old.show(form))
            (new.show(form))
            button class="primary" { "Change" }
        }
    }
}

async fn password(
    caller: Recognized,
    view: View,
    _: Secretive,
    OwnSession(own): OwnSession,
    mut form: Form,
) -> Result<Sent> {
    let user = person(&caller)?;
    let keep = own.map(|own| own.hash());
    let (old, new, change) = (form.secret("old"), form.secret("password"), form.change());
    if let (Some(old), Some(new), Ok(())) = (old, new, form.finish()) {
        match caller.api().accounts().change_password(&caller.order(&change), user, &old, &new, keep).await {
            Ok(_) => {
                let flash = Flash::done("Your password is changed; all of your other sessions have ended.");
                return Ok(Sent::Done(Redirect::to("/account").saying(flash)));
            }
            Err(AccountError::WrongPassword) => form.fault("old", "is not your password"),
            Err(error) => form.take(ApiError::from(error))?,
        }
    }
    let forms = Forms { password: form, token: Form::default() };
    Ok(Sent::Again(Box::new(page(&caller, &view, keep, &forms, None).await?.refused())))
}

async fn end(caller: Recognized, Path(session): Path<SessionId>, mut form: Form) -> Result<Redirect> {
    let (user, change) = (person(&caller)?, form.change());
    form.finish()?;
    let which = WhichSessions::One(session);
    let ended = caller.api().accounts().end_sessions(&caller.order(&change), user, which).await?;
    if ended == 0 {
        return Err(ApiError::not_found(format!("you have no session {session}")));
    }
    Ok(Redirect::to("/account").saying(Flash::done("The session has ended.")))
}

async fn end_others(caller: Recognized, OwnSession(own): OwnSession, mut form: Form) -> Result<Redirect> {
    let (user, change) = (person(&caller)?, form.change());
    form.finish()?;
    let which = WhichSessions::AllBut(own.map(|own| own.hash()));
    let ended = caller.api().accounts().end_sessions(&caller.order(&change), user, which).await?;
    let flash = Flash::done(format!("{} ended.", counted(ended, "session has", "sessions have")));
    Ok(Redirect::to("/account").saying(flash))
}

/// A token as the form asks for it.
fn request(form: &mut Form) -> Option<TokenRequest> {
    let name = form.required::<String>("name");
    let mut scopes = Vec::new();
    for word in form.text("scopes").unwrap_or_default().split([' ', ',']).filter(|word| !word.is_empty()) {
        match word.parse::<Permission>() {
            Ok(scope) => scopes.push(scope),
            Err(_) => form.fault("scopes", format!("has `{word}`, which is no permission")),
        }
    }
    let lifetime = form.text("lifetime").and_then(|text| match duration::parse(&text) {
        Ok(lifetime) => Some(lifetime),
        Err(error) => {
            form.fault("lifetime", error.to_string());
            None
        }
    });
    Some(TokenRequest { name: name?, scopes: Some(scopes).filter(|scopes| !scopes.is_empty()), lifetime })
}

async fn create(
    caller: Recognized,
    view: View,
    _: Secretive,
    OwnSession(own): OwnSession,
    mut form: Form,
) -> Result<Sent> {
    let (user, own) = (person(&caller)?, own.map(|own| own.hash()));
    let (request, change) = (request(&mut form), form.change());
    let mut forms = Forms::default();
    let (Some(request), Ok(())) = (request, form.finish()) else {
        forms.token = form;
        return Ok(Sent::Again(Box::new(page(&caller, &view, own, &forms, None).await?.refused())));
    };
    match caller.api().accounts().create_token(&caller.order(&change), user, &request).await {
        Ok(created) => Ok(Sent::Again(Box::new(page(&caller, &view, own, &forms, Some(&created)).await?.secret()))),
        Err(AccountError::Store(gristmill_store::StoreError::Invalid(why))) => {
            form.fault("scopes", format!("is refused: {why}"));
            forms.token = form;
            Ok(Sent::Again(Box::new(page(&caller, &view, own, &forms, None).await?.refused())))
        }
        Err(error) => Err(error.into()),
    }
}

async fn revoke(caller: Recognized, Path(token): Path<TokenId>, mut form: Form) -> Result<Redirect> {
    let (user, change) = (person(&caller)?, form.change());
    form.finish()?;
    if !caller.api().accounts().revoke_token(&caller.order(&change), token, Some(user)).await? {
        return Err(ApiError::not_found(format!("you have no token {token} that is not revoked")));
    }
    Ok(Redirect::to("/account").saying(Flash::done("The token is revoked.")))
}
