//! `gristmill check`: validates a configuration without side effects.

use clap::Args;
use gristmill_service::documents::{CheckDocument, ProblemDocument};

use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::config::exposed::exposed;
use crate::config::{ConfigError, load};
use crate::exit_code::{Exit, Result};

/// Validate the configuration without side effects
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill check
  gristmill --config examples/retail/config.toml check --json

Checks the keys and values, and every batch: schema, jq, types, template, schedule, callbacks.
Tries the folder of each output with a file that it removes at once.
Opens no database, no broker and no mailbox. Exit code 9 when something is wrong.")]
pub(crate) struct Check {}

impl Check {
    pub(super) fn run(&self, context: &CommandContext) -> Result<Exit> {
        let (batches, errors) = match load(&context.layers) {
            Ok(loaded) => {
                for (key, what) in exposed(&loaded.config) {
                    context.warn(format!("`{key}` {what}"));
                }
                let errors = crate::config::definitions::definitions(&loaded, &context.extensions);
                (loaded.config.batch.keys().cloned().collect(), errors)
            }
            Err(errors) => (Vec::new(), errors),
        };
        match context.output.format {
            Format::Json => context.output.document(&CheckDocument {
                ok: errors.is_empty(),
                batches,
                problems: errors.iter().map(problem).collect(),
            }),
            Format::Plain | Format::Table => {
                for error in &errors {
                    context.output.line(&format!("problem: {error}"));
                    if let Some(hint) = &error.hint {
                        context.output.line(&format!("         {hint}"));
                    }
                }
                if errors.is_empty() {
                    context.output.line(&format!("ok: the settings and {} batch definitions", batches.len()));
                }
            }
        }
        Ok(if errors.is_empty() { Exit::Success } else { Exit::Problems })
    }
}

fn problem(error: &ConfigError) -> ProblemDocument {
    ProblemDocument {
        key: error.key.clone(),
        place: error.origin.as_ref().map(ToString::to_string),
        message: error.message.clone(),
        hint: error.hint.clone(),
    }
}
