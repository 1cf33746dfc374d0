//! What a handler answers: a document or a page of them, before the envelope is around it.

use axum::body::Bytes;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::{ApiError, Result};

/// What a handler gives back.
pub type Outcome<T> = Result<Answer<T>>;

/// What a handler gives back that makes something new, or would at a dry run.
pub type Creation<T> = Result<Made<T>>;

/// A document with the status 200.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    data: T,
    next: Option<String>,
    version: Option<String>,
    edition: Option<String>,
}

impl<T> Answer<T> {
    /// The document.
    pub fn new(data: T) -> Self {
        Self { data, next: None, version: None, edition: None }
    }

    /// The same with what of it can be edited, in a few characters: the part of the `ETag` before its dot, which edits may
    /// demand in `If-Match`. The part behind it is a hash of the document, of which more changes by itself.
    #[must_use]
    pub fn edition(self, edition: impl Into<String>) -> Self {
        Self { edition: Some(edition.into()), ..self }
    }

    /// The same with a version for `ETag`, which edits may demand in `If-Match`. Without one the tag is a hash of the
    /// document.
    #[must_use]
    pub fn version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }
}

impl<T> Answer<Vec<T>> {
    /// A page of a list, and the key at which the next one begins, if there is one.
    pub fn page(rows: Vec<T>, next: Option<String>) -> Self {
        Self { data: rows, next, version: None, edition: None }
    }
}

/// A document of something that was made (201), or would be at a dry run (200).
#[derive(Debug, Clone, PartialEq)]
pub struct Made<T> {
    data: T,
    location: Option<String>,
    fresh: bool,
}

impl<T> Made<T> {
    /// It was made, and can be seen at this address.
    pub fn at(data: T, location: impl Into<String>) -> Self {
        Self { data, location: Some(location.into()), fresh: true }
    }

    /// It was made.
    pub fn new(data: T) -> Self {
        Self { data, location: None, fresh: true }
    }

    /// It would be made, or is there already.
    pub fn not_made(data: T) -> Self {
        Self { data, location: None, fresh: false }
    }
}

/// A document in bytes, which waits in an answer for its envelope.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document, as JSON.
    pub data: Bytes,
    /// The key at which the next page begins.
    pub next: Option<String>,
    /// Its version, for `ETag`.
    pub version: Option<String>,
    /// What of it can be edited, for the first part of `ETag`.
    pub edition: Option<String>,
}

impl Document {
    fn answer<T: Serialize>(status: StatusCode, answer: Answer<T>) -> Response {
        let Answer { data, next, version, edition } = answer;
        let data = match serde_json::to_vec(&data) {
            Ok(data) => Bytes::from(data),
            Err(error) => return ApiError::internal(format!("an answer cannot be written: {error}")).into_response(),
        };
        let mut response = status.into_response();
        response.extensions_mut().insert(Self { data, next, version, edition });
        response
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        Document::answer(StatusCode::OK, self)
    }
}

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        let status = if self.fresh { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = Document::answer(status, Answer::new(self.data));
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}
