//! `gristmill poison`: look at messages that no worker can act upon, and forget them.

use clap::{Args, Subcommand};
use gristmill_store::PoisonView;

use super::list::{DryRun, Paging, report};
use crate::cli::context::CommandContext;
use crate::cli::output::grouped;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at messages that cannot be read or name no job, and forget them
#[derive(Debug, Args)]
pub(crate) struct Poison {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Messages that were kept, newest first
    #[command(before_help = "Examples:
  gristmill poison list
  gristmill poison list --json | jq '.[].reason'")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// One message with its headers and its bytes: as text where they are, else in hexadecimal
    #[command(before_help = "Examples:
  gristmill poison show 17
  gristmill poison show 17 --hex")]
    Show {
        /// Its number
        id: i64,
        /// The bytes in hexadecimal in any case
        #[arg(long)]
        hex: bool,
    },
    /// Forget messages
    #[command(before_help = "Examples:
  gristmill poison drop 17 18
  gristmill poison drop --all --dry-run")]
    Drop {
        /// Their numbers
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<i64>,
        /// All that are there when the command starts
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Poison {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List { paging } => {
                let found = context.backend().await?.poison(&paging.page()).await?;
                rows(context, &found);
                paging.next(context, found.len(), found.last().map(|one| one.id.to_string()));
                Ok(Exit::Success)
            }
            Verb::Show { id, hex } => show(context, id, hex).await,
            Verb::Drop { ids, all, dry } => {
                let ids = if all { context.backend().await?.all_poison().await? } else { ids };
                forget(context, &ids, all, &dry).await
            }
        }
    }
}

fn rows(context: &CommandContext, found: &[PoisonView]) {
    context.output.list(found, &["ID", "QUEUE", "SEEN", "LAST", "BYTES", "SOURCE", "REASON"], |one, output| {
        vec![
            one.id.to_string(),
            queue(one),
            grouped(one.seen),
            output.time(one.last_at),
            grouped(one.size),
            one.source.clone(),
            printable(&one.reason),
        ]
    });
}

async fn show(context: &CommandContext, id: i64, hex: bool) -> Result<Exit> {
    let document = context.backend().await?.poison_message(id, hex).await?.ok_or_else(|| nobody(id))?;
    let view = &document.message;
    let fields = [
        ("id", view.id.to_string()),
        ("queue", queue(view)),
        ("reason", printable(&view.reason)),
        ("source", view.source.clone()),
        ("seen", grouped(view.seen)),
        ("first", context.output.time(view.first_at)),
        ("last", context.output.time(view.last_at)),
        ("sha256", view.sha256.clone()),
        ("size", format!("{} bytes, {} kept", grouped(view.size), grouped(document.kept as u64))),
        ("headers", printable(&document.headers.to_string())),
        (document.encoding.as_str(), document.body.clone()),
    ];
    context.output.fields(&document, &fields);
    Ok(Exit::Success)
}

async fn forget(context: &CommandContext, ids: &[i64], all: bool, dry: &DryRun) -> Result<Exit> {
    let total = context.backend().await?.drop_poison(&context.order(dry.dry_run), ids).await?;
    if let (0, false, [first, ..]) = (total.affected, all, ids) {
        return Err(nobody(*first));
    }
    report(context, dry.dry_run, "messages forgotten", "messages that would be forgotten", &total);
    Ok(Exit::Success)
}

fn nobody(id: i64) -> CommandError {
    CommandError::not_found(format!("there is no message {id} among the poison"))
        .hint("see `gristmill poison list` for the numbers")
}

fn queue(one: &PoisonView) -> String {
    if one.queue.is_empty() { "-".to_owned() } else { printable(&one.queue) }
}

fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_never_given_orders_by_a_message() {
        assert_eq!(printable("a\u{9b}2Jb"), "a\\u{9b}2Jb");
    }
}
