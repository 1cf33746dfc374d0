//! `gristmill scheduler`: publish, promote, rescue and reconcile.

use clap::Args;

use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};
use crate::runtime::roles::Roles;
use crate::runtime::serve::serve;

/// Publish, promote, rescue and reconcile
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill --store postgres://app@db/app --broker amqp://app@mq/%2f scheduler
  GRISTMILL_SCHEDULER_METRICS=127.0.0.1:9602 gristmill scheduler --log json

Any number may run; each duty is safe to do twice. On SQLite use `gristmill dev`.")]
pub(crate) struct Scheduler {}

impl Scheduler {
    pub(super) async fn run(&self, context: &CommandContext) -> Result<Exit> {
        let roles = Roles::scheduler(context.store().await?.embedded())?;
        serve(context, roles, false).await
    }
}
