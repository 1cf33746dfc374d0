//! `gristmill operation`: look at operations over many jobs, quarantined items or batches, cancel and undo them; and how other commands start them.

use std::time::Duration;

use clap::{Args, Subcommand};
use gristmill_core::duration;
use gristmill_core::id::OperationId;
use gristmill_core::operation::{OperationState, OperationVerb, RATE_MAX};
use gristmill_core::query::{BatchQuery, Query};
use gristmill_service::Order;
use gristmill_service::control::operation::OperationRequest;
use gristmill_service::documents::{OperationDocument, WouldOperateDocument};

use super::list::{DryRun, Paging, id};
use super::wait::Patience;
use crate::cli::backend::operations::Started;
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, grouped};
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::work::WaitFor;

/// How often a command that waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Look at operations over many jobs, items or batches, cancel and undo them
#[derive(Debug, Args)]
pub(crate) struct Operation {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Operations, newest first
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// One operation, with how far it is
    #[command(before_help = "Examples:
  gristmill operation show 0198f9c1-…
  gristmill operation show 0198f9c1-… --wait=10m")]
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        waiting: Awaited,
    },
    /// Call operations off that are running: what they have changed stays so
    Cancel(Named),
    /// Bring back what an operation has changed, where nothing happened to it since
    #[command(before_help = "Examples:
  gristmill operation undo 0198f9c1-… --dry-run
  gristmill operation undo 0198f9c1-… --reason 'wrong filter' --wait

A cancel or a discard can be undone while it runs and until `[retention] undo` after its end. What has changed since stays
as it is, and is counted: a job whose unique key is taken, a chunk whose batch is over. Batches that were cancelled are
restarted.")]
    Undo(Named),
}

/// Which operation, and why.
#[derive(Debug, Args)]
struct Named {
    /// Its id
    id: String,
    /// Why: it is in the audit
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    waiting: Awaited,
}

/// Whether a command waits for the end of an operation.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Awaited {
    /// Wait until the operation has ended, at most so long; on the database itself its steps are made here as well
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "forever")]
    wait: Option<WaitFor>,
}

/// What other commands say of the operation that they start.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// What is done to each job, item or batch.
    pub(super) verb: OperationVerb,
    /// Which.
    pub(super) query: Query,
    /// How many a second at most.
    pub(super) rate: Option<u32>,
    /// How long the command waits for its end.
    pub(super) wait: Option<WaitFor>,
}

/// For which batches a command is, when it is for all that a query selects.
#[derive(Debug, Clone, Args)]
pub(super) struct AllBatches {
    /// All that match, as an operation, such as 'name:retail created:2026-11-19..' (docs/query.md)
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    query: Option<BatchQuery>,
    /// How many batches a second at most
    #[arg(long, value_name = "N", requires = "query", value_parser = rate)]
    rate: Option<u32>,
}

impl AllBatches {
    /// Starts the operation that a query asks for; `None` without one.
    ///
    /// # Errors
    ///
    /// As for [`start`].
    pub(super) async fn operate(
        &self,
        context: &CommandContext,
        verb: OperationVerb,
        (order, wait): (&Order, Option<WaitFor>),
    ) -> Result<Option<Exit>> {
        let Some(BatchQuery(query)) = &self.query else { return without_query(self.rate) };
        start(context, order, Wanted { verb, query: query.clone(), rate: self.rate, wait }).await.map(Some)
    }
}

/// Nothing to start, and so no rate to keep.
pub(super) fn without_query(rate: Option<u32>) -> Result<Option<Exit>> {
    match rate {
        None => Ok(None),
        Some(_) => Err(CommandError::usage("--rate is for what --query starts: all else is done at once")),
    }
}

/// Why, where a command needs that only for an operation.
#[derive(Debug, Clone, Args)]
pub(super) struct OperationReason {
    /// Why; needed with --query
    #[arg(long, requires = "query")]
    reason: Option<String>,
}

impl OperationReason {
    /// The order, with this reason.
    pub(super) fn order(&self, context: &CommandContext, dry: &DryRun) -> Order {
        Order { reason: self.reason.clone(), ..context.order(dry.dry_run) }
    }
}

/// Reads a rate: `500`, or `500/s`.
pub(super) fn rate(text: &str) -> std::result::Result<u32, String> {
    let number = text.trim().trim_end_matches("/s");
    let rate = number.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a rate; write how many a second, 1 to {RATE_MAX}, such as 500/s"))
}

impl Operation {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List { paging } => {
                let found = context.backend().await?.operations(&paging.page()).await?;
                rows(context, &found);
                paging.next(context, found.len(), found.last().map(|operation| operation.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id: text, waiting } => {
                let found = context.backend().await?.operation(id("operation", &text)?).await?;
                waiting.end(context, found).await
            }
            Verb::Cancel(named) => {
                let (operation, order) = named.read(context)?;
                let done = context.backend().await?.cancel_operation(&order, operation).await?;
                named.report(context, done).await
            }
            Verb::Undo(named) => {
                let (operation, order) = named.read(context)?;
                let done = context.backend().await?.undo_operation(&order, operation).await?;
                named.report(context, done).await
            }
        }
    }
}

impl Named {
    fn read(&self, context: &CommandContext) -> Result<(OperationId, Order)> {
        let order = context.order(self.dry.dry_run);
        Ok((id("operation", &self.id)?, Order { reason: self.reason.clone(), ..order }))
    }

    /// A dry run shows it as it is: it could be done.
    async fn report(&self, context: &CommandContext, done: OperationDocument) -> Result<Exit> {
        if self.dry.dry_run {
            context.output.note("nothing was changed; it could be");
            show(context, &done);
            return Ok(Exit::Success);
        }
        self.waiting.end(context, done).await
    }
}

impl Awaited {
    /// How long the command waits.
    pub(super) fn wait(self) -> Option<WaitFor> {
        self.wait
    }

    /// Shows an operation, at its end if that is waited for.
    async fn end(self, context: &CommandContext, operation: OperationDocument) -> Result<Exit> {
        match self.wait {
            Some(wait) => follow(context, operation, wait).await,
            None => {
                show(context, &operation);
                Ok(Exit::Success)
            }
        }
    }
}

/// Starts an operation, or says what it would do.
///
/// # Errors
///
/// When the query selects everything or nothing ever, without a reason, or when the store refuses.
pub(super) async fn start(context: &CommandContext, order: &Order, wanted: Wanted) -> Result<Exit> {
    let Wanted { verb, query, rate, wait } = wanted;
    verb.check(&query).map_err(CommandError::usage)?;
    if order.reason.is_none() && !order.dry_run {
        return Err(CommandError::usage("an operation needs a reason")
            .hint("add --reason 'why', or --dry-run to see what it would do"));
    }
    let request = OperationRequest { verb, query, rate, snapshot: None, id: None };
    match context.backend().await?.start_operation(order, &request).await? {
        Started::Would(would) => {
            would_do(context, &would);
            Ok(Exit::Success)
        }
        Started::Done(operation) => match wait {
            Some(wait) => {
                began(context, &operation, true);
                follow(context, operation, wait).await
            }
            None => {
                began(context, &operation, false);
                Ok(Exit::Success)
            }
        },
    }
}

/// How many, as far as they were counted.
fn count(matches: u64, more: bool) -> String {
    if more { format!("more than {}", grouped(matches)) } else { grouped(matches) }
}

/// How many of what a verb is done to.
fn counted(verb: OperationVerb, matches: u64, more: bool) -> String {
    let (one, several) = verb.subjects().names();
    format!("{} {}", count(matches, more), if matches == 1 && !more { one } else { several })
}

fn would_do(context: &CommandContext, would: &WouldOperateDocument) {
    if context.output.format == Format::Json {
        return context.output.document(would);
    }
    let many = counted(would.verb, would.matches, would.more);
    context.output.line(&format!("would {}: {many}{}", would.verb.word(), pace(would.rate, would.matches)));
    would.samples.iter().for_each(|sample| context.output.note(&format!("  {sample}")));
}

/// At which rate, and how long that takes.
fn pace(rate: Option<u32>, matches: u64) -> String {
    let Some(rate) = rate else { return String::new() };
    let seconds = matches.div_ceil(u64::from(rate.max(1)));
    format!(" at {rate}/s, about {}", duration::format(Duration::from_secs(seconds)))
}

/// Says what was started, and what to do next.
fn began(context: &CommandContext, operation: &OperationDocument, waits: bool) {
    if context.output.format == Format::Json {
        if !waits {
            context.output.document(operation);
        }
        return;
    }
    let OperationDocument { id, verb, query, preview, preview_more, rate, .. } = operation;
    let (many, pace) = (counted(*verb, *preview, *preview_more), pace(*rate, *preview));
    context.output.line(&format!("operation {id} started: {} {many} ({query}){pace}", verb.word()));
    let program = context.program_here();
    if !waits {
        context.output.note(&format!("follow: {program} operation show {id} --wait"));
    }
    if operation.can_be_undone {
        context.output.note(&format!("undo: {program} operation undo {id}"));
    }
}

/// Waits for the end of an operation. On the database itself its steps are made here, too: no scheduler need run.
async fn follow(context: &CommandContext, mut operation: OperationDocument, wait: WaitFor) -> Result<Exit> {
    let (backend, patience) = (context.backend().await?, Patience::at_most(wait.at_most()));
    while operation.state.is_under_way() {
        if patience.over() {
            show(context, &operation);
            context.output.error("the wait is over; the operation goes on where a scheduler runs");
            return Ok(Exit::TimedOut);
        }
        if backend.step_operations().await? == 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        operation = backend.operation(operation.id).await?;
    }
    show(context, &operation);
    Ok(exit_of(&operation))
}

/// The exit code of an end: 6 when some jobs could not be changed, or brought back.
fn exit_of(operation: &OperationDocument) -> Exit {
    match operation.state {
        OperationState::Cancelled => Exit::Cancelled,
        OperationState::Undone if operation.undo_failed > 0 => Exit::Partial,
        OperationState::Finished if operation.failed > 0 => Exit::Partial,
        _ => Exit::Success,
    }
}

fn rows(context: &CommandContext, found: &[OperationDocument]) {
    context.output.list(
        found,
        &["ID", "VERB", "STATE", "DONE", "OF", "FAILED", "ACTOR", "STARTED", "QUERY"],
        |operation, output| {
            vec![
                operation.id.to_string(),
                operation.verb.to_string(),
                operation.state.to_string(),
                grouped(operation.done),
                count(operation.preview, operation.preview_more),
                grouped(operation.failed),
                operation.actor.clone(),
                output.time(operation.created_at),
                operation.query.clone(),
            ]
        },
    );
}

fn show(context: &CommandContext, operation: &OperationDocument) {
    let output = &context.output;
    let rate = operation.rate.map_or("as fast as it goes".to_owned(), |rate| format!("{rate}/s"));
    let mut fields = vec![
        ("id", operation.id.to_string()),
        ("verb", operation.verb.to_string()),
        ("query", operation.query.clone()),
        ("as of", output.time(operation.snapshot)),
        ("state", operation.state.to_string()),
        ("matched", count(operation.preview, operation.preview_more)),
        ("done", grouped(operation.done)),
        ("failed", grouped(operation.failed)),
        ("skipped", grouped(operation.skipped)),
        ("rate", rate),
        ("actor", operation.actor.clone()),
        ("reason", operation.reason.clone()),
        ("started", output.time(operation.created_at)),
        ("ended", output.time_or_dash(operation.ended_at)),
    ];
    if operation.undone + operation.undo_failed > 0 {
        fields.push(("brought back", grouped(operation.undone)));
        fields.push(("not brought back", grouped(operation.undo_failed)));
    }
    if let Some(error) = &operation.error {
        fields.push(("last error", error.clone()));
    }
    if let Some(until) = operation.undo_until.filter(|_| operation.can_be_undone) {
        fields.push(("can be undone", format!("until {}", output.time(until))));
    }
    output.fields(operation, &fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second() {
        assert_eq!((rate("500"), rate("500/s")), (Ok(500), Ok(500)));
        for odd in ["0", "", "-1", "5/m", "fast", "99999999999"] {
            assert!(rate(odd).expect_err(odd).contains("500/s"), "{odd}");
        }
    }

    #[test]
    fn a_rate_says_how_long_it_takes() {
        assert_eq!(pace(Some(200), 12_481), " at 200/s, about 1m3s");
        assert_eq!(pace(None, 12_481), "");
        assert_eq!(count(12_481, false), grouped(12_481));
        assert!(count(100_000, true).starts_with("more than"));
    }
}
