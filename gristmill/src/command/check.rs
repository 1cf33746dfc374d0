//! `gristmill check`: validates a configuration without side effects.

use clap::Args;
use serde_json::{Value, json};

use crate::config::{ConfigError, load};
use crate::door::Door;
use crate::exit_code::{Exit, Result};
use crate::output::Format;

/// Validate the configuration without side effects
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill check
  gristmill --config examples/retail/config.toml check --json

Checks the keys and values, and every batch: schema, jq, types, template, schedule, callbacks.
Opens no database, no broker and no mailbox. Exit code 9 when something is wrong.")]
pub(crate) struct Check {}

impl Check {
    pub(super) fn run(&self, door: &Door) -> Result<Exit> {
        let (batches, errors) = match load(&door.layers) {
            Ok(loaded) => {
                let errors = crate::check::definitions(&loaded, &door.parts);
                (loaded.config.batch.keys().cloned().collect(), errors)
            }
            Err(errors) => (Vec::new(), errors),
        };
        match door.output.format {
            Format::Json => door.output.document(&json!({
                "ok": errors.is_empty(),
                "batches": batches,
                "problems": errors.iter().map(problem).collect::<Vec<_>>(),
            })),
            Format::Plain | Format::Table => {
                for error in &errors {
                    door.output.line(&format!("problem: {error}"));
                    if let Some(hint) = &error.hint {
                        door.output.line(&format!("         {hint}"));
                    }
                }
                if errors.is_empty() {
                    door.output.line(&format!("ok: the settings and {} batch definitions", batches.len()));
                }
            }
        }
        Ok(if errors.is_empty() { Exit::Success } else { Exit::Problems })
    }
}

fn problem(error: &ConfigError) -> Value {
    json!({
        "key": error.key,
        "place": error.origin.as_ref().map(ToString::to_string),
        "message": error.message,
        "hint": error.hint,
    })
}
