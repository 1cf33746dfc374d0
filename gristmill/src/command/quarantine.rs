//! `gristmill quarantine`: look at items that were set aside, export and redrive them.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::BatchId;
use gristmill_store::{Page, QuarantineFilter, QuarantineRedrive, QuarantineView};
use serde_json::json;

use super::list::{DryRun, Paging, id, report};
use crate::door::Door;
use crate::exit_code::{CommandError, Exit, Result};
use crate::output::brief;

/// Look at items that were set aside, export and redrive them
#[derive(Debug, Args)]
pub(crate) struct Quarantine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Items that were set aside, oldest first
    #[command(before_help = "Examples:
  gristmill quarantine list --batch 0198f9c1-…
  gristmill quarantine list --batch 0198f9c1-… --open --json")]
    List {
        /// Only of this batch
        #[arg(long, value_name = "ID")]
        batch: Option<String>,
        /// Only those that were not redriven
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// One item with its reason
    Show {
        /// Its number
        id: i64,
    },
    /// The items of a batch as JSON lines, each with its reason
    #[command(before_help = "Examples:
  gristmill quarantine export 0198f9c1-… --to mend.jsonl
  gristmill quarantine export 0198f9c1-… | jq .item")]
    Export {
        /// The batch
        batch: String,
        /// Where to; standard output unless said. An existing file is not overwritten
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Also those that were redriven already
        #[arg(long)]
        all: bool,
    },
    /// Run items of a batch once more; one that has ended opens its next generation
    #[command(before_help = "Examples:
  gristmill quarantine redrive 0198f9c1-… --dry-run
  gristmill quarantine redrive 0198f9c1-… --item 17 --item 18")]
    Redrive {
        /// The batch
        batch: String,
        /// Only this item, by its number; may be repeated
        #[arg(long, value_name = "NUMBER")]
        item: Vec<i64>,
        /// How many items make a chunk
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=CHUNK_ITEMS_MAX))]
        chunk: u64,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Quarantine {
    pub(super) async fn run(self, door: &Door) -> Result<Exit> {
        match self.verb {
            Verb::List { batch, open, paging } => {
                let batch = batch.as_deref().map(|text| id("batch", text)).transpose()?;
                let filter = QuarantineFilter { tenant: door.tenant.clone(), batch, open_only: open };
                let items = door.store().await?.quarantine(&filter, &paging.page()).await?;
                rows(door, &items);
                paging.next(door, items.len(), items.last().map(|item| item.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id } => show(door, id).await,
            Verb::Export { batch, to, all } => export(door, id("batch", &batch)?, to, all).await,
            Verb::Redrive { batch, item, chunk, dry } => {
                let redrive = QuarantineRedrive { batch: id("batch", &batch)?, items: item, chunk };
                let steered = door.store().await?.redrive_quarantine(&door.tenant, &redrive, dry.dry_run).await?;
                door.publish(&steered.dispatched).await;
                report(door, dry.dry_run, "items redriven", "items that would be redriven", &steered);
                Ok(Exit::Success)
            }
        }
    }
}

fn rows(door: &Door, items: &[QuarantineView]) {
    door.output.list(items, &["ID", "BATCH", "POSITION", "LINE", "STAGE", "STATE", "REASON"], |item, _| {
        vec![
            item.id.to_string(),
            item.batch.to_string(),
            item.position.to_string(),
            item.line.map_or("-".to_owned(), |line| line.to_string()),
            item.stage.clone(),
            item.state.clone(),
            item.reason.clone(),
        ]
    });
}

async fn show(door: &Door, number: i64) -> Result<Exit> {
    let filter = QuarantineFilter { tenant: door.tenant.clone(), batch: None, open_only: false };
    let page = Page { after: number.checked_sub(1).map(|before| before.to_string()), limit: 1 };
    let items = door.store().await?.quarantine(&filter, &page).await?;
    let item = items.into_iter().find(|item| item.id == number).ok_or_else(|| {
        CommandError::not_found(format!("there is no item {number} in the quarantine of `{}`", door.tenant))
            .hint("see `gristmill quarantine list` for the numbers")
    })?;
    let fields = [
        ("id", item.id.to_string()),
        ("batch", item.batch.to_string()),
        ("generation", item.generation.to_string()),
        ("chunk", item.seq.to_string()),
        ("position", item.position.to_string()),
        ("line", item.line.map_or("-".to_owned(), |line| line.to_string())),
        ("stage", item.stage.clone()),
        ("reason", item.reason.clone()),
        ("state", item.state.clone()),
        ("set aside", door.output.time(item.created_at)),
        ("item", brief(&item.item)),
    ];
    door.output.thing(&item, &fields);
    Ok(Exit::Success)
}

async fn export(door: &Door, batch: BatchId, to: Option<PathBuf>, all: bool) -> Result<Exit> {
    let store = door.store().await?;
    if store.batch(&door.tenant, batch).await?.is_none() {
        return Err(CommandError::not_found(format!("there is no batch {batch} of `{}`", door.tenant)));
    }
    let mut sink: Box<dyn Write + Send> = match &to {
        None => Box::new(std::io::stdout()),
        Some(path) => Box::new(std::io::BufWriter::new(std::fs::File::create_new(path).map_err(|error| {
            CommandError::new(Exit::Conflict, format!("`{}` cannot be made: {error}", path.display()))
        })?)),
    };
    let filter = QuarantineFilter { tenant: door.tenant.clone(), batch: Some(batch), open_only: !all };
    let mut page = Page { after: None, limit: 1_000 };
    let mut exported: u64 = 0;
    loop {
        let items = store.quarantine(&filter, &page).await?;
        for item in &items {
            let line = json!({
                "id": item.id, "position": item.position, "line": item.line, "stage": item.stage,
                "reason": item.reason, "item": item.item,
            });
            writeln!(sink, "{line}").map_err(|error| {
                CommandError::new(Exit::Failed, format!("the export broke off after {exported} items: {error}"))
            })?;
            exported += 1;
        }
        match items.last() {
            Some(last) if items.len() == 1_000 => page.after = Some(last.id.to_string()),
            _ => break,
        }
    }
    sink.flush().map_err(|error| CommandError::new(Exit::Failed, format!("the export broke off: {error}")))?;
    door.output.note(&format!("{exported} items exported"));
    Ok(Exit::Success)
}
