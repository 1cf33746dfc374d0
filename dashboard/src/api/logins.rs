//! The caller's logins elsewhere: those that are linked to their account, a way to link one, and one to unlink it.

use axum::http::HeaderValue;
use chrono::Utc;
use gristmill_service::accounts::{AccountError, BegunLogin, LOGIN_LIFETIME, LinkProof, Proof, Secret};
use gristmill_service::documents::{BegunLinkDocument, LoginLinkDocument, ReportDocument};
use gristmill_store::ControlReport;

use super::asks::{OwnSession, Secretive, network_of, person, secret};
use super::session::WithCookie;
use crate::gate::{
    Answer, ApiError, Caller, Change, ErrorCode, Fields, JsonBody, Object, Outcome, Params, Recognized, Result, Routes,
};

/// The cookie of a login elsewhere that is under way, where the connection is encrypted.
const COOKIE_ENCRYPTED: &str = "__Host-gristmill-login";

/// The same in the clear.
const COOKIE: &str = "gristmill-login";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/me/logins", "The logins elsewhere that are linked to your account", list)
        .post(
            "/api/v1/me/logins",
            "Begin to link a login elsewhere to your account: a browser goes to the address of the answer, with its cookie",
            begin,
        )
        .post(
            "/api/v1/me/logins/unlink",
            "Unlink the login of an issuer from your account: all of your other sessions end",
            unlink,
        )
}

/// The name of the cookie of a login elsewhere that is under way.
pub(crate) fn kept_in(encrypted: bool) -> &'static str {
    if encrypted { COOKIE_ENCRYPTED } else { COOKIE }
}

/// That cookie. It is sent also when another site leads here, as a provider does, and to no script.
pub(crate) fn keep(encrypted: bool, kept: &str, seconds: u64) -> HeaderValue {
    let (name, secure) = (kept_in(encrypted), if encrypted { "; Secure" } else { "" });
    let text = format!("{name}={kept}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn list(caller: Recognized) -> Outcome<Vec<LoginLinkDocument>> {
    let found = caller.api().accounts().logins(person(&caller)?).await?;
    Ok(Answer::page(found.into_iter().map(LoginLinkDocument::from).collect(), None))
}

/// The body that begins a link.
#[derive(Debug)]
struct LinkBody {
    provider: String,
    password: Secret,
    code: Option<Secret>,
}

impl Fields for LinkBody {
    const NAME: &'static str = "LinkLoginRequest";
    const EXAMPLE: &'static str = r#"{"provider": "company", "password": "your password"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let provider = object.required::<String>("provider", "The name of the provider, as `[oidc.NAME]` has it");
        let password = secret(object, "password", "Your password");
        let code: Option<String> =
            object.optional("code", "A code of your second factor, or a recovery code, where you have one");
        Some(Self { provider: provider?, password: password?, code: code.map(Secret::new) })
    }
}

async fn begin(
    caller: Recognized,
    _: Secretive,
    OwnSession(own): OwnSession,
    Params(change): Params<Change>,
    JsonBody(LinkBody { provider, password, code }): JsonBody<LinkBody>,
) -> Result<WithCookie<BegunLinkDocument>> {
    let begun = begin_link(&caller, (&provider, password, code), own, &change).await?;
    let BegunLogin { location, kept } = begun.map_err(refused)?;
    let cookies = vec![keep(caller.info.encrypted, kept.expose(), LOGIN_LIFETIME.as_secs())];
    Ok(WithCookie { answer: Answer::new(BegunLinkDocument { location }), cookies })
}

/// Begins to link a login to the caller's account. What was shown may be wrong: that is the inner error.
///
/// # Errors
///
/// 403 for callers that are no people who have logged in by a browser, 404 when there is no such provider.
pub(crate) async fn begin_link(
    caller: &Caller,
    (provider, password, code): (&str, Secret, Option<Secret>),
    own: Option<Secret>,
    change: &Change,
) -> Result<std::result::Result<BegunLogin, AccountError>> {
    let (user, accounts) = (person(caller)?, caller.api().accounts());
    let Some(session) = own else {
        let message = "a login elsewhere is linked in a browser: the request needs the cookie of a session";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    };
    if !accounts.providers().titles().any(|(name, _)| name == provider) {
        return Err(ApiError::not_found("there is no login of this name"));
    }
    let proof = Proof { user, password, address: network_of(&caller.info) };
    let proof = LinkProof { proof, code, session };
    Ok(accounts.begin_link(&caller.order(change), provider, &proof, Utc::now().timestamp()).await)
}

/// The body that unlinks a login.
#[derive(Debug)]
struct UnlinkBody(String);

impl Fields for UnlinkBody {
    const NAME: &'static str = "UnlinkLoginRequest";
    const EXAMPLE: &'static str = r#"{"issuer": "https://login.example.com"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        object.required("issuer", "The issuer of the login, as the list has it").map(Self)
    }
}

async fn unlink(
    caller: Recognized,
    OwnSession(own): OwnSession,
    Params(change): Params<Change>,
    JsonBody(UnlinkBody(issuer)): JsonBody<UnlinkBody>,
) -> Outcome<ReportDocument> {
    let (user, keep) = (person(&caller)?, own.map(|own| own.hash()));
    if !caller.api().accounts().unlink(&caller.order(&change), user, &issuer, keep).await? {
        return Err(ApiError::not_found("your account is known by no login of this issuer"));
    }
    let report = ControlReport { affected: 1, samples: vec![issuer], ..ControlReport::default() };
    Ok(Answer::new(ReportDocument::new(false, &report)))
}

/// The caller is recognized already: 401 would send them to log in.
fn refused(error: AccountError) -> ApiError {
    let forbidden = |message: String| ApiError::new(ErrorCode::Forbidden, message);
    match error {
        AccountError::WrongPassword => forbidden("`password` is not your password".to_owned()),
        AccountError::WrongCode => forbidden(error.to_string()),
        AccountError::SecondFactor => ApiError::fault("/code", "is missing: your account has a second factor"),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_of_a_login_comes_back_with_the_provider_and_is_for_no_script() {
        let shown = |encrypted| keep(encrypted, "x", 600).to_str().expect("text").to_owned();
        assert_eq!(shown(false), "gristmill-login=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=600");
        assert_eq!(shown(true), "__Host-gristmill-login=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure");
    }
}
