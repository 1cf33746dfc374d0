//! All settings, as types.

use std::collections::BTreeMap;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::limit::{LimitSpec, QueueSpec};
use gristmill_core::schedule::ScheduleSpec;
use gristmill_dashboard::gate::ServeSettings;
use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_jobs::notify::ChannelSettings;
use gristmill_jobs::settings::{ExecSettings, HttpSettings, MailSettings, WebhookSettings};
use gristmill_service::accounts::{AccountSettings, OidcSettings};
use gristmill_service::audit::AuditSettings;
use gristmill_service::retention::RetentionSettings;
use gristmill_service::shared::CacheSettings;
use gristmill_service::start::{EventsSettings, WatchSettings};
use serde::{Deserialize, Serialize};

use crate::kind_settings::KindSettings;

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The store, the source of truth.
    pub store: gristmill_store::Settings,
    /// The broker, which carries the ids.
    pub broker: gristmill_broker::Settings,
    /// How a worker works.
    pub worker: gristmill_worker::Settings,
    /// How often the scheduler does its duties.
    pub scheduler: gristmill_scheduler::Settings,
    /// What those who connect to metrics, health and hooks may hold, and for how long.
    pub listener: gristmill_telemetry::ListenerSettings,
    /// What is served over HTTP, where, and to whom.
    pub serve: ServeSettings,
    /// How long sessions and links of people last, and where links lead.
    pub accounts: AccountSettings,
    /// What several servers share.
    pub cache: CacheSettings,
    /// How emails are sent.
    pub mail: MailSettings,
    /// How signed notifications are sent.
    pub webhook: WebhookSettings,
    /// What jobs of kind `exec` may run.
    pub exec: ExecSettings,
    /// What jobs of kind `http` may call.
    pub http: HttpSettings,
    /// How the heads of the audit are signed.
    pub audit: AuditSettings,
    /// How long what has ended is kept.
    pub retention: RetentionSettings,
    /// Who is given which events.
    pub events: EventsSettings,
    /// What is logged on standard error.
    pub log: LogSettings,
    /// The settings of each kind of job, by its name.
    pub kind: BTreeMap<String, KindSettings>,
    /// The batch definitions, by name.
    pub batch: BTreeMap<String, BatchDefinition>,
    /// The schedules, by name; a batch's own is in its definition.
    pub schedule: BTreeMap<String, ScheduleSpec>,
    /// The hooks that receive deliveries, by name.
    pub hook: BTreeMap<String, HookSettings>,
    /// The channels over which notifications go, by name.
    pub notify: BTreeMap<String, ChannelSettings>,
    /// Logins elsewhere, by name.
    pub oidc: BTreeMap<String, OidcSettings>,
    /// The limits, by name.
    pub limit: BTreeMap<String, LimitSpec>,
    /// The settings of queues, by their name.
    pub queue: BTreeMap<String, QueueSpec>,
    /// The watched folders, by name.
    pub watch: BTreeMap<String, WatchSettings>,
}

/// The sections whose keys are fixed: those that the environment can set.
pub const SECTIONS: [&str; 16] = [
    "store",
    "broker",
    "worker",
    "scheduler",
    "listener",
    "serve",
    "accounts",
    "cache",
    "mail",
    "webhook",
    "exec",
    "http",
    "audit",
    "retention",
    "events",
    "log",
];

/// What is logged on standard error.
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
