//! `[worker]` in `config.toml`.

use std::time::Duration;

use gristmill_core::duration::Span;
use serde::{Deserialize, Serialize};

/// How a worker works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How many jobs run at once.
    pub slots: u32,
    /// Threads for the items of chunks; 0 means one for each core.
    pub item_threads: usize,
    /// The queues that it serves; empty means all.
    pub queues: Vec<String>,
    /// How long its lease is: after this long without a beat, its jobs are given to others.
    pub lease: Span,
    /// How often it prolongs the lease.
    pub beat: Span,
    /// How long a graceful stop waits for running jobs before it gives them back.
    pub drain: Span,
    /// How often the store is asked for work when no hint came; a fifth as often while hints are heard.
    pub poll: Span,
    /// The longest that completions are gathered into one transaction.
    pub flush: Span,
    /// How many lines of what an attempt says are kept; 0 keeps none.
    pub log_lines: usize,
    /// How many bytes of it.
    pub log_bytes: usize,
    /// Where Prometheus metrics and health are served, such as `127.0.0.1:9601`; empty means nowhere.
    pub metrics: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slots: 16,
            item_threads: 0,
            queues: Vec::new(),
            lease: Span(Duration::from_secs(15)),
            beat: Span(Duration::from_secs(3)),
            drain: Span(Duration::from_secs(30)),
            poll: Span(Duration::from_millis(200)),
            flush: Span(Duration::from_millis(5)),
            log_lines: 400,
            log_bytes: 65_536,
            metrics: String::new(),
        }
    }
}
