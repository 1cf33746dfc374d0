//! `gristmill key`: the keys that sign access tokens.

use clap::{Args, Subcommand};
use gristmill_core::id::KeyId;
use gristmill_service::documents::ReportDocument;
use gristmill_store::ControlReport;

use super::account::accounts;
use super::list::id;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// The keys that sign access tokens: list, rotate, withdraw them
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The keys by which access tokens are verified, newest first
    #[command(before_help = "Examples:
  gristmill key list
  gristmill key list --json")]
    List,
    /// Have a new key sign from now on; the one before it verifies until what it has signed is over
    #[command(before_help = "Examples:
  gristmill key rotate
  gristmill key rotate --plain")]
    Rotate,
    /// Withdraw a key: what it has signed is refused within seconds
    #[command(before_help = "Examples:
  gristmill key withdraw 0198f9c1-7d2e-7cc3-98c4-dc0c0c07398f

For a key that may have been stolen. Its sessions go on: they ask for other tokens with their refresh tokens.")]
    Withdraw {
        /// Its id
        id: String,
    },
}

impl Key {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => list(context).await,
            Verb::Rotate => rotate(context).await,
            Verb::Withdraw { id: text } => withdraw(context, id("key", &text)?).await,
        }
    }
}

async fn list(context: &CommandContext) -> Result<Exit> {
    let keys = accounts(context).await?.access_keys().await?;
    context.output.list(&keys, &["ID", "SIGNS", "CREATED", "VERIFIES UNTIL"], |key, output| {
        vec![
            key.id.to_string(),
            if key.signs { "yes" } else { "no" }.to_owned(),
            output.time(key.created_at),
            output.time_or_dash(key.ends_at),
        ]
    });
    Ok(Exit::Success)
}

async fn rotate(context: &CommandContext) -> Result<Exit> {
    let key = accounts(context).await?.rotate_key(&context.order(false)).await?;
    report(context, key, "signs");
    Ok(Exit::Success)
}

async fn withdraw(context: &CommandContext, key: KeyId) -> Result<Exit> {
    if !accounts(context).await?.withdraw_key(&context.order(false), key).await? {
        let what = format!("there is no key {key}");
        return Err(CommandError::not_found(what).hint("see `gristmill key list` for the ids"));
    }
    report(context, key, "withdrawn");
    Ok(Exit::Success)
}

fn report(context: &CommandContext, key: KeyId, done: &str) {
    let report = ControlReport { affected: 1, samples: vec![key.to_string()], ..ControlReport::default() };
    match context.output.format {
        Format::Json => context.output.document(&ReportDocument::new(false, &report)),
        Format::Plain => context.output.line(&key.to_string()),
        Format::Table => context.output.line(&format!("{done}: {key}")),
    }
}
