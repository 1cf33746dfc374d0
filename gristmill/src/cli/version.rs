//! `gristmill version`.

use clap::Args;
use gristmill_service::documents::VersionDocument;

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
            Format::Json => {
                context.output.document(&VersionDocument { name: "gristmill".to_owned(), version: version.to_owned() })
            }
            Format::Plain | Format::Table => context.output.line(&format!("gristmill {version}")),
        }
        Ok(Exit::Success)
    }
}
