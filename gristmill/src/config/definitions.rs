//! Whether the definitions of a configuration could run in this program, found out without side effects.

use std::path::Path;

use gristmill_jobs::pipeline::Pipeline;
use gristmill_jobs::pool::ItemPool;

use crate::config::origin::nearest_origin;
use crate::config::{ConfigError, Loaded, suggest};
use crate::extensions::Extensions;

/// Everything that is wrong with the batch definitions and hooks beyond what reading them has found.
pub(crate) fn definitions(loaded: &Loaded, extensions: &Extensions) -> Vec<ConfigError> {
    let processors = extensions.processors();
    // One thread: nothing is worked on here.
    let pool = match ItemPool::new(1) {
        Ok(pool) => pool,
        Err(error) => return vec![ConfigError::at(None, "", error.to_string())],
    };
    let mut errors = Vec::new();
    for (name, batch) in &loaded.config.batch {
        // Paths are absolute by now.
        if let Err(error) = Pipeline::compile(name, batch, Path::new(""), &processors, &pool) {
            let origin = nearest_origin(&loaded.origins, &error.key).cloned();
            let handler = batch.process.as_ref().and_then(|process| process.rust.as_deref());
            let handler = handler.filter(|handler| !extensions.items.contains_key(*handler));
            let hint = handler.and_then(|handler| suggest(handler, extensions.items.keys().map(String::as_str)));
            errors.push(ConfigError::at(origin, error.key, error.problem).hint(hint));
        }
    }
    for (name, hook) in &loaded.config.hook {
        if let Err(wrong) = crate::runtime::hooks::schema(hook) {
            let key = format!("hook.{name}.validate");
            errors.push(ConfigError::at(nearest_origin(&loaded.origins, &key).cloned(), key, wrong));
        }
    }
    errors
}
