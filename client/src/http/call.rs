//! A request before it is sent.

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// A request to the API. Clones are the same request: sent again under its key, it is carried out once.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a request does nothing until it is sent"]
pub struct Call {
    pub(super) method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) body: Option<Value>,
    pub(super) if_match: Option<String>,
    pub(super) key: Option<String>,
    pub(super) timeout: Option<Duration>,
}

impl Call {
    fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        // What makes something is carried out once, however often it arrives.
        let key = (method == Method::POST).then(|| Uuid::now_v7().to_string());
        Self { method, path, query: Vec::new(), body: None, if_match: None, key, timeout: None }
    }

    /// A request that only looks. The path is given in its parts behind `/api/v1`.
    pub fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// A request that makes or does something, under a fresh `Idempotency-Key`.
    pub fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// A request that sets something as a whole.
    pub fn put(path: &[&str]) -> Self {
        Self::new(Method::PUT, path)
    }

    /// A request that edits something.
    pub fn patch(path: &[&str]) -> Self {
        Self::new(Method::PATCH, path)
    }

    /// A request that removes something.
    pub fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a parameter.
    pub fn param(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a parameter if it has a value.
    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.param(name, value),
            None => self,
        }
    }

    /// Adds a parameter if it is wanted.
    pub fn flag(self, name: &str, wanted: bool) -> Self {
        if wanted { self.param(name, true) } else { self }
    }

    /// Adds a body. What cannot be written as JSON is sent as `null`, which the server refuses.
    pub fn body(self, body: &impl Serialize) -> Self {
        Self { body: Some(serde_json::to_value(body).unwrap_or_default()), ..self }
    }

    /// Sends it under this `Idempotency-Key`: 1 to 255 characters of ASCII.
    pub fn key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Demands this version of what is edited.
    pub fn if_match(self, version: impl Into<String>) -> Self {
        Self { if_match: Some(version.into()), ..self }
    }

    /// Lets it take so long, instead of the time of an ordinary request.
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// The same without a key.
    pub(super) fn unkeyed(self) -> Self {
        Self { key: None, ..self }
    }

    /// Whether it may be sent again when it is not known whether it was carried out.
    pub(super) fn may_repeat(&self) -> bool {
        self.key.is_some() || matches!(self.method, Method::GET | Method::PUT)
    }

    /// Its whole address.
    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_an_address_cannot_change_its_form() {
        let base = Url::parse("https://jobs.example.com/behind/").expect("a URL");
        let call =
            Call::get(&["jobs", "../x?y#z/a"]).param("error", "a&b=c").flag("open", false).maybe("kind", None::<&str>);
        let url = call.url(&base);
        assert_eq!(url.as_str(), "https://jobs.example.com/behind/api/v1/jobs/..%2Fx%3Fy%23z%2Fa?error=a%26b%3Dc");
    }

    #[test]
    fn only_what_looks_or_sets_or_has_a_key_may_be_repeated() {
        assert!(Call::get(&["jobs"]).may_repeat() && Call::put(&["limits", "a"]).may_repeat());
        assert!(Call::post(&["jobs"]).may_repeat());
        assert!(!Call::delete(&["batches", "a"]).may_repeat() && !Call::patch(&["schedules", "a"]).may_repeat());
        assert_ne!(Call::post(&["jobs"]).key, Call::post(&["jobs"]).key);
    }
}
