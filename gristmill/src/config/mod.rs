//! The configuration: one file, the environment and the flags, laid over the defaults.
//!
//! The order of precedence is flag, environment `GRISTMILL_SECTION_KEY`, file, default. Each value
//! keeps its [`Origin`], so that an error can point at the line and `config show --origin` can say
//! who won. Paths that a file says are relative to that file's folder.

pub(crate) mod definitions;
pub mod error;
pub mod layers;
pub mod origin;
mod paths;
mod renamed;
mod shape;
pub mod show;
pub mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::duration::Span;
use gristmill_core::job::{NewJob, Priority};
use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_core::retry::RetryPolicy;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_dashboard::hooks;
use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_jobs::settings::{ExecSettings, HttpSettings, MailSettings, WebhookSettings};
use gristmill_scheduler::watch;
use gristmill_service::start::WatchSettings;
use serde::{Deserialize, Serialize};

pub use error::{ConfigError, nearest, suggest};
pub use layers::{Layers, load};
pub use origin::{Origin, Origins};

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the truth is kept.
    pub store: gristmill_store::Settings,
    /// What carries the ids.
    pub broker: gristmill_broker::Settings,
    /// How a worker works.
    pub worker: gristmill_worker::Settings,
    /// How often the scheduler looks after things.
    pub scheduler: gristmill_scheduler::Settings,
    /// How emails leave the house.
    pub mail: MailSettings,
    /// How signed notifications leave the house.
    pub webhook: WebhookSettings,
    /// What jobs of kind `exec` may run.
    pub exec: ExecSettings,
    /// What jobs of kind `http` may call.
    pub http: HttpSettings,
    /// What is said on standard error.
    pub log: LogSettings,
    /// What holds for each kind of job, by its name.
    pub kind: BTreeMap<String, KindSettings>,
    /// The batch definitions, by name.
    pub batch: BTreeMap<String, BatchDefinition>,
    /// The schedules, by name; a batch's own is in its definition.
    pub schedule: BTreeMap<String, ScheduleSpec>,
    /// What is received from elsewhere, by name.
    pub hook: BTreeMap<String, HookSettings>,
    /// The limits, by name.
    pub limit: BTreeMap<String, LimitSpec>,
    /// What holds for queues, by their name.
    pub queue: BTreeMap<String, QueueSpec>,
    /// The watched folders, by name.
    pub watch: BTreeMap<String, WatchSettings>,
}

/// The sections whose keys are fixed: those that the environment can set.
pub const SECTIONS: [&str; 9] = ["store", "broker", "worker", "scheduler", "mail", "webhook", "exec", "http", "log"];

/// What is said on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Lines for people, or one JSON object a line.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,gristmill_worker=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "warn".to_owned() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What holds for one kind of job where its enqueuer says nothing; wins over what its code says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KindSettings {
    /// The queue on which it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Which of the jobs that wait come first.
    #[serde(alias = "lane", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long to wait between attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many attempts it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How many times it may be snoozed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_snoozes: Option<u32>,
}

impl KindSettings {
    /// Puts what is said here in the place of what the job says.
    pub fn apply(self, job: &mut NewJob) {
        if let Some(queue) = self.queue {
            job.queue = queue;
        }
        if let Some(priority) = self.priority {
            job.priority = priority;
        }
        if let Some(retry) = self.retry {
            job.retry = retry;
        }
        if let Some(timeout) = self.timeout {
            job.timeout = timeout.0;
        }
        if let Some(max_attempts) = self.max_attempts {
            job.max_attempts = max_attempts;
        }
        if let Some(max_snoozes) = self.max_snoozes {
            job.max_snoozes = max_snoozes;
        }
    }
}

/// A configuration that has been read, and where each of its values was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Who said them; what is missing here is a default.
    pub origins: Origins,
    /// The file, when there is one.
    pub file: Option<PathBuf>,
    /// What is odd without being wrong, such as a variable that nothing reads.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Every schedule by its name: those of `[schedule.NAME]`, and those of the batches.
    pub fn schedules(&self) -> BTreeMap<String, ScheduleSpec> {
        let own = self.config.batch.iter().filter_map(|(name, batch)| {
            let spec = batch.schedule.as_deref()?.clone();
            Some((name.clone(), ScheduleSpec { batch: Some(name.clone()), ..spec }))
        });
        own.chain(self.config.schedule.clone()).collect()
    }

    /// What hooks and watched folders start, by the name of their ledger.
    pub fn triggers(&self) -> BTreeMap<String, ScheduleSpec> {
        let hooks = self.config.hook.iter().map(|(name, hook)| (hooks::ledger(name), hook.starts()));
        let watches = self.config.watch.iter().map(|(name, watch)| (watch::ledger(name), watch.starts()));
        hooks.chain(watches).collect()
    }

    /// The definition of a batch.
    ///
    /// # Errors
    ///
    /// When there is none of that name; the hint has the near one.
    pub fn batch(&self, name: &str) -> crate::exit_code::Result<&BatchDefinition> {
        self.config.batch.get(name).ok_or_else(|| {
            let place =
                self.file.as_ref().map_or("no configuration file".to_owned(), |file| file.display().to_string());
            let error = crate::exit_code::CommandError::not_found(format!("there is no [batch.{name}] in {place}"));
            match suggest(name, self.config.batch.keys().map(String::as_str)) {
                Some(hint) => error.hint(hint),
                None => error.hint("name a configuration with --config FILE, or define the batch in ./config.toml"),
            }
        })
    }
}
