//! `gristmill limit`: look at limits, set and drop them.

use std::time::Duration;

use clap::{Args, Subcommand};
use gristmill_core::duration::{self, Span};
use gristmill_core::limit::LIMIT_MAX;
use gristmill_service::documents::WouldSetLimitDocument;
use gristmill_store::{LimitSpec, LimitView};

use super::list::{DryRun, report};
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::config::suggest;
use crate::config::verify::is_name;
use crate::exit_code::{CommandError, Exit, Result};

/// Look at limits, set and drop them
#[derive(Debug, Args)]
pub(crate) struct Limit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every limit, with how many jobs under it run now
    #[command(before_help = "Examples:
  gristmill limit list
  gristmill limit list --json")]
    List,
    /// One limit, and how much of it each key uses
    Show {
        /// The limit
        name: String,
    },
    /// Make a limit in the store, or change one that was made by a command
    Set(Set),
    /// Take a limit away that was made by a command
    #[command(before_help = "Examples:
  gristmill limit drop crm --dry-run
  gristmill limit drop crm")]
    Drop {
        /// The limit
        name: String,
        #[command(flatten)]
        dry: DryRun,
    },
}

/// Make a limit in the store, or change one that was made by a command
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill limit set crm --queue crm --queue sync --concurrency 5
  gristmill limit set mails --kind email --rate 100 --per 1m --burst 10
  gristmill limit set customers --queue crm --per-key --concurrency 2 --dry-run

It holds for whatever is claimed next, on all workers together. What is said takes the place of all that was said
before. A job falls under it by its queue, its kind, or both where both are given; --per-key counts each key by itself.")]
struct Set {
    /// Its name
    name: String,
    /// Jobs on this queue; may be repeated, and all of them share the limit
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,
    /// Jobs of this kind; may be repeated
    #[arg(long = "kind", value_name = "NAME")]
    kinds: Vec<String>,
    /// For each key by itself
    #[arg(long)]
    per_key: bool,
    /// How many may run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    concurrency: Option<u32>,
    /// How many may begin in each period
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    rate: Option<u32>,
    /// The period of --rate, such as 1m; a second unless said
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "rate")]
    per: Option<Duration>,
    /// How many may begin at one moment after a quiet time; 1 unless said
    #[arg(long, value_name = "N", requires = "rate", value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    burst: Option<u32>,
    #[command(flatten)]
    dry: DryRun,
}

impl Limit {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => list(context).await,
            Verb::Show { name } => show(context, &name).await,
            Verb::Set(set) => set.run(context).await,
            Verb::Drop { name, dry } => drop_limit(context, &name, dry.dry_run).await,
        }
    }
}

async fn list(context: &CommandContext) -> Result<Exit> {
    let limits = context.backend().await?.limits().await?;
    let columns = ["LIMIT", "OF", "ALLOWS", "RUNNING", "ORIGIN", "CHANGED"];
    context.output.list(&limits, &columns, |limit, output| {
        vec![
            limit.name.clone(),
            of(&limit.spec),
            limit.spec.describe(),
            limit.running.to_string(),
            limit.origin.to_string(),
            output.time(limit.updated_at),
        ]
    });
    Ok(Exit::Success)
}

/// `queues crm, sync; kinds email`.
fn of(spec: &LimitSpec) -> String {
    let part = |word: &str, names: &std::collections::BTreeSet<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    [part("queue", &spec.queues), part("kind", &spec.kinds)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

async fn show(context: &CommandContext, name: &str) -> Result<Exit> {
    let limits = context.backend().await?.limits().await?;
    let Some(limit) = limits.iter().find(|limit| limit.name == name) else { return Err(unknown(&limits, name)) };
    let mut fields = vec![
        ("limit", limit.name.clone()),
        ("of", of(&limit.spec)),
        ("allows", limit.spec.describe()),
        ("running", limit.running.to_string()),
        ("origin", limit.origin.to_string()),
        ("changed", context.output.time(limit.updated_at)),
    ];
    for used in &limit.uses {
        let key = if used.key.is_empty() { "-" } else { &used.key };
        fields.push(("key", format!("{key} of {}: {} run", used.tenant, used.running)));
    }
    context.output.fields(limit, &fields);
    Ok(Exit::Success)
}

fn unknown(limits: &[LimitView], name: &str) -> CommandError {
    let error = CommandError::not_found(format!("there is no limit `{name}`"));
    match suggest(name, limits.iter().map(|limit| limit.name.as_str())) {
        Some(hint) => error.hint(hint),
        None => error.hint("write [limit.NAME] in the configuration, or `gristmill limit set NAME …`"),
    }
}

impl Set {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let spec = LimitSpec {
            queues: self.queues.into_iter().collect(),
            kinds: self.kinds.into_iter().collect(),
            per_key: self.per_key,
            concurrency: self.concurrency,
            rate: self.rate,
            per: self.per.map(Span),
            burst: self.burst,
        };
        for (what, name) in [("limit", &self.name)]
            .into_iter()
            .chain(spec.queues.iter().map(|name| ("queue", name)))
            .chain(spec.kinds.iter().map(|name| ("kind", name)))
        {
            if !is_name(name) {
                let wrong = format!("`{name}` cannot be the name of a {what}");
                return Err(CommandError::usage(wrong).hint("a name has 1 to 100 letters, digits, `-` and `_`"));
            }
        }
        spec.check().map_err(|wrong| CommandError::usage(format!("the limit {}", wrong.message)))?;
        let order = context.order(self.dry.dry_run);
        // A rehearsal here needs no store.
        let set = match order.dry_run && context.remote().is_none() {
            true => None,
            false => context.backend().await?.set_limit(&order, &self.name, spec.clone()).await?,
        };
        let Some(limit) = set else {
            match context.output.format {
                Format::Json => context.output.document(&WouldSetLimitDocument::new(&self.name, &spec)),
                Format::Plain | Format::Table => {
                    context.output.line(&format!("would set {}: {}, {}", self.name, of(&spec), spec.describe()));
                }
            }
            return Ok(Exit::Success);
        };
        match context.output.format {
            Format::Json => context.output.document(&limit),
            Format::Plain | Format::Table => {
                context.output.line(&format!("set {}: {}, {}", limit.name, of(&limit.spec), limit.spec.describe()));
            }
        }
        Ok(Exit::Success)
    }
}

async fn drop_limit(context: &CommandContext, name: &str, dry_run: bool) -> Result<Exit> {
    let backend = context.backend().await?;
    let dropped = backend.drop_limit(&context.order(dry_run), name).await?;
    if dropped.affected == 0 {
        return Err(unknown(&backend.limits().await?, name));
    }
    report(context, dry_run, "dropped", "would drop", &dropped);
    Ok(Exit::Success)
}
