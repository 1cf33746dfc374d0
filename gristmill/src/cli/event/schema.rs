//! `gristmill event schema`: the schemas of types of events.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_core::json;
use gristmill_service::documents::EventSchemaDocument;

use crate::cli::context::CommandContext;
use crate::cli::list::{DryRun, report};
use crate::exit_code::{CommandError, Exit, Result};

/// The schemas of types
#[derive(Debug, Args)]
pub(crate) struct Schema {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a version of the schema of a type
    #[command(before_help = "Examples:
  gristmill event schema add order.paid order-paid.json --dry-run
  gristmill event schema add order.paid order-paid.json

A version must take everything that the version before it takes, as far as that can be seen; --incompatible adds it all the
same. Events that do not fit the newest version, or the one that they name, are refused from then on.")]
    Add {
        /// The type
        #[arg(value_name = "TYPE")]
        kind: String,
        /// A file with a JSON Schema
        file: PathBuf,
        /// Its version; the next one unless said
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// Add it although it does not take all that the version before it takes
        #[arg(long)]
        incompatible: bool,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Every version of every schema
    List {
        /// Of this type
        #[arg(value_name = "TYPE")]
        kind: Option<String>,
    },
    /// One version of a schema
    Show {
        /// The type
        #[arg(value_name = "TYPE")]
        kind: String,
        /// Its version; the newest unless said
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
}

impl Schema {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        match self.verb {
            Verb::Add { kind, file, version, incompatible, dry } => {
                let text = std::fs::read(&file)
                    .map_err(|error| CommandError::usage(format!("{} cannot be read: {error}", file.display())))?;
                let schema = json::read(&text)
                    .map_err(|error| CommandError::usage(format!("{} is not JSON: {error}", file.display())))?;
                let order = context.order(dry.dry_run);
                let done = backend.add_event_schema(&order, &kind, version, &schema, !incompatible).await?;
                report(context, dry.dry_run, "added", "would add", &done);
            }
            Verb::List { kind } => rows(context, &backend.event_schemas(kind.as_deref()).await?),
            Verb::Show { kind, version } => {
                let known = backend.event_schemas(Some(&kind)).await?;
                let found = known.iter().rev().find(|one| version.is_none_or(|version| one.version == version));
                let missing = || CommandError::not_found(format!("there is no such version of a schema of `{kind}`"));
                context.output.document(&found.ok_or_else(missing)?.schema);
            }
        }
        Ok(Exit::Success)
    }
}

fn rows(context: &CommandContext, found: &[EventSchemaDocument]) {
    context.output.list(found, &["TYPE", "VERSION", "BY", "AT"], |one, output| {
        vec![one.kind.clone(), one.version.to_string(), one.by.clone(), output.time(one.at)]
    });
}
