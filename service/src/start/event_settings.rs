//! `[events]` in `config.toml`.

use std::collections::BTreeMap;

use gristmill_core::event::DEPTH_MAX;
use gristmill_core::event::subscription::SubscriptionSpec;
use serde::{Deserialize, Serialize};

/// The settings of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsSettings {
    /// How many events may have caused one another in a row before no subscription gets the next one.
    pub depth_max: u32,
    /// Subscriptions, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subscriptions: BTreeMap<String, SubscriptionSpec>,
}

impl Default for EventsSettings {
    fn default() -> Self {
        Self { depth_max: DEPTH_MAX, subscriptions: BTreeMap::new() }
    }
}
