//! Rehearses what schedules, hooks and watched folders start: the templates in it, and the payloads of their jobs.

use std::collections::BTreeMap;

use gristmill_core::definition::BatchDefinition;
use gristmill_core::schedule::{ScheduleSpec, Target};
use gristmill_service::start::render;
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
        // What is malformed is said by the check of templates.
        let well_formed = render::check_batch(&batch.source, batch.output.as_ref()).is_ok();
        if let Some(own) = batch.schedule.as_ref().filter(|_| well_formed) {
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
            render::check_payload(&job.kind, &job.payload, false).ok()?;
            let payload = render::payload(&job.kind, &job.payload, &params, zone).map_err(|error| error.to_string());
            let checked = payload.and_then(|payload| extensions.check_payload(&job.kind, &payload));
            Some((join(key, "job.payload"), checked.err()?))
        }
        Target::Batch(batch) => {
            let definition = batches.get(batch)?;
            render::check_batch(&definition.source, definition.output.as_ref()).ok()?;
            let output = || definition.output.as_ref().map(|output| render::output(output, &params, zone)).transpose();
            let run = render::source(&definition.source, &params, zone).and_then(|_| output());
            Some((key.to_owned(), format!("its run of [batch.{batch}] could not start: {}", run.err()?)))
        }
    }
}

/// The run of an event, of which nothing is known before it happens.
fn of_an_event(key: &str, spec: &ScheduleSpec, extensions: &Extensions) -> Option<(String, String)> {
    let Ok(Target::Job(job)) = spec.target() else { return None };
    // Without a payload the event itself is it; what is wrong with a template is said by the check of templates.
    if job.payload.is_null() || render::is_template(&job.payload) {
        return None;
    }
    Some((join(key, "job.payload"), extensions.check_payload(&job.kind, &job.payload).err()?))
}
