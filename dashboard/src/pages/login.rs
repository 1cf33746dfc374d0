//! Log in, log out. The way back is one of ours; the session that the browser had ends.

use gristmill_core::access::Subject;
use gristmill_service::accounts::{AccountError, LoggedIn, Login, Secret};
use maud::{Markup, html};

use super::answer::{Page, Paged, Redirect, Sent, local};
use super::elsewhere::buttons;
use super::form::Form;
use super::parts::field::{Field, other_faults, required, text};
use super::view::View;
use crate::api::asks::{Agent, OwnSession, network, strangers};
use crate::api::session::{cookie, end_own};
use crate::gate::settings::Auth;
use crate::gate::{Api, Open, Parameters, Params, Query, Recognized, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/login", "Log in", ask)
        .post("/login", "Log in: the answer sets the cookie of a new session", log_in)
        .post("/logout", "Log out", log_out)
}

/// Where the person wanted to go.
#[derive(Debug)]
struct Next(Option<String>);

impl Parameters for Next {
    fn read(query: &mut Query) -> Self {
        Self(query.one("next", "Where to go after that"))
    }
}

async fn ask(open: Open, view: View, Params(Next(next)): Params<Next>) -> Paged {
    let next = next.unwrap_or_default();
    Ok(page(&open.api, &view, &Form::default(), local(&next)))
}

fn page(api: &Api, view: &View, form: &Form, next: &str) -> Page {
    let main = match api.settings().auth {
        Auth::None => no_need(),
        Auth::Users => {
            html! { (fields(form, next, api.accounts().registers())) (buttons(api.accounts().providers(), next)) }
        }
    };
    view.bare(api, "Log in", html! { div class="narrow" { (main) } })
}

fn no_need() -> Markup {
    html! {
        h1 { "No login here" }
        p { "Whoever reaches this address owns the tenant of its configuration. To know people, set" }
        pre { code { "[serve]\nauth = \"users\"" } }
        p { a class="button primary" href="/" { "To the overview" } }
    }
}

fn fields(form: &Form, next: &str, registers: bool) -> Markup {
    let email = Field {
        kind: "email",
        autocomplete: "username",
        ..required("email", "Address", "The address of your account")
    };
    let password = Field { kind: "password", autocomplete: "current-password", ..required("password", "Password", "") };
    let code =
        Field { autocomplete: "one-time-code", ..text("code", "Code", "Of your second factor, if you have one") };
    html! {
        h1 { "Log in" }
        form method="post" action="/login" class="stack" {
            (other_faults(form))
            input type="hidden" name="next" value=(next);
            (email.show(form))
            (password.show(form))
            (code.show(form))
            button class="primary" { "Log in" }
        }
        p class="muted" { "Forgotten? " a href="/link/ask" { "Ask for a link" } " to choose a new password." }
        @if registers { p class="muted" { "New here? " a href="/link/register" { "Ask for an account" } "." } }
    }
}

async fn log_in(
    open: Open,
    view: View,
    OwnSession(old): OwnSession,
    Agent(agent): Agent,
    mut form: Form,
) -> Result<Sent> {
    let (account, password) = (form.required::<String>("email"), form.secret("password"));
    let (code, next) = (form.text("code").map(Secret::new), form.text("next").unwrap_or_default());
    let _ = form.finish();
    let (Some(account), Some(password)) = (account, password) else {
        return Ok(Sent::Again(Box::new(page(&open.api, &view, &form, local(&next)).refused())));
    };
    let login = Login { account, password, code, address: network(&open), agent, replaces: old };
    match open.api.accounts().log_in(&strangers(&open), &login).await {
        Ok(LoggedIn { secret, lifetime, .. }) => {
            let cookie = cookie(open.info.encrypted, secret.expose(), lifetime.as_secs());
            Ok(Sent::Done(Redirect::to(local(&next)).setting(vec![cookie])))
        }
        Err(error @ (AccountError::SecondFactor | AccountError::WrongCode)) => {
            form.fault("code", said(&error));
            Ok(Sent::Again(Box::new(page(&open.api, &view, &form, local(&next)).refused())))
        }
        Err(error @ (AccountError::WrongPassword | AccountError::Wait(_))) => {
            form.fault("", error.to_string());
            Ok(Sent::Again(Box::new(page(&open.api, &view, &form, local(&next)).refused())))
        }
        Err(error) => Err(error.into()),
    }
}

/// What is wrong with a code.
fn said(error: &AccountError) -> &'static str {
    match error {
        AccountError::SecondFactor => "is needed: your account has a second factor",
        _ => "is wrong, or was used already; wait for the next one",
    }
}

async fn log_out(caller: Recognized, OwnSession(own): OwnSession, mut form: Form) -> Result<Redirect> {
    form.finish()?;
    if !matches!(caller.principal.subject, Subject::Anyone) {
        end_own(&caller, own).await?;
    }
    Ok(Redirect::to("/login").setting([true, false].map(|encrypted| cookie(encrypted, "", 0)).into()))
}
