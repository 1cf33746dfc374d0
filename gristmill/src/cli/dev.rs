//! `gristmill dev`: scheduler, worker and API in one process.

use clap::Args;

use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};
use crate::runtime::roles::Roles;
use crate::runtime::serve::serve;

/// Scheduler, worker and API in one process
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill dev
  gristmill --store postgres://app@localhost/app --broker amqp://guest@localhost/%2f dev -v")]
pub(crate) struct Dev {}

impl Dev {
    pub(super) async fn run(&self, context: &CommandContext) -> Result<Exit> {
        serve(context, Roles::BOTH, true).await
    }
}
