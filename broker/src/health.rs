//! Whether the broker can be used just now.

use tokio::time::Instant;

/// The state of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Messages can be published and consumed.
    Up,
    /// It is there, but takes no messages (low memory or a full disk). Consuming goes on.
    Blocked {
        /// What it said.
        reason: String,
        /// Since when.
        since: Instant,
    },
    /// It cannot be reached; the supervisor keeps trying.
    Down {
        /// Since when.
        since: Instant,
        /// Why.
        reason: String,
    },
}

impl Health {
    /// Whether everything works.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Up)
    }
}
