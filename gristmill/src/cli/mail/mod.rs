//! `gristmill mail`: send, look at and steer emails; addresses, templates, keys and what comes back.

mod bounce;
mod dkim;
mod flow;
mod look;
mod send;
pub(crate) mod stats;
mod steer;
mod suppress;
mod template;

use clap::{Args, Subcommand};

use super::list::{DryRun, Paging};
use crate::cli::context::CommandContext;
use crate::exit_code::{Exit, Result};

/// Send, look at and steer emails; addresses, templates, keys, and what comes back
#[derive(Debug, Args)]
pub(crate) struct Mail {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Send an email: enqueues a job of kind `email`
    Send(Box<send::Send>),
    /// Emails, newest first
    #[command(before_help = "Examples:
  gristmill mail list
  gristmill mail list --state uncertain
  gristmill mail list --address ada@example.org --json")]
    List {
        /// Only those that are so far: pending, sending, sent, uncertain, failed
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Only those with this recipient
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        /// Only those of this batch
        #[arg(long, value_name = "BATCH", conflicts_with = "address")]
        batch: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    Stats(stats::Stats),
    Preview(stats::Preview),
    /// One email: where it is for each recipient, and why
    Show {
        /// The id of its job
        id: String,
    },
    /// What was said with the server at each attempt
    Trace {
        /// The id of its job
        id: String,
    },
    /// The message as it goes over the wire, to standard output
    #[command(before_help = "Examples:
  gristmill mail raw 0198f9c1-… > message.eml")]
    Raw {
        /// The id of its job
        id: String,
    },
    /// Try emails again that wait or have failed, with the same bytes, for those recipients that are still owed
    Retry {
        /// The ids of their jobs
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Call emails off that are not yet sent
    Cancel {
        /// The ids of their jobs
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Send an email once more as a message of its own; or try those of a batch again that were put off or are unknown
    #[command(before_help = "Examples:
  gristmill mail resend 0198f9c1-… --dry-run
  gristmill mail resend 0198f9c1-…
  gristmill mail resend --batch 0198f9c1-… --dry-run

Whoever got the first one gets a second one. For those who did not get it alone, use `gristmill mail retry`.
With --batch the same messages are tried again, now, for recipients that were put off, and for those of whom it is
unknown whether they have it: these may get it twice, and are marked.")]
    Resend {
        /// The id of its job
        #[arg(required_unless_present = "batch", conflicts_with = "batch")]
        id: Option<String>,
        /// All of a batch whose recipients are deferred or unknown
        #[arg(long, value_name = "BATCH")]
        batch: Option<String>,
        #[command(flatten)]
        dry: DryRun,
    },
    /// The addresses to which nothing is sent
    #[command(subcommand)]
    Suppress(suppress::Suppress),
    /// The servers that mail goes through
    #[command(subcommand)]
    Relay(flow::Relay),
    /// Recipients' domains: how fast they may be sent to, and whether at all
    #[command(subcommand)]
    Domain(flow::Domain),
    /// The templates that messages are made from
    #[command(subcommand)]
    Template(template::Template),
    /// Keys that sign messages, and their DNS records
    #[command(subcommand)]
    Dkim(dkim::Dkim),
    /// Messages that come back
    #[command(subcommand)]
    Bounce(bounce::Bounce),
}

impl Mail {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Send(send) => send.run(context).await,
            Verb::List { state, address, batch, paging } => look::list(context, (state, address, batch), &paging).await,
            Verb::Stats(stats) => stats.run(context).await,
            Verb::Preview(preview) => preview.run(context).await,
            Verb::Show { id } => look::show(context, &id).await,
            Verb::Trace { id } => look::trace(context, &id).await,
            Verb::Raw { id } => look::raw(context, &id).await,
            Verb::Retry { ids, dry } => steer::retry(context, &ids, &dry).await,
            Verb::Cancel { ids, dry } => steer::cancel(context, &ids, &dry).await,
            Verb::Resend { id: Some(id), dry, .. } => steer::resend(context, &id, &dry).await,
            Verb::Resend { batch, dry, .. } => steer::resend_batch(context, &batch.unwrap_or_default(), &dry).await,
            Verb::Suppress(suppress) => suppress.run(context).await,
            Verb::Relay(relay) => relay.run(context).await,
            Verb::Domain(domain) => domain.run(context).await,
            Verb::Template(template) => template.run(context),
            Verb::Dkim(dkim) => dkim.run(context),
            Verb::Bounce(bounce) => bounce.run(context).await,
        }
    }
}
