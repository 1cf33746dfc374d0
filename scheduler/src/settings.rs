//! `[scheduler]` and `[scheduler.duties]` in `config.toml`.

use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_jobs::source::SPOOL_BYTES_DEFAULT;
use serde::{Deserialize, Serialize};

/// The settings of the scheduler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How often each duty runs.
    pub duties: DutySettings,
    /// The most rows that one duty handles at a time.
    pub rows_max: u32,
    /// The most bytes that one spool of an input may have, decompressed.
    pub copy_bytes_max: u64,
    /// How long the spools of a batch that ended with work undone are kept: until then it can be restarted.
    pub copy_keep: Span,
    /// Where Prometheus metrics and health are served; empty means nowhere.
    pub metrics: String,
    /// Where deliveries to `[hook.NAME]` are accepted; empty means nowhere.
    pub hooks: String,
    /// The folder with the rules of time zones, or `built-in`; by default the machine's if it is newer than those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            duties: DutySettings::default(),
            rows_max: 1_000,
            copy_bytes_max: SPOOL_BYTES_DEFAULT,
            copy_keep: Span(Duration::from_secs(7 * 86_400)),
            metrics: String::new(),
            hooks: String::new(),
            zoneinfo: None,
        }
    }
}

/// How often each duty runs. A duty whose time comes while it still works runs once more when it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DutySettings {
    /// Jobs whose time has come are promoted.
    pub promote: Span,
    /// Outbox rows that their creator did not publish are published.
    pub relay: Span,
    /// Jobs of lost workers are rescued.
    pub rescue: Span,
    /// The broker is asked whether it has lost messages.
    pub probe: Span,
    /// Counters are compared with what they count.
    pub reconcile: Span,
    /// Jobs that have waited for their queue's `age_after` are looked for.
    pub age: Span,
    /// Batches that are late are looked for.
    pub late: Span,
    /// Batches whose planner died are looked for.
    pub plans: Span,
    /// Copies of dead jobs that are dead no longer are taken from the broker.
    pub copies: Span,
    /// Spools of inputs that no batch reads any more are looked for.
    pub spools: Span,
    /// What is kept for longer than `[retention]` says is deleted.
    pub prune: Span,
    /// The heads of the audit that were signed longer than a day ago are signed, and its old entries removed.
    pub audit: Span,
    /// Events that were published are given their order and delivered, where no hint has come.
    pub events: Span,
    /// Operations that have a step due are looked for.
    pub operations: Span,
    /// What has passed through queues is moved into the history.
    pub history: Span,
    /// Ticks of schedules, and changes of the configuration, are looked for.
    pub schedules: Span,
    /// Watched folders are looked at.
    pub watch: Span,
}

impl Default for DutySettings {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            promote: Span(Duration::from_millis(200)),
            relay: seconds(1),
            rescue: seconds(1),
            probe: seconds(5),
            reconcile: seconds(60),
            age: seconds(5),
            late: seconds(5),
            plans: seconds(60),
            copies: seconds(60),
            spools: seconds(60),
            prune: seconds(3_600),
            audit: seconds(3_600),
            events: seconds(1),
            operations: Span(Duration::from_millis(500)),
            history: seconds(5),
            schedules: seconds(1),
            watch: seconds(1),
        }
    }
}

impl DutySettings {
    /// Returns each duty's key and rhythm.
    pub fn all(&self) -> [(&'static str, Span); 17] {
        [
            ("promote", self.promote),
            ("relay", self.relay),
            ("rescue", self.rescue),
            ("probe", self.probe),
            ("reconcile", self.reconcile),
            ("age", self.age),
            ("late", self.late),
            ("plans", self.plans),
            ("copies", self.copies),
            ("spools", self.spools),
            ("prune", self.prune),
            ("audit", self.audit),
            ("events", self.events),
            ("operations", self.operations),
            ("history", self.history),
            ("schedules", self.schedules),
            ("watch", self.watch),
        ]
    }
}
