//! `gristmill quarantine`: look at items that were set aside, export and redrive them.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gristmill_client::http::Call;
use gristmill_core::formula::Formulas;
use gristmill_core::id::BatchId;
use gristmill_service::documents::ExportedItemDocument;
use gristmill_service::pages;
use gristmill_service::quarantine_table as table;
use gristmill_store::{QuarantineFilter, QuarantineView};
use serde_json::json;

use super::list::{Paging, id};
use super::quarantine_patch::{Discard, Import, Redrive};
use super::query::QuarantineAsked;
use crate::cli::backend::quarantine::As;
use crate::cli::context::CommandContext;
use crate::cli::output::{brief, visible};
use crate::exit_code::{CommandError, Exit, Result};
use crate::remote::Remote;

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
        asked: QuarantineAsked,
        #[command(flatten)]
        paging: Paging,
    },
    /// One item with its reason
    Show {
        /// Its number
        id: i64,
    },
    /// The items of a batch with their reasons: as JSON lines, or as a table to be mended in a spreadsheet
    #[command(before_help = "Examples:
  gristmill quarantine export 0198f9c1-… --to mend.jsonl
  gristmill quarantine export 0198f9c1-… --format csv > mend.csv
  gristmill quarantine export 0198f9c1-… | jq .item

A cell that begins with =, +, - or @ is a formula to a spreadsheet: open tables of strangers' items as text.")]
    Export {
        /// The batch
        batch: String,
        /// Where to; standard output unless said. An existing file is not overwritten
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// As what
        #[arg(long, value_enum, default_value_t)]
        format: As,
        /// Also those that were redriven already
        #[arg(long)]
        all: bool,
        /// In a table: leave texts as they are that a spreadsheet would compute
        #[arg(long)]
        keep_formulas: bool,
    },
    /// Run items of a batch once more, as they are or patched; one that has ended opens its next generation
    #[command(before_help = "Examples:
  gristmill quarantine redrive 0198f9c1-… --dry-run
  gristmill quarantine redrive 0198f9c1-… --item 17 --item 18 --wait
  gristmill quarantine redrive 0198f9c1-… --where stage=parse --where 'reason=is not a number' \\
      --patch '[{\"op\": \"replace\", \"path\": \"/Quantity\", \"value\": \"1\"}]' --dry-run
  gristmill quarantine redrive --query 'stage:enrich created:2026-11-19..' --reason 'supplier is back'

A query is carried out by the scheduler, in steps, as an operation over the items of all batches.")]
    Redrive(Redrive),
    /// Take all items that match out of the quarantine, and delete them when that can be undone no more
    #[command(before_help = "Examples:
  gristmill quarantine discard --query 'batch:0198f9c1-…' --reason 'a trial' --dry-run
  gristmill quarantine discard --query 'stage:parse reason:\"not a number\"' --reason 'known to be wrong'

They stay counted as quarantined in their batch. Export them first where they are to be kept.")]
    Discard(Discard),
    /// Run items once more as somebody has mended them in an export
    #[command(before_help = "Examples:
  gristmill quarantine export 0198f9c1-… --format csv > mend.csv
  gristmill quarantine import 0198f9c1-… --file mend.csv --dry-run
  gristmill quarantine import 0198f9c1-… --file mend.csv
  gristmill quarantine import 0198f9c1-… --file mend.jsonl --format jsonl")]
    Import(Import),
}

impl Quarantine {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List { batch, open, asked, paging } => {
                let batch = batch.as_deref().map(|text| id("batch", text)).transpose()?;
                let (tenant, query) = (context.tenant.clone(), asked.as_of_now(context).await?);
                let filter = QuarantineFilter { tenant, batch, open_only: open, query };
                let items = context.backend().await?.quarantine(&filter, &paging.page()).await?;
                rows(context, &items);
                paging.next(context, items.len(), items.last().map(|item| item.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id } => show(context, id).await,
            Verb::Export { batch, to, format, all, keep_formulas } => {
                let batch = id("batch", &batch)?;
                let formulas = if keep_formulas { Formulas::Keep } else { Formulas::Escape };
                match format {
                    As::Jsonl => export(context, batch, to, all).await,
                    As::Csv => export_csv(context, batch, to, all, formulas).await,
                }
            }
            Verb::Redrive(redrive) => redrive.run(context).await,
            Verb::Discard(discard) => discard.run(context).await,
            Verb::Import(import) => import.run(context).await,
        }
    }
}

fn rows(context: &CommandContext, items: &[QuarantineView]) {
    context.output.list(items, &["ID", "BATCH", "POSITION", "LINE", "STAGE", "STATE", "REASON"], |item, _| {
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

async fn show(context: &CommandContext, number: i64) -> Result<Exit> {
    let item = context.backend().await?.quarantined(number).await?.ok_or_else(|| {
        CommandError::not_found(format!("there is no item {number} in the quarantine of `{}`", context.tenant))
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
        ("set aside", context.output.time(item.created_at)),
        ("item", brief(&item.item)),
    ];
    context.output.fields(&item, &fields);
    Ok(Exit::Success)
}

async fn export(context: &CommandContext, batch: BatchId, to: Option<PathBuf>, all: bool) -> Result<Exit> {
    if let Some(server) = context.remote() {
        return export_from(context, server, (batch, As::Jsonl), to, all).await;
    }
    let store = context.store().await?;
    if store.batch(&context.tenant, batch).await?.is_none() {
        return Err(CommandError::not_found(format!("there is no batch {batch} of `{}`", context.tenant)));
    }
    let mut sink = sink(to.as_deref())?;
    let tenant = context.tenant.clone();
    let filter = QuarantineFilter { tenant, batch: Some(batch), open_only: !all, ..QuarantineFilter::default() };
    let mut exported: u64 = 0;
    let write = |items: Vec<QuarantineView>| {
        for item in &items {
            let line = json!(ExportedItemDocument::from(item));
            writeln!(sink, "{line}").map_err(|error| {
                CommandError::new(Exit::Failed, format!("the export broke off after {exported} items: {error}"))
            })?;
            exported += 1;
        }
        Ok::<_, CommandError>(())
    };
    pages::every(async |page| store.quarantine(&filter, &page).await, |item| item.id.to_string(), write).await?;
    sink.flush().map_err(|error| CommandError::new(Exit::Failed, format!("the export broke off: {error}")))?;
    context.output.note(&format!("{exported} items exported"));
    Ok(Exit::Success)
}

/// The lines as a server sends them.
async fn export_from(
    context: &CommandContext,
    server: &Remote,
    (batch, form): (BatchId, As),
    to: Option<PathBuf>,
    all: bool,
) -> Result<Exit> {
    // A batch that is not there leaves no empty file behind.
    context.backend().await?.batch(batch).await?;
    let (mut sink, mut exported) = (sink(to.as_deref())?, 0);
    let call = Call::get(&["batches", &batch.to_string(), "quarantine", "export"]).flag("all", all);
    let call = if form == As::Csv { call.param("as", "csv") } else { call };
    let broke = |error: std::io::Error| format!("the export broke off: {error}");
    let take = |piece: &[u8]| {
        exported += piece.iter().filter(|byte| **byte == b'\n').count();
        sink.write_all(piece).map_err(broke)
    };
    server.download(&call, take).await?;
    sink.flush().map_err(|error| CommandError::new(Exit::Failed, broke(error)))?;
    // A cell may have several lines: then it is not known how many items a table has.
    match form {
        As::Jsonl => context.output.note(&format!("{exported} items exported")),
        As::Csv => context.output.note("exported"),
    }
    Ok(Exit::Success)
}

fn sink(to: Option<&Path>) -> Result<Box<dyn Write + Send>> {
    let Some(path) = to else {
        let stdout = std::io::stdout();
        // A program gets what was there; a terminal would obey it.
        return Ok(if stdout.is_terminal() { Box::new(Shown::new(stdout)) } else { Box::new(stdout) });
    };
    let file = std::fs::File::create_new(path)
        .map_err(|error| CommandError::new(Exit::Conflict, format!("`{}` cannot be made: {error}", path.display())))?;
    Ok(Box::new(std::io::BufWriter::new(file)))
}

/// Writes whole texts to a terminal, at each flush and at the end, with what it would obey shown as escapes.
struct Shown<W: Write> {
    to: W,
    waiting: Vec<u8>,
}

impl<W: Write> Shown<W> {
    fn new(to: W) -> Self {
        Self { to, waiting: Vec::new() }
    }
}

impl<W: Write> Write for Shown<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.waiting)).into_owned();
        self.to.write_all(visible(&text).as_bytes())?;
        self.to.flush()
    }
}

/// A table has all its columns in its first line, so the items are read before anything is written. A server writes it by
/// itself.
async fn export_csv(
    context: &CommandContext,
    batch: BatchId,
    to: Option<PathBuf>,
    all: bool,
    formulas: Formulas,
) -> Result<Exit> {
    if let Some(server) = context.remote() {
        if formulas == Formulas::Keep {
            return Err(CommandError::usage("a server leaves no formulas in its tables")
                .hint("leave --keep-formulas out, or export JSON lines"));
        }
        return export_from(context, server, (batch, As::Csv), to, all).await;
    }
    let found = context.service().await?.quarantine_of(&context.tenant, batch).await;
    let (source, items) = found?;
    let columns = table::columns(&source, items.iter().map(|item| &item.item)).map_err(CommandError::usage)?;
    let mut writer = csv::Writer::from_writer(sink(to.as_deref())?);
    let broke = |error: String| CommandError::new(Exit::Failed, format!("the export broke off: {error}"));
    let header = table::ABOUT.iter().copied().chain(columns.iter().map(String::as_str));
    writer
        .write_record(header.map(|column| formulas.cell(column).into_owned()))
        .map_err(|error| broke(error.to_string()))?;
    let mut exported: u64 = 0;
    for item in items.iter().filter(|item| all || item.state == "open") {
        let row = table::row(item, &columns);
        writer
            .write_record(row.iter().map(|cell| formulas.cell(cell).into_owned()))
            .map_err(|error| broke(error.to_string()))?;
        exported += 1;
    }
    writer.flush().map_err(|error| broke(error.to_string()))?;
    context.output.note(&format!("{exported} items exported"));
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_a_terminal_is_whole_texts_with_escapes() {
        let mut shown = Shown::new(Vec::new());
        for piece in ["é\u{1b}[2J\n".as_bytes(), b"a,b\n"].concat().chunks(1) {
            shown.write_all(piece).expect("kept");
        }
        shown.flush().expect("written");
        assert_eq!(String::from_utf8(shown.to).expect("UTF-8"), "é\\u{1b}[2J\na,b\n");
    }
}
