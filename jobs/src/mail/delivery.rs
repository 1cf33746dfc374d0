//! What became of a message that was handed over.

use std::time::Duration;

/// A message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The answer of the other side, or the file's path.
    pub answer: String,
}

/// Why a message was not accepted, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// It was not accepted, and may be another time. The other side does not have it.
    #[error("{message}")]
    Later {
        /// What happened, at which step.
        message: String,
        /// A wait that the other side asked for.
        after: Option<Duration>,
    },
    /// It was refused for good. The other side does not have it.
    #[error("{0}")]
    Refused(String),
    /// The data was on its way when the connection broke: whether it was accepted is unknown.
    #[error("{0}")]
    Unknown(String),
    /// The caller called it off before any data was sent.
    #[error("{0}")]
    CalledOff(String),
}
