//! Schedules: from ticks that are due to runs, each at most once, none forgotten.
//!
//! A pass ([`ScheduleRunner::run_once`]) asks the store which schedules have a tick to decide, by the database's clock, and
//! decides them from the last tick that was decided, never from now: what was missed is seen. What is decided about a
//! tick (run, skip, wait) is a row of the ledger, written in the transaction that creates the batch or the job, and
//! guarded by the schedule's own clock: of any number of schedulers one is first.
//!
//! * [`decide`]: which of the due ticks run, wait or are skipped.
//! * [`start`]: what a run is made of: its parameters, its interval, its batch or job.
//! * [`turns`]: what waited for its turn, or was made by an event.
//! * [`sync`]: schedules of the configuration become rows of the store.

pub mod decide;
pub mod render;
pub mod runner;
pub mod start;
pub mod sync;
pub mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::job::NewJob;
use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_core::schedule::ScheduleSpec;
use gristmill_jobs::RegistryOptions;

pub use runner::{PassReport, ScheduleRunner};

use crate::watch::settings::WatchSettings;

/// What the configuration says, as far as the scheduler follows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigSnapshot {
    /// The batch definitions, by name.
    pub batches: BTreeMap<String, BatchDefinition>,
    /// The schedules, by name: those of `[schedule.NAME]`, and those of the batches under the batch's name.
    pub schedules: BTreeMap<String, ScheduleSpec>,
    /// What hooks and watched folders start, by the name of their ledger: `hook/NAME`, `watch/NAME`.
    pub triggers: BTreeMap<String, ScheduleSpec>,
    /// The limits, by name.
    pub limits: BTreeMap<String, LimitSpec>,
    /// The settings of queues, by their name.
    pub queues: BTreeMap<String, QueueSpec>,
    /// The watched folders, by name.
    pub watches: BTreeMap<String, WatchSettings>,
}

/// What is done to a job before it is enqueued: settings of its kind.
pub type JobDefaults = Arc<dyn Fn(&mut NewJob) + Send + Sync>;

/// What runs are made with.
#[derive(Clone)]
pub struct RunContext {
    /// The tenant to which the configuration's schedules belong.
    pub tenant: String,
    /// The configuration in force. It may change while the scheduler runs.
    pub snapshot: tokio::sync::watch::Receiver<Arc<ConfigSnapshot>>,
    /// What relative paths are relative to.
    pub base_dir: PathBuf,
    /// Where copies of what cannot be read by ranges are kept.
    pub spool_dir: PathBuf,
    /// The most bytes that one such copy may have.
    pub spool_bytes_max: u64,
    /// What the stages are checked against: the same that the workers have.
    pub kinds: RegistryOptions,
    /// Settings of kinds.
    pub job_defaults: JobDefaults,
}

impl std::fmt::Debug for RunContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunContext")
            .field("tenant", &self.tenant)
            .field("base_dir", &self.base_dir)
            .finish_non_exhaustive()
    }
}
