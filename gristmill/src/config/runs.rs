//! Rehearses what schedules, hooks and watched folders start: the templates in it, and the payloads of their jobs.

use std::collections::BTreeMap;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::schedule::{ScheduleSpec, Target};
use gristmill_service::start::render::{is_template, rendered, well_formed};
use gristmill_service::start::run::{event_tick, params};
use gristmill_store::FireTick;
use serde_json::Value;

use super::error::ConfigError;
use super::keys::join;
use super::loaded::Loaded;
use super::origin::nearest_origin;
use crate::extensions::Extensions;

/// Returns what could not be started when its time comes.
pub(super) fn check(loaded: &Loaded, extensions: &Extensions) -> Vec<ConfigError> {
    let config = &loaded.config;
    let mut found = Vec::new();
    for (name, batch) in &config.batch {
        let parts = [("source", well_formed(&batch.source)), ("output", well_formed(&batch.output))];
        let malformed =
            parts.into_iter().filter_map(|(part, read)| Some((format!("batch.{name}.{part}"), read.err()?)));
        let before = found.len();
        found.extend(malformed);
        // What is malformed is not said twice.
        if let Some(own) = batch.schedule.as_ref().filter(|_| found.len() == before) {
            let spec = ScheduleSpec { batch: Some(name.clone()), ..(**own).clone() };
            found.extend(rehearsed(&format!("batch.{name}.schedule"), name, &spec, &config.batch, extensions));
        }
    }
    for (name, spec) in &config.schedule {
        found.extend(rehearsed(&format!("schedule.{name}"), name, spec, &config.batch, extensions));
    }
    let hooks = config.hook.iter().map(|(name, hook)| (format!("hook.{name}"), hook.starts()));
    let watches = config.watch.iter().map(|(name, watch)| (format!("watch.{name}"), watch.starts()));
    for (key, spec) in hooks.chain(watches) {
        found.extend(of_an_event(&key, &spec, extensions));
    }
    let error = |(key, wrong): (String, String)| {
        let origin = nearest_origin(&loaded.origins, &key).cloned();
        ConfigError::at(origin, key, wrong)
    };
    found.into_iter().map(error).collect()
}

/// What is wrong with the run of a schedule, and at which key, if anything is. All parameters of a clock's tick are
/// known.
pub(crate) fn rehearsed(
    key: &str,
    name: &str,
    spec: &ScheduleSpec,
    batches: &BTreeMap<String, BatchDefinition>,
    extensions: &Extensions,
) -> Option<(String, String)> {
    if spec.after.is_some() {
        return of_an_event(key, spec, extensions);
    }
    let (target, zone) = (spec.target().ok()?, spec.zone().ok()?);
    let params = params(name, spec, &FireTick { about: None, ..event_tick(Value::Null) });
    match target {
        Target::Job(job) => {
            let payload = rendered(&job.payload, &params, zone);
            let checked = payload.and_then(|payload| extensions.check_payload(&job.kind, &payload));
            Some((join(key, "job.payload"), checked.err()?))
        }
        Target::Batch(batch) => {
            let definition = batches.get(batch)?;
            let source = rendered(&definition.source, &params, zone).map(drop);
            let run = source.and_then(|()| rendered(&definition.output, &params, zone).map(drop));
            Some((key.to_owned(), format!("its run of [batch.{batch}] could not start: {}", run.err()?)))
        }
    }
}

/// The run of an event, of which nothing is known before it happens.
fn of_an_event(key: &str, spec: &ScheduleSpec, extensions: &Extensions) -> Option<(String, String)> {
    let Ok(Target::Job(job)) = spec.target() else { return None };
    let checked = match &job.payload {
        // Then the payload is the event itself.
        Value::Null => Ok(()),
        payload if is_template(payload) => well_formed(payload),
        payload => extensions.check_payload(&job.kind, payload),
    };
    Some((join(key, "job.payload"), checked.err()?))
}
