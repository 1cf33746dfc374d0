//! Hooks as the configuration says them, made ready to be served.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_core::schedule::Target;
use gristmill_dashboard::hooks::settings::HookSettings;
use gristmill_dashboard::hooks::{Hook, Hooks, Make, ledger};
use gristmill_scheduler::RunContext;
use gristmill_scheduler::schedules::start;

use crate::config::definitions::schema;

/// Makes the hooks of a configuration ready.
///
/// # Errors
///
/// For each hook whose schema makes no sense its key and what is wrong.
pub(crate) fn hooks(
    said: &BTreeMap<String, HookSettings>,
    run_context: &RunContext,
) -> Result<Hooks, Vec<(String, String)>> {
    let (mut hooks, mut errors) = (Hooks::new(), Vec::new());
    for (name, settings) in said {
        match schema(settings) {
            Ok(schema) => {
                let make = make(name, settings, run_context.clone());
                hooks.insert(name.clone(), Hook { settings: settings.clone(), schema, make });
            }
            Err(wrong) => errors.push((format!("hook.{name}.validate"), wrong)),
        }
    }
    if errors.is_empty() { Ok(hooks) } else { Err(errors) }
}

/// The job of each of its events; a batch is started by a scheduler.
fn make(name: &str, settings: &HookSettings, run_context: RunContext) -> Make {
    let (spec, ledger) = (settings.starts(), ledger(name));
    Arc::new(move |about| {
        if matches!(spec.target(), Ok(Target::Batch(_))) {
            return Ok(None);
        }
        let tick = start::event_tick(about.clone());
        start::job(&run_context, &run_context.tenant, &ledger, &spec, &tick).map(|job| Some(Box::new(job)))
    })
}
