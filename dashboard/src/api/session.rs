//! The caller's own session: log in, log out. Its secret is in a cookie that no script can read.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use gristmill_service::accounts::{LoggedIn, Login, Secret};
use gristmill_service::documents::{ReportDocument, SessionDocument};
use gristmill_store::ControlReport;
use gristmill_store::accounts::WhichSessions;
use serde::Serialize;
use utoipa::ToSchema;

use super::asks::{Agent, OwnSession, network, person, secret, strangers};
use crate::gate::authenticate::{COOKIE, COOKIE_ENCRYPTED};
use crate::gate::describe::{Endpoint, JSON, Replies, Reply};
use crate::gate::{Answer, Caller, Change, Fields, JsonBody, Object, Open, Recognized, Result, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().post("/api/v1/session", "Log in: the answer sets the cookie of a new session", log_in).delete(
        "/api/v1/session",
        "Log out: the session ends, and its cookie is removed",
        log_out,
    )
}

/// An answer that also sets or removes the cookie of a session.
#[derive(Debug)]
pub(super) struct WithCookie<T> {
    pub(super) answer: Answer<T>,
    pub(super) cookies: Vec<HeaderValue>,
}

impl<T: Serialize> IntoResponse for WithCookie<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        for cookie in self.cookies {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl<T: ToSchema> Replies for Result<WithCookie<T>> {
    fn describe(endpoint: &mut Endpoint) {
        let schema = endpoint.schema::<T>();
        endpoint.replies.push(Reply { status: 200, media: JSON, schema });
    }
}

/// What is shown to log in.
#[derive(Debug)]
pub(super) struct LoginBody {
    pub(super) account: String,
    pub(super) password: Secret,
    pub(super) code: Option<Secret>,
}

impl Fields for LoginBody {
    const NAME: &'static str = "LoginRequest";
    const EXAMPLE: &'static str = r#"{"email": "ada@example.com", "password": "a password of your choice"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let account = object.required::<String>("email", "The address of the account");
        let password = secret(object, "password", "Its password");
        let code: Option<String> =
            object.optional("code", "A code of its second factor, or a recovery code, where it has one");
        Some(Self { account: account?, password: password?, code: code.map(Secret::new) })
    }
}

async fn log_in(
    open: Open,
    OwnSession(old): OwnSession,
    Agent(agent): Agent,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<WithCookie<SessionDocument>> {
    let accounts = open.api.accounts();
    let LoginBody { account, password, code } = body;
    let login = Login { account, password, code, address: network(&open), agent, replaces: old };
    let LoggedIn { session, secret, lifetime } = accounts.log_in(&strangers(&open), &login).await?;
    let cookie = cookie(open.info.encrypted, secret.expose(), lifetime.as_secs());
    Ok(WithCookie { answer: Answer::new(session), cookies: vec![cookie] })
}

async fn log_out(caller: Recognized, OwnSession(own): OwnSession) -> Result<WithCookie<ReportDocument>> {
    let ended = end_own(&caller, own).await?;
    let report = ControlReport { affected: ended, ..ControlReport::default() };
    let cookies = [true, false].map(|encrypted| cookie(encrypted, "", 0)).into();
    Ok(WithCookie { answer: Answer::new(ReportDocument::new(false, &report)), cookies })
}

/// Ends the caller's own session, where it has one. Returns how many that were.
pub(crate) async fn end_own(caller: &Caller, own: Option<Secret>) -> Result<u64> {
    let user = person(caller)?;
    let Some(own) = own else { return Ok(0) };
    let (order, which) = (caller.order(&Change::default()), WhichSessions::WithSecret(own.hash()));
    Ok(caller.api().accounts().end_sessions(&order, user, which).await?)
}

/// The cookie of a session. A name with `__Host-` is only taken over TLS, from this host, for all of its paths.
pub(crate) fn cookie(encrypted: bool, secret: &str, seconds: u64) -> HeaderValue {
    let (name, secure) = if encrypted { (COOKIE_ENCRYPTED, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    // Names and secrets are plain ASCII.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_this_host_alone_and_for_no_script() {
        let shown = |encrypted| cookie(encrypted, "gms_x", 60).to_str().expect("text").to_owned();
        assert_eq!(shown(false), "gristmill=gms_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
        assert_eq!(shown(true), "__Host-gristmill=gms_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure");
    }
}
