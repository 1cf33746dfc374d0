//! `gristmill event subscription` and `gristmill event replay`: who is given which events, and which once more.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use gristmill_core::event::TypePattern;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_core::json;
use gristmill_core::schedule::Zone;
use gristmill_service::control::event::ReplayRequest;
use gristmill_service::documents::{DeliveryDocument, ReplayDocument, SubscriptionDocument};
use uuid::Uuid;

use crate::cli::context::CommandContext;
use crate::cli::list::{DryRun, Why, report};
use crate::exit_code::{CommandError, Exit, Result};

/// Who is given which events
#[derive(Debug, Args)]
pub(crate) struct Subscription {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every subscription, with its lag
    List,
    /// A subscription, with its lag
    Show {
        /// Its name
        name: String,
    },
    /// Events that it means and that were not delivered, the newest first
    Refused {
        /// Its name
        name: String,
    },
    /// Create a subscription, or change one that was created so
    #[command(before_help = "Examples:
  gristmill event subscription set receipts receipts.json --dry-run
  echo '{\"types\": \"order.paid\", \"batch\": \"receipts\"}' | gristmill event subscription set receipts -

The file holds, as JSON, what [events.subscriptions.NAME] in the configuration may say.")]
    Set {
        /// Its name
        name: String,
        /// A file with it, or - for standard input
        file: PathBuf,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Remove a subscription: what it has started goes on
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Give it no events until it is resumed; it misses none
    Pause {
        /// Its name
        name: String,
        #[command(flatten)]
        dry: DryRun,
        #[command(flatten)]
        why: Why,
    },
    /// Go on where it was
    Resume {
        /// Its name
        name: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

impl Subscription {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        match self.verb {
            Verb::List => rows(context, &backend.subscriptions().await?),
            Verb::Show { name } => show(context, &backend.subscription(&name).await?),
            Verb::Refused { name } => refused(context, &backend.refused_events(&name).await?),
            Verb::Set { name, file, dry } => {
                let spec = read(&file)?;
                let done = backend.save_subscription(&context.order(dry.dry_run), &name, spec).await?;
                report(context, dry.dry_run, "saved", "would save", &done);
            }
            Verb::Remove { name, dry } => {
                let done = backend.remove_subscription(&context.order(dry.dry_run), &name).await?;
                report(context, dry.dry_run, "removed", "would remove", &done);
            }
            Verb::Pause { name, dry, why } => {
                let done = backend.pause_subscription(&why.order(context, &dry)?, &name, true).await?;
                report(context, dry.dry_run, "paused", "would pause", &done);
            }
            Verb::Resume { name, dry } => {
                let done = backend.pause_subscription(&context.order(dry.dry_run), &name, false).await?;
                report(context, dry.dry_run, "resumed", "would resume", &done);
            }
        }
        Ok(Exit::Success)
    }
}

fn read(file: &Path) -> Result<SubscriptionSpec> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).map(String::into_bytes)
    } else {
        std::fs::read(file)
    };
    let text = text.map_err(|error| CommandError::usage(format!("{} cannot be read: {error}", file.display())))?;
    json::typed(&text).map_err(|error| CommandError::usage(format!("{} is no subscription: {error}", file.display())))
}

fn state(view: &SubscriptionDocument) -> String {
    match (&view.paused_at, &view.error) {
        (Some(_), _) => "paused".to_owned(),
        (None, Some(_)) => "waits".to_owned(),
        (None, None) => "active".to_owned(),
    }
}

fn starts(spec: &SubscriptionSpec) -> String {
    match (&spec.batch, &spec.job) {
        (Some(batch), _) => format!("batch {batch}"),
        (None, Some(job)) => format!("job {}", job.kind),
        (None, None) => "-".to_owned(),
    }
}

fn rows(context: &CommandContext, found: &[SubscriptionDocument]) {
    let columns = ["SUBSCRIPTION", "TYPES", "STARTS", "STATE", "LAG", "DELIVERED", "REFUSED", "ORIGIN"];
    context.output.list(found, &columns, |view, _| {
        vec![
            view.name.clone(),
            view.spec.types.as_slice().join(", "),
            starts(&view.spec),
            state(view),
            view.lag.to_string(),
            view.delivered.to_string(),
            view.refused.to_string(),
            view.origin.to_string(),
        ]
    });
}

fn show(context: &CommandContext, view: &SubscriptionDocument) {
    let output = &context.output;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let fields = [
        ("subscription", view.name.clone()),
        ("types", view.spec.types.as_slice().join(", ")),
        ("where", text(&view.spec.predicate)),
        ("starts", starts(&view.spec)),
        ("state", state(view)),
        ("paused by", text(&view.paused_by)),
        ("reason", text(&view.paused_for)),
        ("position", view.cursor.to_string()),
        ("lag", view.lag.to_string()),
        ("behind since", output.time_or_dash(view.behind_since)),
        ("delivered", view.delivered.to_string()),
        ("skipped", view.skipped.to_string()),
        ("refused", view.refused.to_string()),
        ("error", text(&view.error)),
        ("tried again", output.time_or_dash(view.retry_at)),
        ("origin", view.origin.to_string()),
    ];
    output.fields(view, &fields);
}

fn refused(context: &CommandContext, found: &[DeliveryDocument]) {
    context.output.list(found, &["POSITION", "REFUSAL", "AT", "REASON"], |one, output| {
        vec![
            one.position.to_string(),
            one.refusal.map_or_else(|| "-".to_owned(), |refusal| refusal.to_string()),
            output.time(one.at),
            one.reason.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
}

/// Give events to a subscription once more, or see how far that is
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill event replay --to receipts --after 1200 --until 1300 --dry-run
  gristmill event replay --to receipts --since 2030-01-31T08:00:00Z --type order.paid --rate 50
  gristmill event replay
  gristmill event replay --cancel 0190a5b0-2f8a-7cc0-a7a8-3f0e6c1d2b3a

Without --to it lists replays. What is replayed is delivered beside what comes by itself, and counts once for each replay.")]
pub(crate) struct Replay {
    /// The subscription
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Of these types: patterns; may be repeated
    #[arg(long = "type", value_name = "PATTERN", requires = "to")]
    types: Vec<TypePattern>,
    /// Those behind this position; from the beginning unless said
    #[arg(long, value_name = "POSITION", requires = "to")]
    after: Option<u64>,
    /// Up to this position; up to the end as it is now unless said
    #[arg(long, value_name = "POSITION", requires = "to")]
    until: Option<u64>,
    /// Those accepted since then
    #[arg(long, value_name = "TIME", requires = "to", conflicts_with = "after")]
    since: Option<String>,
    /// How many events a second at most
    #[arg(long, value_name = "N", requires = "to", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// End a replay before its time
    #[arg(long, value_name = "ID", conflicts_with = "to")]
    cancel: Option<Uuid>,
    #[command(flatten)]
    dry: DryRun,
    #[command(flatten)]
    why: Why,
}

impl Replay {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        let order = self.why.order(context, &self.dry)?;
        if let Some(replay) = self.cancel {
            let done = backend.cancel_replay(&order, replay).await?;
            report(context, self.dry.dry_run, "cancelled", "would cancel", &done);
            return Ok(Exit::Success);
        }
        let Some(subscription) = self.to else {
            replays(context, &backend.replays().await?);
            return Ok(Exit::Success);
        };
        let since = self.since.as_deref().map(instant).transpose()?;
        let Self { types, after, until, rate, .. } = self;
        let request = ReplayRequest { subscription, types, after, until, since, rate };
        let started = backend.start_replay(&order, &request).await?;
        let more = if started.more { " or more" } else { "" };
        let fields = match (started.replay, started.matches) {
            (Some(replay), _) => vec![("replay", replay.to_string())],
            (None, matches) => vec![("would deliver", format!("{}{more}", matches.unwrap_or_default()))],
        };
        context.output.fields(&started, &fields);
        Ok(Exit::Success)
    }
}

fn instant(text: &str) -> Result<gristmill_core::Instant> {
    let read = gristmill_core::schedule::instant(text, Zone::UTC);
    read.ok_or_else(|| {
        CommandError::usage(format!("`{text}` is not an instant; write one such as 2030-01-31T08:00:00Z"))
    })
}

fn replays(context: &CommandContext, found: &[ReplayDocument]) {
    let columns = ["REPLAY", "SUBSCRIPTION", "STATE", "POSITION", "UNTIL", "DELIVERED", "REFUSED", "BY", "BEGAN"];
    context.output.list(found, &columns, |one, output| {
        vec![
            one.id.to_string(),
            one.subscription.clone(),
            one.state.to_string(),
            one.cursor.to_string(),
            one.until.to_string(),
            one.delivered.to_string(),
            one.refused.to_string(),
            one.by.clone(),
            output.time(one.created_at),
        ]
    });
}
