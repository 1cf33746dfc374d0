//! `gristmill version`.

use clap::Args;
use serde_json::json;

use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{Exit, Result};

/// Print the version
#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(super) fn run(&self, context: &CommandContext) -> Result<Exit> {
        let version = env!("CARGO_PKG_VERSION");
        match context.output.format {
            Format::Json => context.output.document(&json!({ "name": "gristmill", "version": version })),
            Format::Plain | Format::Table => context.output.line(&format!("gristmill {version}")),
        }
        Ok(Exit::Success)
    }
}
