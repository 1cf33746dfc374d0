//! `gristmill mail relay` and `gristmill mail domain`: through which server mail goes, and how fast to which domain.

use std::time::Duration;

use clap::Subcommand;
use gristmill_core::duration;
use gristmill_core::mail_flow::{Breaker, BreakerState};
use gristmill_store::{MailDomainView, MailRelayView};

use crate::cli::context::CommandContext;
use crate::cli::list::{DryRun, Paging, Why, report};
use crate::cli::output::{Output, visible};
use crate::exit_code::{Exit, Result};

/// The servers that mail goes through
#[derive(Debug, Subcommand)]
pub(super) enum Relay {
    /// Every relay that a worker has used: whether it is used now, and why not
    #[command(before_help = "Examples:
  gristmill mail relay list
  gristmill mail relay list --json")]
    List,
    /// Hand no mail to a relay until it is resumed
    #[command(before_help = "Examples:
  gristmill mail relay suspend main --reason 'it is being moved'")]
    Suspend {
        /// Its name; `default` is the one of `[mail] url`
        name: String,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Use a relay again at once, such as after its password was corrected
    Resume {
        /// Its name
        name: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Recipients' domains: how fast they may be sent to, and whether at all
#[derive(Debug, Subcommand)]
pub(super) enum Domain {
    /// The domains that are suspended, have asked to be sent less, or for which messages wait
    #[command(before_help = "Examples:
  gristmill mail domain list
  gristmill mail domain list --json")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Send nothing to a domain; its messages wait, and spend no attempts
    #[command(before_help = "Examples:
  gristmill mail domain suspend example.com --dry-run
  gristmill mail domain suspend example.com --for 2h --reason 'they have an outage'")]
    Suspend {
        /// The domain
        domain: String,
        /// For how long, such as 2h; until it is resumed unless said
        #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
        keep: Option<Duration>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Send to a domain again, forget that it asked to be sent less, and let what waits try at once
    Resume {
        /// The domain
        domain: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Relay {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self {
            Self::List => relays(context).await,
            Self::Suspend { name, why, dry } => {
                let order = why.order(context, &dry)?;
                let done = context.backend().await?.suspend_relay(&order, &name).await?;
                report(context, dry.dry_run, "suspended", "would be suspended", &done);
                Ok(Exit::Success)
            }
            Self::Resume { name, dry } => {
                let done = context.backend().await?.resume_relay(&context.order(dry.dry_run), &name).await?;
                report(context, dry.dry_run, "resumed", "would be resumed", &done);
                Ok(Exit::Success)
            }
        }
    }
}

impl Domain {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self {
            Self::List { paging } => domains(context, &paging).await,
            Self::Suspend { domain, keep, why, dry } => {
                let order = why.order(context, &dry)?;
                let done = context.backend().await?.suspend_domain(&order, &domain, keep).await?;
                report(context, dry.dry_run, "suspended", "would be suspended", &done);
                Ok(Exit::Success)
            }
            Self::Resume { domain, dry } => {
                let done = context.backend().await?.resume_domain(&context.order(dry.dry_run), &domain).await?;
                report(context, dry.dry_run, "resumed", "would be resumed", &done);
                Ok(Exit::Success)
            }
        }
    }
}

async fn relays(context: &CommandContext) -> Result<Exit> {
    let relays = context.backend().await?.mail_relays().await?;
    let columns = ["RELAY", "SERVER", "STATE", "SINCE", "UNTIL", "TAKEN", "FAILED", "TODAY", "WHY"];
    context.output.list(&relays, &columns, |relay: &MailRelayView, output| {
        let breaker = &relay.breaker;
        vec![
            relay.name.clone(),
            relay.place.clone(),
            state(breaker),
            output.time(breaker.since),
            output.time_or_dash(breaker.until),
            breaker.taken.to_string(),
            breaker.failed.to_string(),
            relay.day.as_ref().map_or_else(|| "-".to_owned(), |_| relay.messages.to_string()),
            breaker.why.as_deref().map_or_else(|| "-".to_owned(), |why| visible(why).into_owned()),
        ]
    });
    for relay in relays.iter().filter(|relay| relay.breaker.fault && relay.breaker.state != BreakerState::Closed) {
        context.output.note(&format!(
            "`{}` does not let us in: mend its settings, then `{} mail relay resume {}`",
            relay.name,
            context.program(),
            relay.name
        ));
    }
    if relays.is_empty() {
        context.output.note("no worker has handed mail to a server yet");
    }
    Ok(Exit::Success)
}

fn state(breaker: &Breaker) -> String {
    if breaker.fault && breaker.state == BreakerState::Open {
        "not let in".to_owned()
    } else {
        breaker.state.to_string()
    }
}

async fn domains(context: &CommandContext, paging: &Paging) -> Result<Exit> {
    let found = context.backend().await?.mail_domains(&paging.page()).await?;
    let columns = ["DOMAIN", "SUSPENDED", "PER MINUTE", "ASKED FOR LESS", "WAITING", "LAST SAID"];
    context.output.list(&found, &columns, |view: &MailDomainView, output| {
        let domain = &view.domain;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            domain.name.clone(),
            suspended(view, output),
            or_dash(domain.pace.learned.map(|many| many.to_string())),
            domain.pace.slowed.to_string(),
            view.waiting.to_string(),
            or_dash(domain.pace.said.as_deref().map(|said| visible(said).into_owned())),
        ]
    });
    paging.next(context, found.len(), found.last().map(|view| view.domain.name.clone()));
    Ok(Exit::Success)
}

/// `until 2026-12-01 12:00, by ada: they have an outage`.
fn suspended(view: &MailDomainView, output: &Output) -> String {
    let Some(suspension) = &view.domain.suspension else { return "no".to_owned() };
    let until = suspension.until.map_or_else(|| "until resumed".to_owned(), |at| format!("until {}", output.time(at)));
    let why = suspension.why.as_ref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
    format!("{until}, by {}{why}", visible(&suspension.by))
}
