//! `[events]`: subscriptions that make sense, and start what there is.

use gristmill_core::id::is_name;
use gristmill_service::events::subscription;

use super::Findings;
use crate::config::settings::Config;

/// The longest chain of events.
const DEPTH_MAX: u32 = 1_000;

impl Findings<'_> {
    pub(super) fn events(&mut self, config: &Config) {
        if !(1..=DEPTH_MAX).contains(&config.events.depth_max) {
            let what = format!("is {}; write 1 to {DEPTH_MAX}, such as 16", config.events.depth_max);
            self.push("events.depth_max", what);
        }
        for (name, spec) in &config.events.subscriptions {
            let key = format!("events.subscriptions.{name}");
            if !is_name(name) {
                self.push(&key, "is no name; write 1 to 100 letters, digits, `-` and `_`");
            }
            for fault in subscription::check(spec).err().unwrap_or_default() {
                self.push(&key, fault);
            }
            if let Some(batch) = spec.batch.as_ref().filter(|batch| !config.batch.contains_key(*batch)) {
                self.push(&format!("{key}.batch"), format!("there is no [batch.{batch}]"));
            }
        }
    }
}
