//! Checks the values of schedules, and which batches may follow one another.

use std::collections::HashSet;

use gristmill_core::schedule::{ScheduleSpec, Target, zone_names};

use super::Findings;
use crate::config::error::{ConfigError, nearest};
use crate::config::keys::join;
use crate::config::origin::nearest_origin;
use crate::config::settings::Config;

/// Batches for which a schedule sets when they are late.
pub(super) fn late(config: &Config) -> HashSet<String> {
    let own =
        config.batch.iter().filter(|(_, batch)| batch.schedule.as_ref().is_some_and(|own| own.late_after.is_some()));
    let named = config.schedule.values().filter(|spec| spec.late_after.is_some());
    own.map(|(name, _)| name.clone()).chain(named.filter_map(|spec| spec.batch.clone())).collect()
}

impl Findings<'_> {
    /// A batch's own schedule.
    pub(super) fn own_schedule(&mut self, key: &str, schedule: &ScheduleSpec) {
        for (name, said) in [("batch", schedule.batch.is_some()), ("job", schedule.job.is_some())] {
            if said {
                self.push(&join(key, name), "does not belong here: a batch's own schedule runs that batch");
            }
        }
        self.time(key, schedule);
    }

    pub(super) fn schedules(&mut self, config: &Config) {
        for (name, schedule) in &config.schedule {
            let key = format!("schedule.{name}");
            self.name(&key, name);
            self.time(&key, schedule);
            if config.batch.get(name).is_some_and(|batch| batch.schedule.is_some()) {
                self.push(&key, format!("is also the name of the own schedule of [batch.{name}]; choose another"));
            }
            match schedule.target() {
                Err(wrong) => self.push(&key, wrong.message),
                Ok(Target::Job(job)) => self.name(&join(&key, "job.kind"), &job.kind),
                Ok(Target::Batch(batch)) => self.known_batch(config, &join(&key, "batch"), batch),
            }
        }
        let own = config.batch.iter().filter_map(|(name, batch)| {
            Some((format!("batch.{name}.schedule"), batch.schedule.as_deref()?, Some(name.as_str())))
        });
        let named = config.schedule.iter();
        let named = named.map(|(name, spec)| (format!("schedule.{name}"), spec, spec.batch.as_deref()));
        for (key, spec, batch) in own.chain(named) {
            if let Some(after) = &spec.after {
                self.known_batch(config, &join(&key, "after"), after);
                self.circle(config, &join(&key, "after"), after, batch);
            }
            let late = batch.and_then(|batch| config.batch.get(batch)).filter(|_| spec.late_after.is_some());
            if late.is_some_and(|batch| batch.on.late.is_empty()) {
                let wrong = "has nobody to tell: write `on.late` in the batch's definition";
                self.push(&join(&key, "late_after"), wrong);
            }
        }
    }

    /// Refuses batches that follow one another in a circle: they would run for ever.
    fn circle(&mut self, config: &Config, key: &str, after: &str, batch: Option<&str>) {
        let Some(batch) = batch else { return };
        let follows = |name: &str| -> Vec<String> {
            let own = config.batch.get(name).and_then(|batch| batch.schedule.as_deref()?.after.clone());
            let named = config.schedule.values().filter(|spec| spec.batch.as_deref() == Some(name));
            own.into_iter().chain(named.filter_map(|spec| spec.after.clone())).collect()
        };
        let (mut seen, mut next) = (Vec::new(), vec![after.to_owned()]);
        while let Some(name) = next.pop() {
            if name == batch {
                let wrong =
                    format!("`{batch}` follows `{after}`, which follows `{batch}` in turn: they would run for ever");
                return self.push(key, wrong);
            }
            if !seen.contains(&name) {
                next.extend(follows(&name));
                seen.push(name);
            }
        }
    }

    pub(super) fn known_batch(&mut self, config: &Config, key: &str, batch: &str) {
        if config.batch.contains_key(batch) {
            return;
        }
        let near = nearest(batch, config.batch.keys().map(String::as_str));
        let near = near.map(|near| format!("did you mean `{near}`?"));
        let origin = nearest_origin(self.origins, key).cloned();
        self.errors.push(ConfigError::at(origin, key, format!("there is no [batch.{batch}]")).hint(near));
    }

    fn time(&mut self, key: &str, schedule: &ScheduleSpec) {
        let Err(wrong) = schedule.check() else { return };
        let key = if wrong.key.is_empty() { key.to_owned() } else { join(key, wrong.key) };
        let zone = schedule.timezone.as_deref().filter(|_| wrong.key == "timezone");
        let hint = zone.map(|zone| match nearest(zone, zone_names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one of the IANA time zones, such as `Europe/London` or `UTC`".to_owned(),
        });
        let origin = nearest_origin(self.origins, &key).cloned();
        self.errors.push(ConfigError::at(origin, key, wrong.message).hint(hint));
    }
}
