//! `[watch.NAME]` in `config.toml`.

use std::time::Duration;

use gristmill_core::duration::Span;
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A folder that is watched, and what each file in it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchSettings {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who is responsible for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The folder; files in folders below it are not looked at.
    pub folder: String,
    /// Which names count, such as `*.csv`.
    pub pattern: String,
    /// A file is complete when its length and its time have stayed the same for this long.
    pub settle: Span,
    /// Parameters for the run.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "gristmill_core::json::maybe")]
    pub params: Option<Value>,
    /// The batch definition that it runs, with the file as its input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The job that it enqueues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            description: None,
            owner: None,
            folder: String::new(),
            pattern: "*".to_owned(),
            settle: Span(Duration::from_secs(5)),
            params: None,
            batch: None,
            job: None,
        }
    }
}

impl WatchSettings {
    /// What it starts, as a schedule.
    pub fn starts(&self) -> ScheduleSpec {
        ScheduleSpec {
            params: self.params.clone(),
            batch: self.batch.clone(),
            job: self.job.clone(),
            ..ScheduleSpec::default()
        }
    }
}
