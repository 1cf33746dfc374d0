//! `gristmill dev`: scheduler and worker in one process.

use clap::Args;

use crate::door::Door;
use crate::exit_code::{Exit, Result};
use crate::serve::serve;
use crate::work::Roles;

/// Scheduler and worker in one process
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill dev
  gristmill --store postgres://app@localhost/app --broker amqp://guest@localhost/%2f dev -v")]
pub(crate) struct Dev {}

impl Dev {
    pub(super) async fn run(&self, door: &Door) -> Result<Exit> {
        serve(door, Roles { worker: true, scheduler: true }).await
    }
}
