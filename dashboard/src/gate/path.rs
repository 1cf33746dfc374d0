//! The variable parts of a path.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use gristmill_core::schema::{PartialSchema, id};
use serde::de::DeserializeOwned;
use utoipa::openapi::{RefOr, Schema};

use super::describe::{Argument, Endpoint};
use super::error::ApiError;

/// The variable parts of a path, in their order: one value, or a tuple. What cannot be one names nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let missing = |_| ApiError::not_found(format!("`{}` names nothing here", parts.uri.path()));
        read.map(|axum::extract::Path(value)| Self(value)).map_err(missing)
    }
}

/// What a variable part may be.
pub trait Part {
    /// What it looks like.
    fn part() -> RefOr<Schema>;
}

impl<T: Part> Argument for Path<T> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.path_schemas.push(T::part());
    }
}

impl<A: Part, B: Part> Argument for Path<(A, B)> {
    fn describe(endpoint: &mut Endpoint) {
        endpoint.path_schemas.extend([A::part(), B::part()]);
    }
}

macro_rules! parts {
    ($($part:ty),* $(,)?) => {
        $(impl Part for $part {
            fn part() -> RefOr<Schema> {
                <$part>::schema()
            }
        })*
    };
}

impl Part for uuid::Uuid {
    fn part() -> RefOr<Schema> {
        id()
    }
}

parts!(
    String,
    i64,
    u64,
    gristmill_core::id::JobId,
    gristmill_core::id::BatchId,
    gristmill_core::id::WorkerId,
    gristmill_core::id::UserId,
    gristmill_core::id::TokenId,
    gristmill_core::id::SessionId,
    gristmill_core::id::LinkId,
    gristmill_core::id::OperationId,
);
