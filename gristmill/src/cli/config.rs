//! `gristmill config show` and `gristmill config schema`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::cli::context::CommandContext;
use crate::cli::output::{Format, brief};
use crate::config::schema::SCHEMA;
use crate::config::show::{Setting, settings};
use crate::exit_code::{Exit, Result};

/// See the settings in force and who said them
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every setting in force; secrets are ***
    #[command(before_help = "Examples:
  gristmill config show
  gristmill config show --origin          who said each: a flag, a variable, a line of the file, the default
  gristmill config show --origin --json")]
    Show {
        /// Say who said each value
        #[arg(long)]
        origin: bool,
    },
    /// The JSON Schema of config.toml, for editors
    #[command(before_help = "Examples:
  gristmill config schema > gristmill.schema.json

An editor with a language server for TOML then completes and checks keys: write `#:schema ./gristmill.schema.json` as the first
line of config.toml.")]
    Schema,
}

impl Config {
    pub(super) fn run(&self, context: &CommandContext) -> Result<Exit> {
        let origin = match self.verb {
            Verb::Show { origin } => origin,
            Verb::Schema => {
                context.output.line(SCHEMA.trim_end());
                return Ok(Exit::Success);
            }
        };
        let settings = settings(&context.loaded);
        if context.output.format == Format::Json && !origin {
            let map: Map<String, Value> = settings.into_iter().map(|setting| (setting.key, setting.value)).collect();
            context.output.document(&map);
            return Ok(Exit::Success);
        }
        let cells = |setting: &Setting| {
            let mut cells = vec![setting.key.clone(), brief(&setting.value)];
            if origin {
                cells.push(setting.origin.clone());
            }
            cells
        };
        let columns: &[&str] = if origin { &["KEY", "VALUE", "ORIGIN"] } else { &["KEY", "VALUE"] };
        context.output.list(&settings, columns, |setting, _| cells(setting));
        Ok(Exit::Success)
    }
}
