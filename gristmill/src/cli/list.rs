//! What the commands that list and control things share: pages by key, dry runs, reasons.

use std::str::FromStr;

use clap::Args;
use gristmill_service::documents::ReportDocument;
use gristmill_service::{Actor, Order};
use gristmill_store::{ControlReport, Page, PauseView};

use crate::cli::context::CommandContext;
use crate::cli::output::{Format, Output};
use crate::exit_code::{CommandError, Result};

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct Paging {
    /// Begin after this key: the last one of the page before
    #[arg(long, value_name = "KEY")]
    pub(crate) after: Option<String>,
    /// How many rows, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

impl Paging {
    /// The page as the store takes it.
    pub(crate) fn page(&self) -> Page {
        Page { after: self.after.clone(), limit: self.limit }
    }

    /// Reports how to see the next page, if this one is full.
    pub(crate) fn next(&self, context: &CommandContext, shown: usize, last: Option<String>) {
        let full = u32::try_from(shown).is_ok_and(|shown| shown >= self.limit);
        if let Some(last) = last.filter(|_| full) {
            context.output.note(&format!("more: {}", context.again(&["--after", &last])));
        }
    }
}

/// Whether to change anything.
#[derive(Debug, Clone, Args)]
pub(crate) struct DryRun {
    /// Say what would change, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Who pauses and why.
#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    /// Why: whoever looks later is shown it
    #[arg(long)]
    reason: Option<String>,
    /// Who pauses; USER@HOST if not given
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

impl Why {
    /// The order to pause.
    ///
    /// # Errors
    ///
    /// When a server is told who pauses: it knows who calls.
    pub(crate) fn order(&self, context: &CommandContext, dry: &DryRun) -> Result<Order> {
        if self.by.is_some() && context.remote().is_some() {
            return Err(CommandError::usage("--by: a server writes down who calls it").hint("leave it out"));
        }
        let order = context.order(dry.dry_run);
        let actor = self.by.clone().map_or(order.actor, Actor::Operator);
        Ok(Order { actor, reason: self.reason.clone(), ..order })
    }
}

/// A pause for people: since when, by whom, why.
pub(crate) fn describe_pause(pause: &PauseView, output: &Output) -> String {
    let by = pause.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = pause.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{}{by}{why}", output.time(pause.since))
}

/// Reports what a controlling command did, or would do.
pub(crate) fn report(context: &CommandContext, dry_run: bool, done: &str, would: &str, control_report: &ControlReport) {
    match context.output.format {
        Format::Json => context.output.document(&ReportDocument::new(dry_run, control_report)),
        Format::Plain | Format::Table => {
            let verb = if dry_run { would } else { done };
            context.output.line(&format!("{verb}: {}", control_report.affected));
            for sample in &control_report.samples {
                context.output.note(&format!("  {sample}"));
            }
            if let Some(generation) = control_report.generation {
                context.output.note(&format!("  generation {generation}"));
            }
        }
    }
}

/// Reads an id.
///
/// # Errors
///
/// When it is not an id.
pub(crate) fn id<T: FromStr>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        CommandError::usage(format!("`{text}` is not the id of a {what}"))
            .hint(format!("see `gristmill {what} list` for the ids"))
    })
}
