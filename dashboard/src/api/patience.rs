//! How long a caller waits for something to end.

use std::time::Duration;

use crate::gate::{Parameters, Query, Time};

/// The longest wait of one request: intermediaries drop what is silent for longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a caller waits when it does not say.
const WAIT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience(pub(super) Duration);

impl Parameters for Patience {
    fn read(query: &mut Query) -> Self {
        let timeout: Option<Time> = query.one("timeout", "How long to wait, at most `60s`; `30s` unless said");
        if timeout.is_some_and(|timeout| timeout.0 > WAIT_MAX) {
            query.fault("timeout", "is longer than 60s; ask again when it is over");
        }
        Self(timeout.map_or(WAIT_DEFAULT, |timeout| timeout.0))
    }
}
