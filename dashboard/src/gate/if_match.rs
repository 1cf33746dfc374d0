//! `If-Match`: the version on which an edit is based.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use super::describe::{Argument, Endpoint};
use super::error::ApiError;
use super::respond::tags;

/// The tags of `If-Match`, if the caller demands one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(pub Option<Vec<String>>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let said = parts.headers.get_all(header::IF_MATCH).iter().filter_map(|value| value.to_str().ok());
        let tags: Vec<String> = said.flat_map(tags).collect();
        Ok(Self((!tags.is_empty()).then_some(tags)))
    }
}

impl Argument for IfMatch {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.conditional = true;
    }
}
