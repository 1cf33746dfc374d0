//! Backfills: past stretches of schedules that run again.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::FIRE_TICKS_MAX;
use crate::check;
use crate::error::{Result, StoreError};

/// Past stretches of schedules that run again.
#[async_trait]
pub trait Backfills: Debug + Send + Sync + 'static {
    /// Puts a past stretch of a schedule into the ledger as `waiting` and returns how many ticks it added. Ticks that
    /// have run, are waiting already, or are about to run are left alone.
    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64>;

    /// Pauses or resumes a backfill, or, with `None`, removes what still waits. Returns how many ticks wait, or did.
    async fn control_backfill(&self, tenant: &str, id: Uuid, paused: Option<bool>) -> Result<u64>;

    /// Returns the backfills of a schedule, newest first, at most 100.
    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>>;
}

/// A past stretch that is to be run again.
#[derive(Debug, Clone, PartialEq)]
pub struct NewBackfill {
    /// Its id.
    pub id: Uuid,
    /// The tenant that owns it.
    pub tenant: String,
    /// The schedule.
    pub schedule: String,
    /// The stretch, as it was requested.
    pub range: (Instant, Instant),
    /// How many of its runs may be under way at once.
    pub concurrency: u32,
    /// Whether the newest tick runs first.
    pub newest_first: bool,
    /// The edition of the IANA database by whose rules its ticks were found, such as `2026f`.
    pub tzdb: Option<String>,
    /// Its ticks, each with its logical interval. At most [`FIRE_TICKS_MAX`].
    pub ticks: Vec<(Instant, (Instant, Instant))>,
}

/// A backfill as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BackfillView {
    /// Its id.
    pub id: Uuid,
    /// The schedule.
    pub schedule: String,
    /// Where its stretch begins.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub from: Instant,
    /// Where it ends.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub to: Instant,
    /// How many of its runs may be under way at once.
    pub concurrency: u32,
    /// Whether the newest tick runs first.
    pub newest_first: bool,
    /// Whether it is paused: it starts nothing.
    pub paused: bool,
    /// Ticks that wait for their turn.
    pub waiting: u64,
    /// Runs under way.
    pub running: u64,
    /// Runs that have ended.
    pub ended: u64,
    /// Ticks whose run could not be started.
    pub failed: u64,
    /// When it was requested.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
}

/// Refuses a backfill that does not fit into one transaction.
pub(crate) fn check_backfill(backfill: &NewBackfill) -> Result<String> {
    if backfill.ticks.is_empty() || backfill.ticks.len() > FIRE_TICKS_MAX || backfill.concurrency == 0 {
        let found = backfill.ticks.len();
        let what = format!(
            "a backfill has 1 to {FIRE_TICKS_MAX} ticks and a concurrency of at least 1; this one has {found} ticks"
        );
        return Err(StoreError::Invalid(what));
    }
    let rows: Vec<_> = backfill
        .ticks
        .iter()
        .map(|(tick, (from, to))| json!([tick.timestamp_micros(), from.timestamp_micros(), to.timestamp_micros()]))
        .collect();
    check::json(&rows)
}

/// The error for a backfill that does not exist.
pub(crate) fn no_backfill(id: Uuid) -> StoreError {
    StoreError::NotFound(format!(
        "there is no backfill {id}; `gristmill schedule backfill NAME` shows those that are there"
    ))
}
