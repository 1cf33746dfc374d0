//! `[store]` in `config.toml`.

use std::time::Duration;

use gristmill_core::duration::Span;
use serde::{Deserialize, Serialize};

/// Where the truth is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`.
    pub url: String,
    /// How many connections to PostgreSQL, or readers of SQLite, at most.
    pub connections: u32,
    /// How long to wait for one of them.
    pub acquire_timeout: Span,
    /// PostgreSQL: how long to wait for an answer before a connection counts as half open; the server ends a statement a
    /// little earlier. Commands that may touch all
    /// rows of a batch wait fifteen times as long.
    pub answer_timeout: Span,
    /// PostgreSQL: the role that the API's transactions take, so that the server itself keeps tenants apart. Empty: it does not.
    pub api_role: String,
    /// Whether missing migrations are applied at start. Always done for SQLite.
    pub migrate: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "sqlite://gristmill.db".to_owned(),
            connections: 8,
            acquire_timeout: Span(Duration::from_secs(10)),
            answer_timeout: Span(Duration::from_secs(60)),
            api_role: String::new(),
            migrate: false,
        }
    }
}
