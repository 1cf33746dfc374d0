//! `gristmill chunk`: split a chunk that fails.

use clap::{Args, Subcommand};
use gristmill_core::id::JobId;

use super::list::{DryRun, id, report};
use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};

/// Split chunks that fail
#[derive(Debug, Args)]
pub(crate) struct Chunk {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put two halves in the place of a chunk that is dead or waits; one that has ended opens its next generation
    #[command(before_help = "Examples:
  gristmill dead list --kind chunk
  gristmill chunk split 0198f9c1-… --dry-run
  gristmill chunk split 0198f9c1-…")]
    Split {
        /// The chunk: the id of its job
        id: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Chunk {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let Verb::Split { id: text, dry } = self.verb;
        let job: JobId = id("job", &text)?;
        let control_report = context.backend().await?.split_chunk(&context.order(dry.dry_run), job).await?;
        report(context, dry.dry_run, "halves in its place", "halves that would take its place", &control_report);
        Ok(Exit::Success)
    }
}
