//! From the headers of a request to its caller.

use axum::http::{HeaderMap, header};
use gristmill_core::access::Principal;
use gristmill_core::id::is_name;

use super::error::{ApiError, ErrorCode, Result};
use super::settings::Auth;
use super::state::Api;
use super::zone::cookie;
use crate::auth::{Credential, KnownCaller, Secret, Unrecognized};

/// The header that names the tenant that is asked for.
pub const TENANT: &str = "gristmill-tenant";

/// The cookie that names the tenant in which a person works, where they are a member of several.
pub const CHOSEN_TENANT: &str = "gristmill-tenant";

/// The cookie of a session where the connection is encrypted: only this host can set it, for all of its paths.
pub const COOKIE_ENCRYPTED: &str = "__Host-gristmill";

/// The cookie of a session in the clear, on loopback.
pub const COOKIE: &str = "gristmill";

/// The header in which the script says in which tenant its page was made.
pub const OF_TENANT: &str = "x-of-tenant";

/// The longest credential that is looked at.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// The credential that a request carries: a token before a session. Of a request that came encrypted only the cookie counts
/// that no neighbouring host can have set.
///
/// # Errors
///
/// 401 for an `Authorization` of another form.
pub fn credential(headers: &HeaderMap, encrypted: bool) -> Result<Option<Credential>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().ok().filter(|text| text.len() <= CREDENTIAL_BYTES_MAX);
        let token =
            text.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
        let wrong = || unauthenticated("`Authorization` holds no token").hint("send `Authorization: Bearer TOKEN`");
        return token.map(|token| Some(Credential::Bearer(Secret::new(token)))).ok_or_else(wrong);
    }
    Ok(session(headers, encrypted).map(|cookie| Credential::Session(Secret::new(cookie))))
}

/// The value of the session's cookie.
fn session(headers: &HeaderMap, encrypted: bool) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs: Vec<(&str, &str)> =
        cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')).collect();
    let named = |wanted: &str| pairs.iter().find(|(name, value)| *name == wanted && !value.is_empty());
    named(COOKIE_ENCRYPTED).or_else(|| named(COOKIE).filter(|_| !encrypted)).map(|(_, value)| *value)
}

/// The caller of a request.
///
/// # Errors
///
/// 401 when it is not recognized, 403 when it may not ask for that tenant, 503 when the store cannot say.
pub async fn caller(api: &Api, headers: &HeaderMap, credential: Option<&Credential>) -> Result<KnownCaller> {
    let tenant = tenant(headers)?;
    if api.settings().auth == Auth::None {
        let anyone = api.anyone();
        return match tenant.filter(|tenant| **tenant != anyone.tenant) {
            None => Ok(KnownCaller { principal: anyone, requests_per_minute: None }),
            Some(other) => Err(not_a_member(other)),
        };
    }
    let chosen = match credential {
        Some(Credential::Session(_)) if tenant.is_none() => cookie(headers, CHOSEN_TENANT).filter(|name| is_name(name)),
        _ => None,
    };
    let Some(credential) = credential else {
        return Err(unauthenticated("no caller is logged in").hint("send `Authorization: Bearer TOKEN`"));
    };
    let mut found = api.recognize().recognize(credential, tenant.or(chosen)).await;
    // A person who has left the tenant that they had chosen is back in their own.
    if chosen.is_some() && matches!(found, Err(Unrecognized::NotMember | Unrecognized::Suspended)) {
        found = api.recognize().recognize(credential, None).await;
    }
    found.map_err(|error| match error {
        Unrecognized::Invalid => unauthenticated("the token or the session is not valid, or not any more"),
        Unrecognized::NotMember => not_a_member(tenant.unwrap_or_default()),
        Unrecognized::Suspended => ApiError::new(ErrorCode::Forbidden, "the user or the tenant is suspended"),
        Unrecognized::Away(error) => error.into(),
    })
}

/// Checks that a page is read again in the tenant in which it was made, where its script says which that was: the person may
/// have chosen another one in another tab.
///
/// # Errors
///
/// 409 when that is not the tenant of the caller.
pub fn check_page(headers: &HeaderMap, caller: &Principal) -> Result<()> {
    let of = headers.get(OF_TENANT).map(|value| value.to_str().unwrap_or_default());
    match of.filter(|of| *of != caller.tenant) {
        None => Ok(()),
        Some(of) => Err(elsewhere(of, &caller.tenant, "it is not read again")),
    }
}

/// What is refused of a page that was made in another tenant than the one in which the person works by now.
pub fn elsewhere(of: &str, tenant: &str, refused: &str) -> ApiError {
    let message = format!("the page was made for the tenant {of}, and you work in {tenant} by now: {refused}");
    ApiError::conflict(message).hint("load the page again")
}

fn unauthenticated(message: &str) -> ApiError {
    ApiError::new(ErrorCode::Unauthenticated, message)
}

fn not_a_member(tenant: &str) -> ApiError {
    ApiError::new(ErrorCode::Forbidden, format!("the caller is no member of `{tenant}`"))
}

fn tenant(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(value) = headers.get(TENANT) else { return Ok(None) };
    match value.to_str().ok().filter(|name| is_name(name)) {
        Some(name) => Ok(Some(name)),
        None => Err(ApiError::new(ErrorCode::BadRequest, "`Gristmill-Tenant` is not the name of a tenant")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_token_wins_over_a_session_and_a_cookie_of_ours_over_others() {
        let bearer = |text: &str| Some(Credential::Bearer(Secret::new(text)));
        let session = |text: &str| Some(Credential::Session(Secret::new(text)));
        for (pairs, expected) in [
            (vec![], None),
            (vec![(header::AUTHORIZATION, "Bearer abc")], bearer("abc")),
            (vec![(header::AUTHORIZATION, "bearer  abc"), (header::COOKIE, "gristmill=x")], bearer("abc")),
            (vec![(header::COOKIE, "a=b; gristmill=x")], session("x")),
            (vec![(header::COOKIE, "gristmill=x"), (header::COOKIE, "__Host-gristmill=y")], session("y")),
            (vec![(header::COOKIE, "gristmill=; b=c")], None),
        ] {
            assert_eq!(credential(&headers(&pairs), false).expect("readable"), expected, "{pairs:?}");
        }
        for (cookie, expected) in [("gristmill=x", None), ("gristmill=x; __Host-gristmill=y", session("y"))] {
            let found = credential(&headers(&[(header::COOKIE, cookie)]), true).expect("readable");
            assert_eq!(found, expected, "a neighbouring host may have set the other one: {cookie}");
        }
        for odd in ["abc", "Basic abc", "Bearer ", &format!("Bearer {}", "x".repeat(9_000))] {
            let error = credential(&headers(&[(header::AUTHORIZATION, odd)]), false).expect_err(odd);
            assert_eq!(error.code, ErrorCode::Unauthenticated);
        }
    }
}
