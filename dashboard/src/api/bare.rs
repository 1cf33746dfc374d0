//! Documents without an envelope: those whose form is not ours.

use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::gate::ApiError;
use crate::gate::describe::JSON;

/// A document as it is.
pub(super) fn answer(document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(bytes) => written(Bytes::from(bytes)),
        Err(error) => ApiError::internal(format!("an answer cannot be written: {error}")).into_response(),
    }
}

/// A document that is written already.
pub(super) fn written(bytes: Bytes) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))], bytes).into_response()
}
