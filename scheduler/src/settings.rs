//! `[scheduler]` in `config.toml`.

use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_jobs::source::SPOOL_BYTES_DEFAULT;
use serde::{Deserialize, Serialize};

/// How often the scheduler looks after things.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How often jobs whose time has come are promoted.
    pub promote: Span,
    /// How often jobs of lost workers are rescued.
    pub rescue: Span,
    /// How often outbox rows that their creator did not publish are published.
    pub outbox_relay: Span,
    /// How often the broker is asked whether it has lost messages.
    pub probe: Span,
    /// How often counters are compared with what they count.
    pub reconcile: Span,
    /// The most rows that one duty handles at a time.
    pub rows_max: u32,
    /// The most bytes that one copy of an input may have, decompressed.
    pub copy_bytes_max: u64,
    /// How long the copies of a batch are kept that ended with work undone: until then it can be restarted.
    pub copy_keep: Span,
    /// Where Prometheus metrics and health are served; empty is nowhere.
    pub metrics: String,
    /// Where deliveries to `[hook.NAME]` are taken; empty is nowhere.
    pub hooks: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            promote: Span(Duration::from_millis(200)),
            rescue: Span(Duration::from_secs(1)),
            outbox_relay: Span(Duration::from_secs(1)),
            probe: Span(Duration::from_secs(5)),
            reconcile: Span(Duration::from_secs(60)),
            rows_max: 1_000,
            copy_bytes_max: SPOOL_BYTES_DEFAULT,
            copy_keep: Span(Duration::from_secs(7 * 86_400)),
            metrics: String::new(),
            hooks: String::new(),
        }
    }
}
