//! Whether the broker can be used at present.

use tokio::time::Instant;

/// The state of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Messages can be published and consumed.
    Up,
    /// It is reachable, but takes no messages (low memory or a full disk). Consuming goes on.
    Blocked {
        /// What the broker said.
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
