//! Hooks as the configuration says them, made ready to be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_dashboard::hooks::{Hook, Hooks};
use gristmill_jobs::stage::validate::Validate;

/// Makes the hooks of a configuration ready.
///
/// # Errors
///
/// For each hook whose schema makes no sense its key and what is wrong.
pub(crate) fn hooks(said: &BTreeMap<String, HookSettings>) -> Result<Hooks, Vec<(String, String)>> {
    let (mut hooks, mut errors) = (Hooks::new(), Vec::new());
    for (name, settings) in said {
        match schema(settings) {
            Ok(schema) => {
                hooks.insert(name.clone(), Hook { settings: settings.clone(), schema });
            }
            Err(wrong) => errors.push((format!("hook.{name}.validate"), wrong)),
        }
    }
    if errors.is_empty() { Ok(hooks) } else { Err(errors) }
}

/// What its bodies must be, compiled.
///
/// # Errors
///
/// What is wrong with the schema.
pub(crate) fn schema(settings: &HookSettings) -> Result<Option<Arc<Validate>>, String> {
    let schema = settings.validate.as_ref().and_then(|validate| validate.inline.as_ref());
    schema.map(|schema| Validate::compile(schema).map(Arc::new)).transpose()
}
