//! The verbs that start batches and runs for every caller: the command line, schedules, watched folders and hooks.
//!
//! * [`batch`]: a batch from a definition and an input. [`plan`]: how its chunks get into the store.
//! * [`run`]: the run of a tick, a batch or a job, with its parameters. [`event`]: the run of an event.
//! * [`params`]: `KEY=VALUE`. [`render`]: `{{ … }}` in a source, an output or a payload.
//! * [`trial`]: what would become of the first items. [`mail_test`]: their messages, to addresses of a test.
//! * [`lease`]: held while a run is planned, so that another process takes over when its planner dies.

pub mod batch;
pub mod event;
pub mod event_settings;
pub mod lease;
pub mod mail_test;
pub mod params;
pub mod plan;
pub mod render;
pub mod run;
pub mod trial;
pub mod watch_settings;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::job::NewJob;
use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_core::schedule::ScheduleSpec;
use gristmill_jobs::RegistryOptions;
use tokio::sync::watch;

pub use batch::{BatchRequest, Rehearsal, StartError, StartedBatch, rehearse};
pub use event::{EventError, EventRequest};
pub use event_settings::EventsSettings;
pub use lease::Lease;
pub use mail_test::{MailTest, TEST_ITEMS_MAX, TestedMail, rehearse_mail};
pub use plan::StartBatch;
pub use run::{RunError, StartedRun, turn};
pub use trial::{TRIAL_ITEMS_MAX, try_out};
pub use watch_settings::WatchSettings;

/// The part of the configuration that runs and the scheduler follow.
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
    /// Subscriptions to events, and how long a chain of them may be.
    pub events: EventsSettings,
    /// The watched folders, by name.
    pub watches: BTreeMap<String, WatchSettings>,
}

/// Prepares a job before it is enqueued: applies the settings of its kind.
pub type JobDefaults = Arc<dyn Fn(&mut NewJob) + Send + Sync>;

/// What batches and runs are created with.
#[derive(Clone)]
pub struct RunContext {
    /// The tenant that owns the schedules, hooks and watched folders of the configuration.
    pub tenant: String,
    /// The configuration in force. It may change while the process runs.
    pub snapshot: watch::Receiver<Arc<ConfigSnapshot>>,
    /// What relative paths are relative to.
    pub base_dir: PathBuf,
    /// Where spools of inputs that cannot be read by ranges are kept.
    pub spool_dir: PathBuf,
    /// The most bytes that one such spool may have.
    pub spool_bytes_max: u64,
    /// What the stages are checked against: the same processors that the workers have.
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
