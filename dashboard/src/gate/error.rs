//! Why a request was not carried out: one type, classified where it arises, and logged once where it is answered.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gristmill_service::accounts::AccountError;
use gristmill_store::{OverQuota, StoreError};
use serde::Serialize;

gristmill_core::words! {
    /// The class of an error. The words are a promise to programs.
    pub enum ErrorCode {
        /// The request cannot be read: 400.
        BadRequest = "bad_request",
        /// The caller is not recognized: 401.
        Unauthenticated = "unauthenticated",
        /// The caller may not do that: 403.
        Forbidden = "forbidden",
        /// There is no such thing, or the caller may not know of it: 404.
        NotFound = "not_found",
        /// The address has no such method: 405.
        MethodNotAllowed = "method_not_allowed",
        /// The request did not arrive in time, or the answer took too long: 408.
        TimedOut = "timed_out",
        /// Its state does not allow it, or it exists already: 409.
        Conflict = "conflict",
        /// The thing was changed since it was read: 412.
        Stale = "stale",
        /// The body is longer than it may be: 413.
        TooLarge = "too_large",
        /// The body is not of a type that is read here: 415.
        UnsupportedMedia = "unsupported_media_type",
        /// The request can be read and makes no sense: 422. The faults say what and where.
        Invalid = "invalid",
        /// The file has no such bytes: 416.
        OutOfRange = "out_of_range",
        /// Too many requests: 429.
        RateLimited = "rate_limited",
        /// A fault of this program: 500.
        Internal = "internal",
        /// The store or the broker cannot be reached: 503. Trying again may help.
        Unavailable = "unavailable",
    }
}

impl ErrorCode {
    /// The status of an answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Stale => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::OutOfRange => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may succeed later without a change.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::TimedOut | Self::RateLimited | Self::Unavailable)
    }

    /// The sentence about the class, for titles.
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request cannot be read",
            Self::Unauthenticated => "The caller is not recognized",
            Self::Forbidden => "The caller may not do that",
            Self::NotFound => "There is no such thing",
            Self::MethodNotAllowed => "The address has no such method",
            Self::TimedOut => "It took too long",
            Self::Conflict => "The state does not allow it",
            Self::Stale => "It was changed since it was read",
            Self::TooLarge => "The body is too long",
            Self::UnsupportedMedia => "The body is of no type that is read here",
            Self::Invalid => "The request makes no sense",
            Self::OutOfRange => "It has no such bytes",
            Self::RateLimited => "Too many requests",
            Self::Internal => "A fault of this program",
            Self::Unavailable => "The store or the broker cannot be reached",
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// Where: a JSON pointer into the body such as `/queue`, `?limit` for a parameter, or the name of a header.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Its class.
    pub code: ErrorCode,
    /// What is wrong, for the caller.
    pub message: String,
    /// What would be right.
    pub hint: Option<Box<str>>,
    /// Everything that is wrong, by its place.
    pub faults: Vec<Fault>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// What else a program may need, such as how far a stream was read.
    pub progress: Option<Box<serde_json::Value>>,
    /// The quota that is used up.
    pub quota: Option<Box<OverQuota>>,
    /// What the log says, and the caller does not learn.
    pub cause: Option<Box<str>>,
}

/// Short for a result with [`ApiError`].
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// An error of a class.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let (hint, faults, retry_after) = (None, Vec::new(), None);
        Self { code, message, hint, faults, retry_after, progress: None, quota: None, cause: None }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Its state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// A request that makes no sense: the whole of what is wrong with it.
    pub fn invalid(faults: Vec<Fault>) -> Self {
        let message = match faults.as_slice() {
            [one] => format!("{}: {}", one.path, one.message),
            many => format!("{} things are wrong with the request", many.len()),
        };
        Self { faults, ..Self::new(ErrorCode::Invalid, message) }
    }

    /// One thing that is wrong with the request.
    pub fn fault(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![Fault::new(path, message)])
    }

    /// A fault of this program: the cause is logged, and not sent.
    pub fn internal(cause: impl Into<Box<str>>) -> Self {
        let message = "a fault of this program; its log has more under the id of the request";
        Self { cause: Some(cause.into()), ..Self::new(ErrorCode::Internal, message) }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(self, hint: impl Into<Box<str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let retry_after = Some(Duration::from_secs(5));
        let away = |error: &StoreError, message: &str| Self {
            cause: Some(error.to_string().into()),
            retry_after,
            ..Self::new(ErrorCode::Unavailable, message)
        };
        match error {
            StoreError::NotFound(what) => Self::not_found(what),
            StoreError::Conflict(what) | StoreError::Locked(what) => Self::conflict(what),
            StoreError::OverQuota(over) => {
                let message = over.to_string();
                Self { quota: Some(Box::new(over)), ..Self::new(ErrorCode::Conflict, message) }
            }
            StoreError::Denied(what) => Self::new(ErrorCode::Forbidden, what),
            StoreError::Invalid(what) => Self::new(ErrorCode::Invalid, what),
            StoreError::Unavailable(_) => away(&error, "the store cannot be reached"),
            StoreError::Full(_) => away(&error, "the store has no room left"),
            StoreError::SinkLocked(_) => away(&error, "the output table is locked"),
            StoreError::NeedsMigration { .. } | StoreError::TooNew { .. } => {
                away(&error, "the store and this program do not have the same version")
            }
            StoreError::Sink(_) => Self::conflict(error.to_string()),
            StoreError::Database(_) => Self::internal(error.to_string()),
        }
    }
}

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Store(error) => error.into(),
            AccountError::WrongPassword | AccountError::BadRefresh => {
                Self::new(ErrorCode::Unauthenticated, error.to_string())
            }
            AccountError::Refused(_) => Self::new(ErrorCode::Unauthenticated, error.to_string()),
            AccountError::Away(_) => Self::new(ErrorCode::Unavailable, error.to_string()),
            AccountError::SecondFactor => Self {
                faults: vec![Fault::new("/code", "is asked for: the account has a second factor")],
                ..Self::new(ErrorCode::Unauthenticated, error.to_string())
            },
            AccountError::WrongCode => Self {
                faults: vec![Fault::new("/code", "is wrong, or was used already")],
                ..Self::new(ErrorCode::Unauthenticated, error.to_string())
            },
            AccountError::Wait(time) => {
                Self { retry_after: Some(time), ..Self::new(ErrorCode::RateLimited, error.to_string()) }
            }
            AccountError::BadPassword(wrong) | AccountError::BadHash(wrong) => Self::fault("/password", wrong),
            AccountError::BadAddress(wrong) => Self::fault("/email", wrong.to_string()),
            AccountError::Busy => {
                let retry_after = Some(Duration::from_secs(2));
                Self { retry_after, ..Self::new(ErrorCode::Unavailable, error.to_string()) }
            }
            AccountError::Internal(cause) => Self::internal(cause),
        }
    }
}

impl IntoResponse for ApiError {
    /// The answer's head; its body is written where the id of the request is known.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_database_says_is_logged_and_not_sent() {
        for error in [
            StoreError::Unavailable("postgres://u:hunter2@db".to_owned()),
            StoreError::Database("relation hunter2".to_owned()),
            StoreError::Full("/var/hunter2".to_owned()),
        ] {
            let error = ApiError::from(error);
            assert!(!error.message.contains("hunter2"), "{}", error.message);
            assert!(error.cause.expect("a cause").contains("hunter2"));
        }
    }

    #[test]
    fn every_class_has_a_status_of_its_own() {
        let statuses: std::collections::BTreeSet<u16> =
            ErrorCode::ALL.into_iter().map(|code| code.status().as_u16()).collect();
        assert_eq!(statuses.len(), ErrorCode::ALL.len());
        assert!(statuses.iter().all(|status| *status >= 400));
    }
}
