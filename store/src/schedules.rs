//! Schedules: when runs are due.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::schedule::ScheduleSpec;
use serde::Serialize;

use crate::check;
use crate::error::{Result, StoreError};

gristmill_core::words! {
    /// Where a schedule was created.
    pub enum ScheduleOrigin {
        /// In the configuration file; only the file changes it.
        File = "file",
        /// By a command.
        Command = "command",
    }
}

/// Schedules: when runs are due.
#[async_trait]
pub trait Schedules: Debug + Send + Sync + 'static {
    /// Creates or edits a schedule, guarded by what the caller saw of it: [`StoreError::Conflict`] when it has been
    /// created or edited, or has decided a tick, in the meantime. An edit raises its version.
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView>;

    /// Removes a schedule. Returns whether it existed. Its ledger stays.
    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool>;

    /// Returns schedules by name: of one tenant or of all, one schedule or all.
    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>>;

    /// Returns enabled schedules that have a tick to decide at `now`, the longest due first.
    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>>;
}

/// A schedule as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleView {
    /// The tenant that owns it.
    pub tenant: String,
    /// Its name; also its key in lists.
    pub name: String,
    /// Where it was created.
    pub origin: ScheduleOrigin,
    /// The schedule itself.
    pub spec: ScheduleSpec,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// Rises with each edit.
    pub version: i64,
    /// Ticks up to here have been decided.
    pub decided_at: Instant,
    /// When the next one starts, jitter included.
    pub next_at: Option<Instant>,
    /// When it was created.
    pub created_at: Instant,
    /// When it was last edited.
    pub updated_at: Instant,
    /// Runs, except those of backfills, that are not known to have ended.
    pub running: u64,
    /// Ticks that wait until those have ended.
    pub buffered: u64,
}

/// A schedule to be created or edited.
#[derive(Debug, Clone, PartialEq)]
pub struct SaveSchedule {
    /// The tenant that owns it.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// Where it is created.
    pub origin: ScheduleOrigin,
    /// The schedule itself.
    pub spec: ScheduleSpec,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// Ticks up to here do not concern it.
    pub decided_at: Instant,
    /// When its next tick starts.
    pub next_at: Option<Instant>,
    /// `version` and `decided_at` of what is edited, as the caller saw them; `None` when it must not exist yet.
    pub seen: Option<(i64, Instant)>,
}

/// Refuses a schedule whose name or time no store can keep.
pub(crate) fn check_save(save: &SaveSchedule) -> Result<()> {
    check::name("tenant", &save.tenant)?;
    check::name("schedule", &save.name)?;
    save.spec.check().map_err(|error| StoreError::Invalid(format!("schedule {}: {error}", save.name)))
}

/// The error for a schedule that another process has edited, or whose tick it has decided, in between.
pub(crate) fn changed_meanwhile(name: &str) -> StoreError {
    StoreError::Conflict(format!("the schedule `{name}` has changed meanwhile; look at it again and repeat the change"))
}
