//! Whether a change was asked for by our own pages, where the browser adds the credential by itself. Pure.
//!
//! A caller with a token in `Authorization` has proved its will by that: no browser adds one for another site. A cookie,
//! or no credential at all where none is needed, proves nothing.

use axum::http::{HeaderMap, Method, header};

use super::error::{ApiError, ErrorCode, Result};

/// Checks a request whose credential a browser may have added by itself; `session` says that it carries a cookie of ours.
///
/// # Errors
///
/// 403 for a change that another site has asked for.
pub fn check(method: &Method, headers: &HeaderMap, session: bool) -> Result<()> {
    if method.is_safe() {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let allowed = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            authority.is_some_and(|authority| Some(authority) == text(header::HOST.as_str()))
        }
        // No browser: they send one of the two with each change. Only browsers have reason to send a cookie.
        (None, None) => !session,
    };
    if allowed {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Forbidden, "another site has asked for this change")
        .hint("programs send `Authorization: Bearer …`, and no `Origin`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_and_programs_change_anything() {
        let host = ("host", "localhost:7700");
        for (method, said, allowed) in [
            (Method::GET, vec![("sec-fetch-site", "cross-site")], true),
            (Method::POST, vec![("sec-fetch-site", "cross-site")], false),
            (Method::POST, vec![("sec-fetch-site", "same-site")], false),
            (Method::POST, vec![("sec-fetch-site", "same-origin")], true),
            (Method::DELETE, vec![("sec-fetch-site", "none")], true),
            (Method::POST, vec![("origin", "http://localhost:7700")], true),
            (Method::POST, vec![("origin", "http://localhost:7701")], false),
            (Method::POST, vec![("origin", "null")], false),
            (Method::POST, vec![("origin", "https://evil.example")], false),
            (Method::POST, vec![("origin", "http://localhost:7700"), ("sec-fetch-site", "cross-site")], false),
            (Method::PATCH, vec![], true),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in said.iter().copied().chain([host]) {
                headers
                    .insert(name.parse::<axum::http::HeaderName>().expect("a name"), value.parse().expect("a value"));
            }
            assert_eq!(check(&method, &headers, false).is_ok(), allowed, "{method} {said:?}");
            let with_session = allowed && (method.is_safe() || !said.is_empty());
            assert_eq!(check(&method, &headers, true).is_ok(), with_session, "{method} {said:?} with a session");
        }
    }
}
