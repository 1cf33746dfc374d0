//! `[broker]` in `config.toml`.

use std::fmt;
use std::time::Duration;

use gristmill_core::duration::Span;
use serde::{Deserialize, Serialize};

use crate::error::BrokerError;

/// What carries the ids.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `in-process`, or `amqp://USER:PASSWORD@HOST/VHOST` or `amqps://…`.
    pub url: String,
    /// The first part of every exchange's and queue's name. A different one lets a second Gristmill share a virtual
    /// host.
    pub namespace: String,
    /// A file of PEM certificates to trust in addition to the system's, for `amqps`.
    pub ca_file: Option<String>,
    /// The most messages that wait for a confirm at once: 100 to 1000.
    pub confirm_window: usize,
    /// How long to wait for a confirm before a message counts as not published.
    pub confirm_timeout: Span,
    /// The most published but unclaimed messages in one queue; more wait in the store.
    pub window: u32,
    /// How often each side proves that it is alive.
    pub heartbeat: Span,
    /// After this long without a broker, workers take their work from the store itself. Now and then they also ask the
    /// store for work on a queue from which nothing has come for this long.
    pub fallback_after: Span,
}

impl Settings {
    /// Checks that the numbers make sense.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Invalid`] with the key and what would be right.
    pub fn check(&self) -> Result<(), BrokerError> {
        let bad = |text: String| Err(BrokerError::Invalid(text));
        if !(1..=1_000).contains(&self.confirm_window) {
            return bad(format!("[broker] confirm_window is {}; write 1 to 1000", self.confirm_window));
        }
        if self.confirm_timeout.0.is_zero() {
            return bad("[broker] confirm_timeout is 0; write how long to wait, such as `10s`".to_owned());
        }
        if !(1..=3_600).contains(&self.heartbeat.0.as_secs()) {
            return bad("[broker] heartbeat: write 1s to 1h, such as `10s`".to_owned());
        }
        Ok(())
    }
}

/// Omits the address, which may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("namespace", &self.namespace)
            .field("ca_file", &self.ca_file)
            .field("confirm_window", &self.confirm_window)
            .field("confirm_timeout", &self.confirm_timeout)
            .field("window", &self.window)
            .field("heartbeat", &self.heartbeat)
            .field("fallback_after", &self.fallback_after)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "in-process".to_owned(),
            namespace: "gristmill".to_owned(),
            ca_file: None,
            confirm_window: 500,
            confirm_timeout: Span(Duration::from_secs(10)),
            window: 20_000,
            heartbeat: Span(Duration::from_secs(10)),
            fallback_after: Span(Duration::from_secs(30)),
        }
    }
}
