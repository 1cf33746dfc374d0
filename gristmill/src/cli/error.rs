//! `gristmill error`: note that errors were seen, by their fingerprints, and take it back.

use clap::{Args, Subcommand};
use gristmill_service::documents::AcknowledgementDocument;

use super::list::{DryRun, Why, report};
use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};

/// Note that errors were seen, and take it back
#[derive(Debug, Args)]
pub(crate) struct ErrorCommand {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Errors that an operator has seen, the newest first
    #[command(before_help = "Examples:
  gristmill error acknowledged
  gristmill error acknowledged --json | jq '.[].fingerprint'")]
    Acknowledged,
    /// Note that an error was seen: it needs no look until it comes again
    #[command(before_help = "Examples:
  gristmill error acknowledge a1b2c3d4e5f6 --reason 'the provider knows'

The fingerprints are those of the dashboard's page of errors.")]
    Acknowledge {
        /// The short name of its fingerprint
        fingerprint: String,
        #[command(flatten)]
        dry: DryRun,
        #[command(flatten)]
        why: Why,
    },
    /// Take that back
    Reopen {
        /// The short name of its fingerprint
        fingerprint: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl ErrorCommand {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        match self.verb {
            Verb::Acknowledged => {
                rows(context, &backend.acknowledged().await?);
                Ok(Exit::Success)
            }
            Verb::Acknowledge { fingerprint, dry, why } => {
                let order = why.order(context, &dry)?;
                let done = backend.acknowledge_error(&order, &fingerprint).await?;
                report(context, dry.dry_run, "acknowledged", "would acknowledge", &done);
                Ok(Exit::Success)
            }
            Verb::Reopen { fingerprint, dry } => {
                let done = backend.reopen_error(&context.order(dry.dry_run), &fingerprint).await?;
                report(context, dry.dry_run, "reopened", "would reopen", &done);
                Ok(Exit::Success)
            }
        }
    }
}

fn rows(context: &CommandContext, found: &[AcknowledgementDocument]) {
    context.output.list(found, &["FINGERPRINT", "BY", "AT", "REASON"], |one, output| {
        let reason = one.reason.clone().unwrap_or_else(|| "-".to_owned());
        vec![one.fingerprint.clone(), one.by.clone(), output.time(one.at), reason]
    });
}
