//! What retention needs of the configuration.

use std::collections::BTreeMap;

use gristmill_service::retention::PrunerOptions;

use crate::config::Config;

/// The queues that the configuration names, each with the key that names it.
pub(crate) fn queue_names(config: &Config) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut add = |queue: &str, key: String| {
        names.entry(queue.to_owned()).or_insert(key);
    };
    config.queue.keys().for_each(|queue| add(queue, format!("queue.{queue}")));
    config.worker.queues.iter().for_each(|queue| add(queue, "worker.queues".to_owned()));
    for (name, batch) in &config.batch {
        add(&batch.queue, format!("batch.{name}.queue"));
    }
    for (name, kind) in &config.kind {
        kind.queue.iter().for_each(|queue| add(queue, format!("kind.{name}.queue")));
    }
    for (name, limit) in &config.limit {
        limit.queues.iter().for_each(|queue| add(queue, format!("limit.{name}.queues")));
    }
    let schedules = config.schedule.iter().map(|(name, spec)| (format!("schedule.{name}"), spec.job.clone()));
    let hooks = config.hook.iter().map(|(name, hook)| (format!("hook.{name}"), hook.job.clone()));
    let watches = config.watch.iter().map(|(name, watch)| (format!("watch.{name}"), watch.job.clone()));
    for (key, job) in schedules.chain(hooks).chain(watches) {
        if let Some(queue) = job.and_then(|job| job.queue) {
            add(&queue, format!("{key}.job.queue"));
        }
    }
    names
}

/// What a pass of retention goes by. `whole` walks what looks too young as well.
pub(crate) fn pruner_options(config: &Config, whole: bool) -> PrunerOptions {
    let queues = queue_names(config).into_keys().collect();
    PrunerOptions { settings: config.retention.clone(), queues, whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_names_a_queue_is_known() {
        let mut config = Config::default();
        config.queue.insert("a".to_owned(), Default::default());
        config.worker.queues.push("b".to_owned());
        let names = queue_names(&config);
        assert_eq!(names.get("a").map(String::as_str), Some("queue.a"));
        assert_eq!(names.get("b").map(String::as_str), Some("worker.queues"));
        assert!(!names.contains_key("c"));
    }
}
