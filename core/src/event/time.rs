//! How instants are written in events.

use chrono::SecondsFormat;

use crate::Instant;

/// An instant in UTC as RFC 3339, as exact as it is.
pub fn shown(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
