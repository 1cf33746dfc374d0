//! `[hook.NAME]` in `config.toml`.

use std::time::Duration;

use gristmill_core::definition::ValidateSpec;
use gristmill_core::duration::Span;
use gristmill_core::job::PAYLOAD_BYTES_MAX;
use gristmill_core::schedule::{JobSpec, ScheduleSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most bytes that the body of a delivery may have by default.
const BYTES_DEFAULT: usize = 256 * 1024;

/// The highest limit that may be set: what is known of an event is at most as long as a payload.
pub const HOOK_BYTES_MAX: usize = PAYLOAD_BYTES_MAX / 2;

/// How a delivery is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    #[default]
    Standard,
    /// The scheme of payment providers: one header `t=SECONDS,v1=HEX`.
    Timestamped,
}

/// What is received under `/hooks/NAME`, and what that starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookSettings {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who is responsible for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How deliveries are signed.
    pub scheme: Scheme,
    /// The environment variable that holds the secrets, separated by white space: with `standard` each is `whsec_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// A file that holds them instead. It is read at each delivery, so that a secret can be rotated without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<String>,
    /// With `timestamped`: the header with the signature; `stripe-signature` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// With `timestamped`: where in the body the event's id is, as a JSON pointer; `/id` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// How far the timestamp of a delivery may be from now, before and after.
    pub tolerance: Span,
    /// The most bytes of a body, at most [`HOOK_BYTES_MAX`].
    pub bytes_max: usize,
    /// What a body must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate: Option<ValidateSpec>,
    /// Parameters for the run.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "gristmill_core::json::maybe")]
    pub params: Option<Value>,
    /// The batch definition that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// The job that it enqueues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            description: None,
            owner: None,
            scheme: Scheme::default(),
            secret_env: None,
            secret_file: None,
            header: None,
            event: None,
            tolerance: Span(Duration::from_secs(300)),
            bytes_max: BYTES_DEFAULT,
            validate: None,
            params: None,
            batch: None,
            job: None,
        }
    }
}

impl HookSettings {
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
