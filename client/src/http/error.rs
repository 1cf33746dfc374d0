//! Why a request over HTTP did not succeed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// Where: a JSON pointer into the body, `?limit` for a parameter, or the name of a header.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// What a server answered instead of carrying a request out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The word for its class, such as `not_found`; empty when the answer is none of the API.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Everything that is wrong, by its place.
    pub faults: Vec<Fault>,
    /// How far a stream came before it was refused.
    pub progress: Option<Value>,
    /// When to come again.
    pub retry_after: Option<Duration>,
    /// The id of the request, under which the server's log has more.
    pub request_id: Option<String>,
}

/// Why a request over HTTP did not succeed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HttpError {
    /// The address, the token or the certificates make no sense.
    #[error("{0}")]
    Options(String),
    /// The server cannot be reached: nothing was sent.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// The exchange broke off or took too long: whether the request was carried out is not known.
    #[error("the exchange with {server} broke off: {reason}")]
    Broken {
        /// Which.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server refused it.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The answer is not one of this API, or too long.
    #[error("{server} gave an answer that is none of its API: {reason}")]
    Strange {
        /// Which.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request cannot be written: its input cannot be read, or is no JSON.
    #[error("{0}")]
    Input(String),
}

impl HttpError {
    /// The refusal, if the server answered with one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.status == 404)
    }
}
