//! `gristmill db prune` and `gristmill db size`: delete what is kept for too long, and see what takes the room.

use gristmill_service::control::retention::Deleted;
use gristmill_service::documents::{DatabaseSizeDocument, PruneDocument};

use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, grouped};
use crate::exit_code::{Exit, Result};
use crate::runtime::retention::pruner_options;

/// How many rows are deleted between two reports.
const REPORT_EVERY: u64 = 100_000;

/// Deletes what is kept for longer than `[retention]` says, or says what that is.
pub(super) async fn prune(context: &CommandContext, dry: &DryRun) -> Result<Exit> {
    let options = pruner_options(&context.loaded.config, true);
    let service = context.service().await?;
    let document = if dry.dry_run {
        PruneDocument::survey(&service.survey(&options).await?)
    } else {
        let mut reported = 0;
        let progress = |deleted: &Deleted| {
            let rows: u64 = deleted.rows.values().sum();
            if rows / REPORT_EVERY > reported {
                reported = rows / REPORT_EVERY;
                context.output.note(&format!("{} rows deleted", grouped(rows)));
            }
        };
        PruneDocument::deleted(&service.prune(&context.order(false), options, progress).await?)
    };
    match context.output.format {
        Format::Json => context.output.document(&document),
        Format::Plain | Format::Table => {
            let heading = if dry.dry_run { "WOULD DELETE" } else { "DELETED" };
            context.output.list(&document.nouns, &["NOUN", heading, "SINCE"], |noun, output| {
                vec![noun.noun.to_string(), grouped(noun.rows), output.time_or_dash(noun.since)]
            });
            if document.nouns.is_empty() {
                context.output.note("nothing is kept for longer than [retention] says");
            }
        }
    }
    Ok(Exit::Success)
}

/// Shows how large the database and its tables are.
pub(super) async fn size(context: &CommandContext) -> Result<Exit> {
    let store = context.store().await?;
    let document = DatabaseSizeDocument::new(store.describe(), store.size().await?, store.pruned().await?);
    if context.output.format == Format::Json {
        context.output.document(&document);
        return Ok(Exit::Success);
    }
    let columns = ["TABLE", "ROWS", "BYTES", "INDEX BYTES"];
    context.output.list(&document.size.tables, &columns, |table, _| {
        vec![table.name.clone(), grouped(table.rows), grouped(table.bytes), grouped(table.index_bytes)]
    });
    let mut all = format!("{}: {} bytes", document.database, grouped(document.size.bytes));
    if let Some(free) = document.size.free_bytes {
        all.push_str(&format!(", {} of them free", grouped(free)));
    }
    if let Some(log) = document.size.log_bytes {
        all.push_str(&format!(", and {} in the log", grouped(log)));
    }
    context.output.note(&all);
    for pruned in &document.pruned {
        let (rows, since) = (grouped(pruned.deleted), context.output.time(pruned.since));
        context.output.note(&format!("{rows} {} deleted since {since}", pruned.noun));
    }
    Ok(Exit::Success)
}
