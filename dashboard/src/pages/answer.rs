//! What a page answers: a page, the part of it that changes, or the address of another one.

use std::hash::{DefaultHasher, Hasher};

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::flash::{self, Flash};
use crate::gate::Result;
use crate::gate::describe::{Endpoint, HTML, Replies, Reply, plain};

/// What a browser may do with a page: nothing but what comes from here, and no script or style within it.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                          connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What a page cost and when it was read, for the line below it.
pub const COST: &str = "x-cost";

/// What a handler of a page gives back.
pub type Paged = Result<Page>;

/// A page, or the part of it that changes.
#[derive(Debug, Clone)]
pub struct Page {
    /// The whole document, or its part.
    pub(super) html: String,
    /// The status, unless it is 200.
    pub(super) status: StatusCode,
    /// The tags that the browser has of the part; `None` for a whole page.
    pub(super) known: Option<Vec<String>>,
    /// The value of [`COST`].
    pub(super) cost: String,
    /// The cookies that it sets.
    pub(super) cookies: Vec<HeaderValue>,
    /// Whether it holds a secret, so that no browser keeps it.
    pub(super) secret: bool,
}

impl Page {
    /// The same, kept by no browser: it holds a secret.
    #[must_use]
    pub fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// The same with another status, such as that of a form that is shown again.
    #[must_use]
    pub fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same for a form with faults: 422.
    #[must_use]
    pub fn refused(self) -> Self {
        self.status(StatusCode::UNPROCESSABLE_ENTITY)
    }

    /// The tag of its text.
    fn tag(&self) -> String {
        tag(&self.html)
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let tag = self.tag();
        let is_known = self.known.as_ref().is_some_and(|known| known.contains(&tag));
        let is_part = self.known.is_some() && self.status == StatusCode::OK;
        let (status, body) =
            if is_known && is_part { (StatusCode::NOT_MODIFIED, String::new()) } else { (self.status, self.html) };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        dress(headers);
        if self.secret {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if status == StatusCode::NOT_MODIFIED {
            headers.remove(header::CONTENT_TYPE);
        }
        if let Some(tag) = HeaderValue::try_from(format!("W/\"{tag}\"")).ok().filter(|_| is_part) {
            headers.insert(header::ETAG, tag);
        }
        if let Ok(cost) = HeaderValue::try_from(self.cost) {
            headers.insert(HeaderName::from_static(COST), cost);
        }
        for cookie in self.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

/// The tag of a text.
pub(super) fn tag(html: &str) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(html.as_bytes());
    format!("{:016x}", hasher.finish())
}

/// What every page says in its head.
fn dress(headers: &mut axum::http::HeaderMap) {
    for (name, value) in [
        (header::CONTENT_TYPE, HTML),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::VARY, "cookie, x-fragment"),
        // With `no-referrer` a form of ours would say that it comes from nowhere.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

impl Replies for Paged {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 200, media: HTML, schema: plain::<String>() });
    }
}

/// The way to another page: what a form answers (303).
#[derive(Debug, Clone)]
pub struct Redirect {
    to: String,
    flash: Option<Flash>,
    cookies: Vec<HeaderValue>,
}

impl Redirect {
    /// To an address of ours.
    pub fn to(address: impl Into<String>) -> Self {
        Self { to: address.into(), flash: None, cookies: Vec::new() }
    }

    /// The same, with something to be said there once.
    #[must_use]
    pub fn saying(self, flash: Flash) -> Self {
        Self { flash: Some(flash), ..self }
    }

    /// The same with cookies.
    #[must_use]
    pub fn setting(self, cookies: Vec<HeaderValue>) -> Self {
        Self { cookies, ..self }
    }
}

impl IntoResponse for Redirect {
    fn into_response(self) -> Response {
        let mut response = StatusCode::SEE_OTHER.into_response();
        let headers = response.headers_mut();
        dress(headers);
        headers.remove(header::CONTENT_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let address = HeaderValue::try_from(self.to).unwrap_or_else(|_| HeaderValue::from_static("/"));
        headers.insert(header::LOCATION, address);
        for cookie in self.flash.map(|said| flash::cookie(&said)).into_iter().chain(self.cookies) {
            headers.append(header::SET_COOKIE, cookie);
        }
        response
    }
}

impl Replies for Result<Redirect> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 303, media: HTML, schema: plain::<String>() });
    }
}

/// What a form answers: the way to the next page, or itself again with what is wrong.
#[derive(Debug, Clone)]
pub enum Sent {
    /// It was done.
    Done(Redirect),
    /// The form again.
    Again(Box<Page>),
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        match self {
            Self::Done(redirect) => redirect.into_response(),
            Self::Again(page) => page.into_response(),
        }
    }
}

impl Replies for Result<Sent> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.replies.push(Reply { status: 303, media: HTML, schema: plain::<String>() });
    }
}

/// An address of ours, for a way back; anything else leads to the overview. A browser takes `//host` and `/\host` for
/// other sites.
pub fn local(address: &str) -> &str {
    let plain = address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_ours = address.starts_with('/') && !address.starts_with("//") && plain && address.len() <= 2_000;
    if is_ours { address } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_leads_to_no_other_site() {
        for ours in ["/", "/batches?state=open&after=1", "/login"] {
            assert_eq!(local(ours), ours);
        }
        for other in
            ["", "//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a\r\nb", "/a b"]
        {
            assert_eq!(local(other), "/", "{other}");
        }
    }

    #[test]
    fn a_part_that_is_known_is_not_sent_again() {
        let page = |known: Option<Vec<String>>| Page {
            html: "<p>".to_owned(),
            status: StatusCode::OK,
            known,
            cost: String::new(),
            cookies: Vec::new(),
            secret: false,
        };
        let tag = page(None).tag();
        assert_eq!(page(None).into_response().headers().get(header::ETAG), None);
        let part = page(Some(Vec::new())).into_response();
        assert_eq!(part.headers()[header::ETAG], format!("W/\"{tag}\"").as_str());
        assert_eq!(page(Some(vec![tag])).into_response().status(), StatusCode::NOT_MODIFIED);
    }
}
