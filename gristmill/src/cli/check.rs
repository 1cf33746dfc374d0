//! `gristmill check`: validates a configuration without side effects.

use std::path::Path;

use clap::Args;
use gristmill_jobs::source;
use gristmill_service::documents::{CheckDocument, LookDocument, ProblemDocument};

use crate::cli::context::CommandContext;
use crate::cli::output::{Format, Output, one_line};
use crate::config::definitions::Outputs;
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
Shows the columns and the first rows of CSV files that are there, and names a delimiter that fits better.
Opens no database, no broker and no mailbox. Exit code 9 when something is wrong.")]
pub(crate) struct Check {}

impl Check {
    pub(super) fn run(&self, context: &CommandContext) -> Result<Exit> {
        let (batches, errors, sources) = match load(&context.layers) {
            Ok(loaded) => {
                for (key, what) in exposed(&loaded.config) {
                    context.warn(format!("`{key}` {what}"));
                }
                let errors = crate::config::definitions::definitions(&loaded, &context.extensions, Outputs::Tried);
                let looks = loaded.config.batch.iter().filter_map(|(name, batch)| {
                    let looked = source::look(&batch.source, Path::new("."));
                    // It may be another file when the batch runs.
                    let refused = |error| context.warn(format!("`batch.{name}.source`: {error}"));
                    looked.map_err(refused).ok().flatten().map(|look| LookDocument::new(name, look))
                });
                (loaded.config.batch.keys().cloned().collect(), errors, looks.collect())
            }
            Err(errors) => (Vec::new(), errors, Vec::new()),
        };
        for look in &sources {
            if let Some(better) = &look.better {
                let LookDocument { batch, file, delimiter, .. } = look;
                context.warn(format!(
                    "`batch.{batch}.source`: the first line of {file} has one field by `{delimiter}`, and several by {better:?}; write `delimiter = {better:?}`"
                ));
            }
        }
        match context.output.format {
            Format::Json => context.output.document(&CheckDocument {
                ok: errors.is_empty(),
                batches,
                problems: errors.iter().map(problem).collect(),
                sources,
            }),
            Format::Plain | Format::Table => {
                for error in &errors {
                    context.output.line(&format!("problem: {error}"));
                    if let Some(hint) = &error.hint {
                        context.output.line(&format!("         {hint}"));
                    }
                }
                sources.iter().for_each(|look| shown(&context.output, look));
                if errors.is_empty() {
                    context.output.line(&format!("ok: the settings and {} batch definitions", batches.len()));
                }
            }
        }
        Ok(if errors.is_empty() { Exit::Success } else { Exit::Problems })
    }
}

/// The columns of a file, and its first rows.
fn shown(output: &Output, look: &LookDocument) {
    let separated = if look.delimiter == "\t" { "tabs".to_owned() } else { format!("`{}`", look.delimiter) };
    let (batch, file, columns) = (&look.batch, &look.file, look.columns.len());
    output.line(&format!("batch {batch}: {file} has {columns} columns separated by {separated}"));
    let line = |cells: &[String]| format!("    {}", one_line(&cells.join("  ")));
    output.line(&line(&look.columns));
    look.rows.iter().for_each(|row| output.line(&line(row)));
}

fn problem(error: &ConfigError) -> ProblemDocument {
    ProblemDocument {
        key: error.key.clone(),
        place: error.origin.as_ref().map(ToString::to_string),
        message: error.message.clone(),
        hint: error.hint.clone(),
    }
}
