//! The hooks of the configuration, prepared for serving.

use std::collections::BTreeMap;

use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_dashboard::hooks::{Hook, Hooks};

use crate::config::definitions::schema;

/// Prepares the hooks of a configuration.
///
/// # Errors
///
/// For each hook whose schema makes no sense, its key and what is wrong.
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
