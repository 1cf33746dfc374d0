//! `gristmill quarantine redrive` and `import`: items run again as they are, patched, or edited in a spreadsheet.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::BatchId;
use gristmill_core::json;
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::QuarantineQuery;
use gristmill_service::Order;
use gristmill_service::control::quarantine_import::Imported;
use gristmill_service::documents::PatchReportDocument;
use gristmill_service::quarantine_sheet::Problem;
use gristmill_store::{Patch, PatchReport, QuarantineWhich};

use super::list::{DryRun, id};
use super::operation::{Awaited, Wanted, rate, start, without_query};
use super::waiting::Waiting;
use crate::cli::backend::quarantine::{As, How, Mending};
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, brief};
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::work::WaitFor;

/// The most problems that are shown at once.
const PROBLEMS_MAX: usize = 20;

/// How many items that could not be patched are shown.
const REFUSED_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct Redrive {
    /// The batch
    #[arg(required_unless_present = "query", conflicts_with = "query")]
    batch: Option<String>,
    #[command(flatten)]
    all: AllItems,
    /// Why; needed with --query
    #[arg(long, requires = "query")]
    reason: Option<String>,
    /// Only this item, by its number; may be repeated
    #[arg(long, value_name = "NUMBER", conflicts_with = "query")]
    item: Vec<i64>,
    /// Only those of which this holds: stage=NAME, reason=TEXT (it is in the reason), position=N or N..M; may be repeated
    #[arg(long = "where", value_name = "CONDITION", conflicts_with = "query")]
    conditions: Vec<String>,
    /// Change each with this JSON Patch (RFC 6902) before it runs: a file, or the patch itself
    #[arg(long, value_name = "FILE|JSON", conflicts_with = "query")]
    patch: Option<String>,
    /// How many items make a chunk
    #[arg(long, value_name = "N", default_value_t = 500, conflicts_with = "query", value_parser = clap::value_parser!(u64).range(1..=CHUNK_ITEMS_MAX))]
    chunk: u64,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: DryRun,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The batch
    batch: String,
    /// What `quarantine export` made, mended; - for standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// As what: a table, or JSON lines of which `id` and `item` count
    #[arg(long, value_enum, default_value = "csv")]
    format: As,
    /// What separates its columns, where that is not a comma
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    delimiter: String,
    /// Redrive the rows that were not changed as well
    #[arg(long)]
    also_unchanged: bool,
    /// How many items make a chunk
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=CHUNK_ITEMS_MAX))]
    chunk: u64,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: DryRun,
}

/// Which items of whichever batches, when it is all that a query selects.
#[derive(Debug, Clone, Args)]
struct AllItems {
    /// All open items that match, of whichever batches, as an operation, such as 'stage:parse reason:"not a number"' (docs/query.md)
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    query: Option<QuarantineQuery>,
    /// How many items a second at most
    #[arg(long, value_name = "N", requires = "query", value_parser = rate)]
    rate: Option<u32>,
}

/// Which items are discarded, and why.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("selected").required(true).args(["query"]))]
pub(super) struct Discard {
    #[command(flatten)]
    all: AllItems,
    /// Why: it is in the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    awaited: Awaited,
}

impl AllItems {
    /// Starts the operation that a query asks for; `None` without one.
    async fn operate(
        &self,
        context: &CommandContext,
        verb: OperationVerb,
        (reason, dry_run, wait): (Option<&String>, bool, Option<WaitFor>),
    ) -> Result<Option<Exit>> {
        let Some(QuarantineQuery(query)) = &self.query else { return without_query(self.rate) };
        let order = Order { reason: reason.cloned(), ..context.order(dry_run) };
        start(context, &order, Wanted { verb, query: query.clone(), rate: self.rate, wait }).await.map(Some)
    }
}

impl Discard {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let how = (self.reason.as_ref(), self.dry.dry_run, self.awaited.wait());
        let exit = self.all.operate(context, OperationVerb::DiscardItems, how).await?;
        exit.ok_or_else(|| CommandError::usage("nothing says which items to discard").hint("add --query"))
    }
}

impl Redrive {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let how = (self.reason.as_ref(), self.dry.dry_run, self.waiting.asked());
        if let Some(exit) = self.all.operate(context, OperationVerb::RedriveItems, how).await? {
            return Ok(exit);
        }
        let mut which = QuarantineWhich { items: self.item.clone(), ..QuarantineWhich::default() };
        for condition in &self.conditions {
            add(&mut which, condition)?;
        }
        let patch = self.patch.as_deref().map(read_patch).transpose()?;
        let batch = id("batch", self.batch.as_deref().unwrap_or_default())?;
        let (backend, order) = (context.backend().await?, context.order(self.dry.dry_run));
        let report = backend.redrive_quarantine(&order, batch, which, patch, self.chunk).await?;
        let waiting = if report.redriven == 0 { Waiting::default() } else { self.waiting };
        let exit = report_patched(context, &waiting, self.dry.dry_run, &report, None);
        waiting.batch(context, self.dry.dry_run, batch, exit).await
    }
}

/// Adds one condition.
fn add(which: &mut QuarantineWhich, condition: &str) -> Result<()> {
    let wrong = || {
        CommandError::usage(format!("`{condition}` is not a condition"))
            .hint("write `stage=parse`, `reason=is not a number`, `position=17` or `position=100..200`")
    };
    let (name, value) = condition.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(wrong)?;
    match name.trim() {
        "stage" => which.stage = Some(value.trim().to_owned()),
        "reason" => which.reason = Some(value.to_owned()),
        "position" => {
            let (from, to) = value.split_once("..").unwrap_or((value, value));
            let bound = |text: &str| match text.trim() {
                "" => Ok(None),
                number => number.parse().map(Some).map_err(|_| wrong()),
            };
            (which.from, which.to) = (bound(from)?, bound(to)?);
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

fn read_patch(given: &str) -> Result<Mending> {
    let inline = given.trim_start().starts_with('[');
    let text = if inline { given.to_owned() } else { text_of(Path::new(given))? };
    let place = if inline { "--patch".to_owned() } else { given.to_owned() };
    let patch = Patch::parse(&text).map_err(|wrong| CommandError::usage(format!("{place}: {wrong}")))?;
    let written = json::read(text.as_bytes()).map_err(|wrong| CommandError::usage(format!("{place}: {wrong}")))?;
    Ok(Mending { patch, written })
}

fn text_of(path: &Path) -> Result<String> {
    String::from_utf8(bytes_of(path)?)
        .map_err(|_| CommandError::usage(format!("`{}` is not a text in UTF-8", path.display())))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|error| CommandError::new(Exit::NotFound, format!("`{}` cannot be read: {error}", path.display())))?;
    Ok(bytes)
}

impl Import {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let batch: BatchId = id("batch", &self.batch)?;
        let delimiter = match self.delimiter.as_str() {
            "\\t" => b'\t',
            text if text.len() == 1 && text != "\"" => text.as_bytes()[0],
            other => {
                return Err(CommandError::usage(format!("`{other}` cannot separate columns"))
                    .hint("give one character, such as `;`, or `\\t` for a tab"));
            }
        };
        let place = self.file.display().to_string();
        let wrong = |problems: Vec<Problem>| refused(&place, &problems);
        let bytes = bytes_of(&self.file)?;
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            context.output.note("the file begins with a byte-order mark, as spreadsheets write it; it was taken off");
        }
        let (order, backend) = (context.order(self.dry.dry_run), context.backend().await?);
        let how = How { format: self.format, delimiter, also_unchanged: self.also_unchanged, chunk: self.chunk };
        let imported = backend.import_quarantine(&order, batch, how, bytes, wrong).await?;
        let Imported { report, unchanged, meanwhile } = imported;
        let waiting = if report.redriven == 0 { Waiting::default() } else { self.waiting };
        let mut exit = report_patched(context, &waiting, self.dry.dry_run, &report, Some(unchanged));
        if meanwhile > 0 {
            context.output.error(&format!("{meanwhile} of the items were redriven by somebody else meanwhile"));
            exit = Exit::Partial;
        }
        waiting.batch(context, self.dry.dry_run, batch, exit).await
    }
}

fn refused(place: &str, problems: &[Problem]) -> CommandError {
    let mut text = problems.iter().take(PROBLEMS_MAX).map(|problem| format!("{place}: {problem}")).collect::<Vec<_>>();
    if problems.len() > PROBLEMS_MAX {
        text.push(format!("and {} more", problems.len() - PROBLEMS_MAX));
    }
    CommandError::usage(text.join("\n")).hint("nothing was changed; mend the file and import it again")
}

/// Reports what a patch did, or would do. `left` is how many rows of a table were not changed and stay.
fn report_patched(
    context: &CommandContext,
    waiting: &Waiting,
    dry_run: bool,
    report: &PatchReport,
    left: Option<usize>,
) -> Exit {
    if context.output.format == Format::Json {
        waiting.report(context, dry_run, |dry_run| {
            context.output.document(&PatchReportDocument::new(dry_run, report, left));
        });
    } else {
        let what = if dry_run { "items that would be redriven" } else { "items redriven" };
        context.output.line(&format!("{what}: {}", report.redriven));
        for sample in &report.samples {
            let place = sample.line.map_or(format!("position {}", sample.position), |line| format!("line {line}"));
            context.output.note(&format!("  {} ({place})", sample.id));
            if sample.before != sample.after {
                context.output.note(&format!("    before {}", brief(&sample.before)));
                context.output.note(&format!("    after  {}", brief(&sample.after)));
            }
        }
        if let Some(generation) = report.generation {
            context.output.note(&format!("  generation {generation}"));
        }
        if let Some(left) = left.filter(|left| *left > 0) {
            context
                .output
                .note(&format!("{left} rows were not changed: their items stay in quarantine (`--also-unchanged`)"));
        }
    }
    if report.kept == 0 {
        return Exit::Success;
    }
    context.output.error(&format!("{} items cannot be mended so and stay in quarantine:", report.kept));
    for (id, why) in report.refused.iter().take(REFUSED_SHOWN) {
        context.output.error(&format!("  {id}: {why}"));
    }
    if dry_run { Exit::Success } else { Exit::Partial }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_others_refused() {
        let mut which = QuarantineWhich::default();
        for condition in ["stage=parse", "reason=a=b", "position=3..9"] {
            add(&mut which, condition).expect(condition);
        }
        assert_eq!((which.stage.as_deref(), which.reason.as_deref()), (Some("parse"), Some("a=b")));
        assert_eq!((which.from, which.to), (Some(3), Some(9)));
        add(&mut which, "position=..5").expect("an upper end");
        assert_eq!((which.from, which.to), (None, Some(5)));
        add(&mut which, "position=7").expect("one");
        assert_eq!((which.from, which.to), (Some(7), Some(7)));
        for condition in ["", "stage", "stage=", "color=red", "position=a..b", "position=-1"] {
            assert!(add(&mut which, condition).is_err(), "{condition}");
        }
    }
}
