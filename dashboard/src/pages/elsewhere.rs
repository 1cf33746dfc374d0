//! Log in elsewhere: the way to a provider, and the way back from it.
//!
//! The cookie of a session is sent by nothing that another site began. The way back is begun by the provider, so that its
//! answer is a page of ours, which goes on by itself, and no redirect.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use gristmill_service::accounts::{BegunLogin, LOGIN_LIFETIME, LoggedIn, LoginAnswer, Providers, Secret, Visitor};
use maud::{Markup, html};

use super::answer::{Page, Redirect, local};
use super::flash::value_of;
use super::view::View;
use crate::api::asks::{Agent, OwnSession, network, strangers};
use crate::api::logins::{keep, kept_in};
use crate::api::session::cookie;
use crate::gate::describe::{Argument, Endpoint, HTML, Replies, Reply, plain};
use crate::gate::settings::Auth;
use crate::gate::{Api, ApiError, ErrorCode, Open, Parameters, Params, Path, Query, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().get("/login/with/{provider}", "Log in elsewhere: the way to the provider", begin).get(
        "/login/back/{provider}",
        "Log in elsewhere: the way back",
        back,
    )
}

/// Links to the providers, where there are any.
pub(super) fn buttons(providers: &Providers, next: &str) -> Markup {
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    html! {
        @for (name, title) in providers.titles() {
            p { a class="button" href={ "/login/with/" (name) "?next=" (next) } { "Log in with " (title) } }
        }
    }
}

/// Where the person wanted to go.
#[derive(Debug)]
struct Next(String);

impl Parameters for Next {
    fn read(query: &mut Query) -> Self {
        let next: Option<String> = query.one("next", "Where to go after that");
        Self(local(&next.unwrap_or_default()).to_owned())
    }
}

/// What a provider gives back. It may add what it likes.
#[derive(Debug)]
pub(super) struct Given(pub(super) LoginAnswer);

impl Parameters for Given {
    fn read(query: &mut Query) -> Self {
        query.may_have_others();
        let code: Option<String> = query.one("code", "The code");
        Self(LoginAnswer {
            kept: None,
            state: query.one("state", "The state of the login"),
            code: code.map(Secret::new),
            issuer: query.one("iss", "The issuer"),
            error: query.one("error", "Why there is no code"),
        })
    }
}

/// The browser of a login.
#[derive(Debug)]
pub(super) struct Browser {
    /// What it has kept of the login.
    pub(super) kept: Option<Secret>,
    /// Its session so far.
    pub(super) replaces: Option<Secret>,
    /// What it calls itself.
    agent: Option<String>,
}

impl FromRequestParts<Api> for Browser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self> {
        let encrypted = crate::gate::info::encrypted(parts);
        let kept = value_of(&parts.headers, kept_in(encrypted)).map(Secret::new);
        let OwnSession(replaces) = OwnSession::from_request_parts(parts, api).await?;
        let Agent(agent) = Agent::from_request_parts(parts, api).await?;
        Ok(Self { kept, replaces, agent })
    }
}

impl Argument for Browser {
    fn describe(_: &mut Endpoint) {}
}

/// A page that goes on by itself, with cookies.
pub(super) struct Onward {
    pub(super) page: Page,
    pub(super) to: Option<String>,
    pub(super) cookies: Vec<HeaderValue>,
}

impl IntoResponse for Onward {
    fn into_response(self) -> Response {
        let mut response = self.page.into_response();
        let headers = response.headers_mut();
        let onward = self.to.and_then(|to| HeaderValue::try_from(format!("0; url={to}")).ok());
        if let Some(onward) = onward {
            headers.insert(HeaderName::from_static("refresh"), onward);
        }
        for cookie in self.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl Replies for Result<Onward> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: HTML, schema: plain::<String>() });
    }
}

/// People are only known where they have to log in.
fn knows_people(api: &Api) -> Result<()> {
    match api.settings().auth {
        Auth::Users => Ok(()),
        Auth::None => Err(ApiError::new(ErrorCode::NotFound, "no caller has to log in here")),
    }
}

async fn begin(open: Open, Path(provider): Path<String>, Params(Next(next)): Params<Next>) -> Result<Redirect> {
    knows_people(&open.api)?;
    if !open.api.accounts().providers().titles().any(|(name, _)| name == provider) {
        return Err(ApiError::not_found("there is no login of this name"));
    }
    let begun = open.api.accounts().begin_elsewhere(&provider, &next, Utc::now().timestamp()).await;
    let BegunLogin { location, kept } = begun?;
    let cookie = keep(open.info.encrypted, kept.expose(), LOGIN_LIFETIME.as_secs());
    Ok(Redirect::to(location).setting(vec![cookie]))
}

async fn back(
    open: Open,
    view: View,
    Path(provider): Path<String>,
    Browser { kept, replaces, agent }: Browser,
    Params(Given(given)): Params<Given>,
) -> Result<Onward> {
    knows_people(&open.api)?;
    let answer = LoginAnswer { kept, ..given };
    if answer.is_link() {
        return Ok(to_account(&open, &view, &provider, &answer));
    }
    let visitor = Visitor { address: network(&open), agent, replaces };
    let (accounts, now) = (open.api.accounts(), Utc::now().timestamp());
    // Whatever comes of it: it began once.
    let over = keep(open.info.encrypted, "", 0);
    match accounts.finish_elsewhere(&strangers(&open), &provider, (&answer, &visitor), now).await {
        Ok((LoggedIn { secret, lifetime, .. }, next)) => {
            let next = local(&next).to_owned();
            let main = html! { div class="narrow" { h1 { "You are logged in" } p { a class="button primary" href=(next) { "Go on" } } } };
            let own = cookie(open.info.encrypted, secret.expose(), lifetime.as_secs());
            let page = view.bare(&open.api, "You are logged in", main).secret();
            Ok(Onward { page, to: Some(next), cookies: vec![over, own] })
        }
        Err(error) => {
            let error = ApiError::from(error);
            if error.code == ErrorCode::Internal {
                return Err(error);
            }
            let main = html! {
                div class="narrow" {
                    h1 { "The login did not succeed" }
                    p class="fault" role="alert" { (error.message) }
                    p { a class="button primary" href="/login" { "Back to the login" } }
                }
            };
            let page = view.bare(&open.api, "The login did not succeed", main).status(error.code.status());
            Ok(Onward { page, to: None, cookies: vec![over] })
        }
    }
}

/// The cookie of the session does not come with what a provider has begun. A page of ours goes on to where it does, and where
/// the login is linked to the account.
fn to_account(open: &Open, view: &View, provider: &str, answer: &LoginAnswer) -> Onward {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let code = answer.code.as_ref().map(|code| code.expose().to_owned());
    let given = [
        ("code", code),
        ("state", answer.state.clone()),
        ("iss", answer.issuer.clone()),
        ("error", answer.error.clone()),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let name: String = url::form_urlencoded::byte_serialize(provider.as_bytes()).collect();
    let to = format!("/account/logins/back/{name}?{}", query.finish());
    let main = html! { div class="narrow" { h1 { "Nearly there" } p { a class="button primary" href=(to) { "Link it to your account" } } } };
    let page = view.bare(&open.api, "Nearly there", main).secret();
    Onward { page, to: Some(to), cookies: Vec::new() }
}
