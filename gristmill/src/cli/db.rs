//! `gristmill db`: migrate the database, or see where it stands.

use clap::{Args, Subcommand};

use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{Exit, Result};

/// Migrate the database, or see where it stands
#[derive(Debug, Args)]
pub(crate) struct Db {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Apply the migrations that are missing; safe to run from several places at once
    #[command(before_help = "Examples:
  gristmill --store postgres://app@db/app db migrate --dry-run
  gristmill --store postgres://app@db/app db migrate")]
    Migrate(DryRun),
    /// Which migrations are applied and which are known
    Status,
}

impl Db {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let store = context.connect_store().await?;
        let status = match &self.verb {
            Verb::Migrate(DryRun { dry_run: false }) => store.migrate().await?,
            Verb::Migrate(DryRun { dry_run: true }) | Verb::Status => store.migrations().await?,
        };
        if context.output.format == Format::Json {
            context.output.document(&status);
        } else {
            context.output.list(&status.migrations, &["VERSION", "NAME", "APPLIED"], |migration, output| {
                let applied = migration.applied_at.map_or("missing".to_owned(), |at| output.time(at));
                vec![migration.version.to_string(), migration.name.clone(), applied]
            });
        }
        let missing = status.migrations.iter().filter(|migration| migration.applied_at.is_none()).count();
        context.output.note(&format!("{}: {missing} migrations are missing", store.describe()));
        Ok(Exit::Success)
    }
}
