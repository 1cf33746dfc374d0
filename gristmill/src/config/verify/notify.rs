//! Checks the channels of notifications, and those that name one.

use gristmill_jobs::notify::ChannelKind;

use super::Findings;
use crate::config::error::suggest;
use crate::config::settings::Config;

impl Findings<'_> {
    pub(super) fn notify(&mut self, config: &Config) {
        for (name, channel) in &config.notify {
            self.name("notify", name);
            for (key, wrong) in channel.faults() {
                self.push(&format!("notify.{name}.{key}"), wrong);
            }
            if channel.kind == ChannelKind::Email {
                self.recipients(&format!("notify.{name}.to"), &channel.to);
            }
        }
    }

    /// A name must be that of a channel.
    pub(super) fn channel(&mut self, key: &str, name: &str) {
        if self.channels.iter().any(|channel| channel == name) {
            return;
        }
        let known: Vec<&str> = self.channels.iter().map(String::as_str).collect();
        let right = suggest(name, known).unwrap_or_else(|| "there is no channel yet".to_owned());
        self.push(key, format!("there is no channel [notify.{name}]: {right}"));
    }
}
