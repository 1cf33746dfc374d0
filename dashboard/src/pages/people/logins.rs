//! One's own logins elsewhere: linked to the account with the password, and unlinked.

use axum::http::HeaderValue;
use chrono::Utc;
use gristmill_core::access::Subject;
use gristmill_service::accounts::{AccountError, BegunLogin, LOGIN_LIFETIME, LoginAnswer, Secret};
use gristmill_service::documents::LoginLinkDocument;
use maud::{Markup, html};

use super::factor;
use crate::api::asks::{OwnSession, Secretive, person};
use crate::api::logins::{begin_link, keep};
use crate::gate::{ApiError, Caller, Change, ErrorCode, Params, Path, Recognized, Result, Routes};
use crate::pages::answer::{Page, Paged, Redirect};
use crate::pages::elsewhere::{Browser, Given, Onward};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::copies;
use crate::pages::parts::field::{Field, other_faults, required, text};
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::table::{Row, actions, column, row, table, wide};
use crate::pages::parts::time;
use crate::pages::view::{Head, View};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/account/logins", "Your logins elsewhere: those that are linked to your account", show)
        .post("/account/logins/link", "Begin to link a login elsewhere, with your password", begin)
        .post("/account/logins/unlink", "Unlink one: all of your other sessions end", unlink)
        .get("/account/logins/back/{provider}", "The way back from a provider: the login is linked", back)
}

/// What the page of the account says of them.
pub(super) async fn brief(caller: &Caller, view: &View) -> Result<Markup> {
    let linked = view.read(caller.whole_store().logins_of(person(caller)?)).await?.len();
    let words = match linked {
        0 => "None is linked: you log in with your password.".to_owned(),
        1 => "One is linked.".to_owned(),
        several => format!("{several} are linked."),
    };
    Ok(html! { p { (words) } p { a class="button" href="/account/logins" { "Logins elsewhere\u{2026}" } } })
}

async fn show(caller: Recognized, view: View) -> Paged {
    page(&caller, &view, &Form::default()).await
}

/// The page, with the form as it was filled in.
async fn page(caller: &Caller, view: &View, form: &Form) -> Result<Page> {
    let main = match caller.principal.subject {
        Subject::User(_) => own(caller, view, form).await?,
        Subject::Token { .. } => html! { p { "This is a token of a program: it does not log in." } },
        Subject::Anyone => factor::no_account(),
    };
    let about = "Accounts at other places with which you log in here.";
    // Only a person has any.
    let request = match caller.principal.subject {
        Subject::User(_) => "/api/v1/me/logins",
        Subject::Token { .. } | Subject::Anyone => "/api/v1/me",
    };
    let main = html! {
        (head("Logins elsewhere", about, html! { a class="button" href="/account" { "Your account" } }))
        (main)
        (copies("gristmill user list", request))
    };
    Ok(view.page(caller, Head::new("Logins elsewhere", "/account"), main))
}

async fn own(caller: &Caller, view: &View, form: &Form) -> Result<Markup> {
    let accounts = caller.api().accounts();
    let found = view.read(caller.whole_store().logins_of(person(caller)?)).await?;
    let linked: Vec<LoginLinkDocument> = found.into_iter().map(|login| accounts.known(login).into()).collect();
    // An account has one login of each issuer, however many providers are of it.
    let is_linked = |name| linked.iter().any(|login| accounts.providers().issuer(name) == Some(login.issuer.as_str()));
    let open: Vec<(&str, &str)> = accounts.providers().titles().filter(|(name, _)| !is_linked(name)).collect();
    let columns = [column("At"), wide("As"), column("Linked"), column("Last used"), actions()];
    let rows = linked.iter().enumerate().map(|(number, login)| one(number, login));
    Ok(html! {
        (panel("logins", "Linked to your account", html! {
            @if linked.is_empty() { p class="muted" { "None. Each opens your account without its password, and without a code." } }
            @else { (table("login", "Your logins elsewhere", &columns, rows)) }
        }))
        @if open.is_empty() && linked.is_empty() {
            p class="muted" { "This server knows no other place to log in: " code { "[oidc.NAME]" } " names one." }
        }
        @if !open.is_empty() {
            (panel("link", "Link another", html! {
                p { "Who runs that place can log in as you from then on, with all that you may do here." }
                (linking(&open, form))
            }))
        }
    })
}

fn one(number: usize, login: &LoginLinkDocument) -> Row {
    let shown = login.title.as_deref().unwrap_or(&login.issuer);
    let fields = html! { input type="hidden" name="issuer" value=(login.issuer); };
    let about = "You log in with your password from then on. All of your other sessions end.";
    let unlink = Action::confirmed(format!("unlink-{number}"), "/account/logins/unlink", "Unlink", about);
    let cells = [
        html! { (shown) },
        html! { (login.subject) },
        time::instant(login.linked_at),
        time::instant(login.last_login_at),
        unlink.destroying().with(fields).form(),
    ];
    row(number.to_string(), cells)
}

fn linking(open: &[(&str, &str)], form: &Form) -> Markup {
    let proof = Field { kind: "password", autocomplete: "current-password", ..required("proof", "Your password", "") };
    let code = Field { autocomplete: "one-time-code", ..text("code", "Code", "Where you have a second factor") };
    html! {
        form method="post" action="/account/logins/link" class="stack" {
            (other_faults(form))
            (required("provider", "Where", "").show_choice(form, open))
            (proof.show(form))
            (code.show(form))
            button class="primary" { "Go there and link it" }
        }
    }
}

/// What was refused, at the field that it is about.
fn refuse(form: &mut Form, error: AccountError) -> Result<()> {
    match error {
        AccountError::WrongPassword => form.fault("proof", "is not your password"),
        AccountError::WrongCode => form.fault("code", "is wrong, or was used already; wait for the next one"),
        AccountError::SecondFactor => form.fault("code", "is missing: you have a second factor"),
        AccountError::Wait(_) | AccountError::Away(_) => form.fault("", error.to_string()),
        error => form.refuse(ApiError::from(error))?,
    }
    Ok(())
}

/// The answer is a page that goes on by itself: a browser lets no form of ours lead to another site.
async fn begin(
    caller: Recognized,
    view: View,
    _: Secretive,
    OwnSession(own): OwnSession,
    mut form: Form,
) -> Result<Onward> {
    let (provider, password) = (form.required::<String>("provider"), form.secret("proof"));
    let (code, change) = (form.text("code").map(Secret::new), form.change());
    let (Some(provider), Some(password), Ok(())) = (provider, password, form.finish()) else {
        return again(&caller, &view, &form).await;
    };
    let begun = begin_link(&caller, (&provider, password, code), own, &change).await?;
    match begun {
        Ok(BegunLogin { location, kept }) => {
            let main = html! { p { a class="button primary" href=(location) { "Go on" } } };
            let page = view.page(&caller, Head::new("Logins elsewhere", "/account"), main).secret();
            let cookies = vec![keep(caller.info.encrypted, kept.expose(), LOGIN_LIFETIME.as_secs())];
            Ok(Onward { page, to: Some(location), cookies })
        }
        Err(error) => {
            refuse(&mut form, error)?;
            again(&caller, &view, &form).await
        }
    }
}

async fn again(caller: &Caller, view: &View, form: &Form) -> Result<Onward> {
    Ok(Onward { page: page(caller, view, form).await?.refused(), to: None, cookies: Vec::new() })
}

/// Links what a page of ours leads here with: the seal of what the browser has kept says that this session has begun it.
async fn back(
    caller: Recognized,
    Path(provider): Path<String>,
    Browser { kept, replaces, .. }: Browser,
    Params(Given(given)): Params<Given>,
) -> Result<Redirect> {
    let user = person(&caller)?;
    let Some(session) = replaces else {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "a login elsewhere is linked in the browser that has begun it",
        ));
    };
    let (answer, over): (_, HeaderValue) = (LoginAnswer { kept, ..given }, keep(caller.info.encrypted, "", 0));
    let (order, now) = (caller.order(&Change::default()), Utc::now().timestamp());
    let flash = match caller.api().accounts().finish_link(&order, &provider, (user, &session, &answer), now).await {
        Ok(true) => Flash::done("The login is linked to your account."),
        Ok(false) => Flash::done("The login was linked to your account already."),
        Err(error) => {
            let error = ApiError::from(error);
            if error.code == ErrorCode::Internal {
                return Err(error);
            }
            Flash::careful(format!("The login was not linked: {}.", error.message))
        }
    };
    Ok(Redirect::to("/account/logins").saying(flash).setting(vec![over]))
}

async fn unlink(caller: Recognized, OwnSession(own): OwnSession, mut form: Form) -> Result<Redirect> {
    let (user, keep) = (person(&caller)?, own.map(|own| own.hash()));
    let (issuer, change) = (form.required::<String>("issuer"), form.change());
    form.finish()?;
    let issuer = issuer.unwrap_or_default();
    let unlinked = caller.api().accounts().unlink(&caller.order(&change), user, &issuer, keep).await?;
    let words = if unlinked { "It is unlinked: your other sessions are over." } else { "It was not linked any more." };
    Ok(Redirect::to("/account/logins").saying(Flash::done(words)))
}
