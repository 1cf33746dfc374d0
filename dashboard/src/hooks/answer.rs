//! The response to a delivery, which is also counted and logged. Errors are `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gristmill_store::{StoreError, TickView};
use serde_json::json;

/// The outcome of a delivery.
#[derive(Debug)]
pub enum Answer {
    /// It is in the ledger, now or since an earlier delivery.
    Taken {
        /// Whether this was the first of its event.
        fresh: bool,
        /// The row of the ledger.
        tick: Box<TickView>,
    },
    /// There is no such hook.
    Unknown,
    /// It is not signed as it should be. The reason is logged, but not sent.
    Unauthorized(&'static str),
    /// The body is longer than it may be.
    TooLong {
        /// How many bytes it may have.
        most: usize,
    },
    /// The body did not arrive in time.
    Slow,
    /// The body was cut off.
    Broken,
    /// It is signed, but is not what it should be.
    Unfit(String),
    /// Too many deliveries at once.
    Busy,
    /// The tenant has as much already as its quota allows.
    OverQuota,
    /// The store cannot be reached.
    Away(String),
    /// It could not be handled, for a reason that is ours to fix.
    Unready(String),
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(wrong) => Self::Unfit(wrong),
            StoreError::OverQuota(_) => Self::OverQuota,
            error if error.is_transient() => Self::Away(error.to_string()),
            error => Self::Unready(error.to_string()),
        }
    }
}

impl Answer {
    /// The word under which it is counted.
    fn word(&self) -> &'static str {
        match self {
            Self::Taken { fresh: true, .. } => "accepted",
            Self::Taken { fresh: false, .. } => "known",
            Self::Unknown => "unknown",
            Self::Unauthorized(why) => why,
            Self::TooLong { .. } => "too_long",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Unfit(_) => "unfit",
            Self::Busy => "busy",
            Self::OverQuota => "over_quota",
            Self::Away(_) => "away",
            Self::Unready(_) => "unready",
        }
    }

    /// Counts and logs it, and returns the response.
    pub(super) fn respond(self, hook: &str) -> Response {
        let answer = self.word();
        metrics::counter!("gristmill_hook_deliveries_total", "hook" => hook.to_owned(), "answer" => answer)
            .increment(1);
        match &self {
            Self::Taken { fresh, tick } => {
                let event = tick.event.as_deref().unwrap_or_default();
                tracing::info!(hook, event, fresh, "a delivery was taken");
            }
            // The description of what does not fit may name parts of the payload.
            Self::Unfit(_) => tracing::warn!(hook, reason = answer, "a delivery was refused"),
            Self::Away(why) | Self::Unready(why) => {
                tracing::error!(hook, reason = answer, why, "a delivery could not be taken");
            }
            _ => tracing::warn!(hook, reason = answer, "a delivery was refused"),
        }
        self.response()
    }

    fn response(self) -> Response {
        let (status, detail) = match self {
            Self::Taken { fresh, tick } => {
                let status = if fresh { StatusCode::ACCEPTED } else { StatusCode::OK };
                let body = json!({ "event": tick.event, "known": !fresh, "outcome": tick.outcome, "job": tick.job,
                    "batch": tick.batch });
                return (status, Json(body)).into_response();
            }
            Self::Unknown => (StatusCode::NOT_FOUND, "there is no such hook".to_owned()),
            Self::Unauthorized(_) => {
                (StatusCode::UNAUTHORIZED, "the delivery is not signed as it should be".to_owned())
            }
            Self::TooLong { most } => (StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {most} bytes here")),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned()),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off".to_owned()),
            Self::Unfit(wrong) => (StatusCode::UNPROCESSABLE_ENTITY, wrong),
            Self::Busy => return later(1, "too many deliveries at once"),
            // The quota is nothing that the sender can do about, or is to know of.
            Self::OverQuota => return later(60, "it cannot be taken just now"),
            Self::Away(_) => return later(5, "it cannot be kept just now"),
            Self::Unready(_) => return later(60, "it cannot be dealt with just now"),
        };
        problem(status, &detail)
    }
}

fn later(seconds: u32, detail: &str) -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_asks_to_come_again_and_says_nothing_of_itself() {
        let away = StoreError::Unavailable("postgres://secret-host is away".to_owned());
        let response = Answer::from(away).response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        for (answer, word, status) in [
            (Answer::from(StoreError::Invalid("x".to_owned())), "unfit", 422),
            (Answer::from(StoreError::Database("x".to_owned())), "unready", 503),
            (Answer::Unauthorized("stale"), "stale", 401),
            (Answer::Busy, "busy", 503),
            (Answer::OverQuota, "over_quota", 503),
            (Answer::Slow, "slow", 408),
            (Answer::Broken, "broken", 400),
        ] {
            assert_eq!((answer.word(), answer.response().status().as_u16()), (word, status));
        }
    }
}
