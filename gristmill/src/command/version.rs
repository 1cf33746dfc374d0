//! `gristmill version`.

use clap::Args;
use serde_json::json;

use crate::door::Door;
use crate::exit_code::{Exit, Result};
use crate::output::Format;

/// Print the version
#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(super) fn run(&self, door: &Door) -> Result<Exit> {
        let version = env!("CARGO_PKG_VERSION");
        match door.output.format {
            Format::Json => door.output.document(&json!({ "name": "gristmill", "version": version })),
            Format::Plain | Format::Table => door.output.line(&format!("gristmill {version}")),
        }
        Ok(Exit::Success)
    }
}
