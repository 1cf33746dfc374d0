//! `gristmill db`: migrate the database, see where it stands, how large it is, and delete what is old.

use clap::{Args, Subcommand};
use gristmill_service::documents::ReportDocument;
use gristmill_store::ControlReport;

use super::db_prune;
use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// Migrate the database, see where it stands, delete what is old
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
    /// Delete what is kept for longer than `[retention]` says; the scheduler does so by itself, more slowly
    #[command(before_help = "Examples:
  gristmill db prune --dry-run
  gristmill db prune --json")]
    Prune(DryRun),
    /// Make the role of `[store] api_role` and give it its rights, so that PostgreSQL itself keeps tenants apart
    #[command(before_help = "Examples:
  gristmill --store postgres://owner@db/app db roles

As the owner of the tables. Say it again after each migration that brings a table. A user who may not create roles is told
the statement that an administrator has to say first.")]
    Roles,
    /// How large the database and its tables are, and what was deleted so far
    Size,
}

impl Db {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match &self.verb {
            Verb::Migrate(_) | Verb::Status => {}
            Verb::Prune(dry) => return db_prune::prune(context, dry).await,
            Verb::Size => return db_prune::size(context).await,
            Verb::Roles => return roles(context).await,
        }
        let store = context.connect_store().await?;
        let status = match &self.verb {
            Verb::Migrate(DryRun { dry_run: false }) => store.migrate().await?,
            Verb::Migrate(_) | Verb::Status | Verb::Prune(_) | Verb::Size | Verb::Roles => store.migrations().await?,
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

async fn roles(context: &CommandContext) -> Result<Exit> {
    let made = context.store().await?.make_api_role().await?;
    if let Some(fault) = made.faults.first() {
        let what = format!("the role `{}` is there, and tenants are not kept apart by it: {fault}", made.role);
        return Err(CommandError::new(Exit::Conflict, what).hint("name another role in `[store] api_role`"));
    }
    match context.output.format {
        Format::Json => {
            let report = ControlReport { affected: 1, samples: vec![made.role], ..ControlReport::default() };
            context.output.document(&ReportDocument::new(false, &report));
        }
        Format::Plain => context.output.line(&made.role),
        Format::Table => context.output.line(&format!("tenants are kept apart by the role {}", made.role)),
    }
    Ok(Exit::Success)
}
