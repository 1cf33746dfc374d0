//! Checks, without side effects, whether the definitions of a configuration could run in this program.

use std::path::Path;
use std::sync::Arc;

use gristmill_core::definition::BatchDefinition;
use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_jobs::pipeline::{DefinitionError, Pipeline};
use gristmill_jobs::pool::ItemPool;
use gristmill_jobs::source;
use gristmill_jobs::stage::validate::Validate;
use gristmill_service::start::render;
use serde_json::{Value, json};

use crate::config::error::{ConfigError, suggest};
use crate::config::loaded::Loaded;
use crate::config::origin::nearest_origin;
use crate::config::runs;
use crate::extensions::Extensions;

/// Whether the folders of outputs are tried, with a file that is removed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outputs {
    Tried,
    /// For who writes nothing.
    Untouched,
}

/// Returns everything that is wrong with the batch definitions and hooks beyond what reading them has found.
pub(crate) fn definitions(loaded: &Loaded, extensions: &Extensions, outputs: Outputs) -> Vec<ConfigError> {
    let processors = extensions.processors(&loaded.config);
    // One thread: nothing is processed here.
    let pool = match ItemPool::new(1) {
        Ok(pool) => pool,
        Err(error) => return vec![ConfigError::at(None, "", error.to_string())],
    };
    let mut errors = Vec::new();
    for (name, batch) in &loaded.config.batch {
        // Paths are absolute by now.
        let compiled = Pipeline::compile(name, batch, Path::new(""), &processors, &pool);
        let tried = |pipeline: Pipeline| {
            if outputs == Outputs::Untouched {
                return Ok(());
            }
            pipeline.try_output(name)?;
            match first_rows(batch).and_then(|rows| pipeline.mail_fault(rows)) {
                Some(problem) => Err(DefinitionError { key: format!("batch.{name}.mail"), problem }),
                None => Ok(()),
            }
        };
        if let Err(error) = compiled.and_then(tried) {
            let origin = nearest_origin(&loaded.origins, &error.key).cloned();
            let handler = batch.process.as_ref().and_then(|process| process.rust.as_deref());
            let handler = handler.filter(|handler| !extensions.items.contains_key(*handler));
            let hint = handler.and_then(|handler| suggest(handler, extensions.items.keys().map(String::as_str)));
            errors.push(ConfigError::at(origin, error.key, error.problem).hint(hint));
        }
    }
    errors.extend(templates(loaded));
    for (name, hook) in &loaded.config.hook {
        if let Err(wrong) = schema(hook) {
            let key = format!("hook.{name}.validate");
            errors.push(ConfigError::at(nearest_origin(&loaded.origins, &key).cloned(), key, wrong));
        }
    }
    errors.extend(runs::check(loaded, extensions));
    errors
}

/// The first rows of the file of a batch that sends mail, if it is there.
fn first_rows(batch: &BatchDefinition) -> Option<Vec<Value>> {
    batch.mail.as_ref()?;
    let look = source::look(&batch.source, Path::new(".")).ok()??;
    let row = |row: &Vec<String>| {
        Value::Object(look.columns.iter().cloned().zip(row.iter().map(|cell| json!(cell))).collect())
    };
    Some(look.rows.iter().map(row).collect())
}

/// What is wrong with templates: of batches, and of the jobs that schedules, hooks and watched folders start.
fn templates(loaded: &Loaded) -> Vec<ConfigError> {
    let config = &loaded.config;
    let mut wrong = Vec::new();
    for (name, batch) in &config.batch {
        if let Err((key, what)) = render::check_batch(&batch.source, batch.output.as_ref()) {
            wrong.push((format!("batch.{name}.{key}"), what));
        }
    }
    let schedules = config.schedule.iter().map(|(name, spec)| (format!("schedule.{name}"), spec.clone()));
    let clocks = schedules.map(|(key, spec)| (key, spec.after.is_some(), spec.job));
    let hooks = config.hook.iter().map(|(name, hook)| (format!("hook.{name}"), true, hook.job.clone()));
    let watches = config.watch.iter().map(|(name, watch)| (format!("watch.{name}"), true, watch.job.clone()));
    for (key, by_event, job) in clocks.chain(hooks).chain(watches) {
        let Some(job) = job else { continue };
        if let Err(what) = render::check_payload(&job.kind, &job.payload, by_event) {
            wrong.push((format!("{key}.job.payload"), what));
        }
    }
    let at = |(key, what): (String, String)| ConfigError::at(nearest_origin(&loaded.origins, &key).cloned(), key, what);
    wrong.into_iter().map(at).collect()
}

/// The compiled schema for the bodies of a hook.
///
/// # Errors
///
/// What is wrong with the schema.
pub(crate) fn schema(settings: &HookSettings) -> Result<Option<Arc<Validate>>, String> {
    let schema = settings.validate.as_ref().and_then(|validate| validate.inline.as_ref());
    schema.map(|schema| Validate::compile(schema).map(Arc::new)).transpose()
}
