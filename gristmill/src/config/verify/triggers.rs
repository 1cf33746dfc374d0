//! Checks the values of hooks and watched folders.

use gristmill_core::schedule::{ScheduleSpec, Target};
use gristmill_dashboard::hooks::settings::{HOOK_BYTES_MAX, HookSettings, Scheme};

use super::Findings;
use crate::config::keys::join;
use crate::config::settings::Config;

impl Findings<'_> {
    pub(super) fn hooks(&mut self, config: &mut Config) {
        for (name, hook) in &mut config.hook {
            let key = format!("hook.{name}");
            self.name(&key, name);
            self.schema(&key, &mut hook.validate);
            self.hook(&key, hook);
        }
        for (name, hook) in &config.hook {
            self.starts(config, &format!("hook.{name}"), &hook.starts());
        }
    }

    fn hook(&mut self, key: &str, hook: &HookSettings) {
        let secret = [("secret_env", hook.secret_env.is_some()), ("secret_file", hook.secret_file.is_some())];
        self.exactly_one(key, &secret);
        if hook.tolerance.0.is_zero() {
            self.push(&join(key, "tolerance"), "is 0; no delivery comes at once: write one such as `5m`");
        }
        if !(1..=HOOK_BYTES_MAX).contains(&hook.bytes_max) {
            let wrong = format!("is {}; a body may have 1 to {HOOK_BYTES_MAX} bytes", hook.bytes_max);
            self.push(&join(key, "bytes_max"), wrong);
        }
        for (name, said) in [("header", &hook.header), ("event", &hook.event)] {
            if said.is_some() && hook.scheme == Scheme::Standard {
                let wrong = "is for `scheme = \"timestamped\"`; Standard Webhooks says which headers there are";
                self.push(&join(key, name), wrong);
            }
        }
        if hook.event.as_ref().is_some_and(|event| !event.starts_with('/')) {
            self.push(&join(key, "event"), "is not a JSON pointer; write one such as `/id` or `/data/id`");
        }
    }

    pub(super) fn watches(&mut self, config: &Config) {
        for (name, watch) in &config.watch {
            let key = format!("watch.{name}");
            self.name(&key, name);
            if watch.folder.is_empty() {
                self.push(&key, "says no `folder` to watch");
            }
            if let Err(error) = glob::Pattern::new(&watch.pattern) {
                let wrong = format!("`{}` is not a pattern: {error}; write one such as `*.csv`", watch.pattern);
                self.push(&join(&key, "pattern"), wrong);
            }
            if let Some(other) = config.watch.iter().find(|(other, that)| *other < name && that.folder == watch.folder)
            {
                let wrong = format!("is the folder of [watch.{}] too: each folder is watched once", other.0);
                self.push(&join(&key, "folder"), wrong);
            }
            self.starts(config, &key, &watch.starts());
            let source = watch.batch.as_ref().and_then(|batch| config.batch.get(batch)).map(|batch| &batch.source);
            if source.is_some_and(|source| source.csv.is_none() && source.jsonl.is_none()) {
                self.push(&join(&key, "batch"), "does not read files: its source must be `csv` or `jsonl`");
            }
        }
    }

    /// Checks what is started by something other than the clock.
    fn starts(&mut self, config: &Config, key: &str, spec: &ScheduleSpec) {
        match spec.target() {
            Err(wrong) => self.push(key, wrong.message),
            Ok(Target::Job(job)) => self.name(&join(key, "job.kind"), &job.kind),
            Ok(Target::Batch(batch)) => self.known_batch(config, &join(key, "batch"), batch),
        }
    }
}
