//! What a service is sent, and with what it lets in.

use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// The address and the token of a channel, as they are now.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The address.
    pub url: String,
    /// Whether it must not be seen.
    pub url_is_secret: bool,
    /// The token, key or routing key.
    pub token: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// What a service is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address. It may be a secret.
    pub url: String,
    /// The headers. That with the token is marked as sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A POST of JSON.
    pub(super) fn json(url: String, body: &Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, url, headers, body: body.to_string().into_bytes() }
    }

    /// With a header that must not be seen.
    pub(super) fn with_secret(mut self, name: HeaderName, value: &str) -> Result<Self, String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| "the token holds a line end or another control character".to_owned())?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// With the token, where there is one.
    pub(super) fn with_bearer(self, secrets: &Secrets) -> Result<Self, String> {
        match &secrets.token {
            Some(token) => self.with_secret(AUTHORIZATION, &format!("Bearer {token}")),
            None => Ok(self),
        }
    }
}
