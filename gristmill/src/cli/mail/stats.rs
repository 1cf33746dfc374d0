//! `gristmill mail stats`: how many recipients are in which state; `gristmill mail preview`: what the first messages of a
//! batch look like.

use std::io::stdin;
use std::time::Duration;

use clap::Args;
use gristmill_core::duration;
use gristmill_core::id::BatchId;
use gristmill_core::mailing::Funnel;
use gristmill_service::documents::{MailingDocument, TrialDocument, TriedItemDocument};
use gristmill_service::start::params::params;
use gristmill_service::start::{BatchRequest, TRIAL_ITEMS_MAX, try_out};
use gristmill_store::{EmailStat, StatsBy, StatsFilter};
use serde_json::Value;

use crate::cli::batch_run::{bad_param, check_definition, start_trouble};
use crate::cli::context::CommandContext;
use crate::cli::list::id;
use crate::cli::output::{Format, Output, grouped, one_line, visible};
use crate::config::definitions::Outputs;
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::schedules::run_context_now;

/// How many recipients are in which state: of a batch, or by template, stream and domain
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill mail stats --batch 0198f9c1-…
  gristmill mail stats --by template --since 24h
  gristmill mail stats --by domain --stream broadcast --limit 20 --json

Of a batch alone the counts are kept, and exact at once; for all else one row is read for each recipient.")]
pub(in crate::cli) struct Stats {
    /// By what: all, template, stream, domain
    #[arg(long, value_name = "WORD")]
    by: Option<String>,
    /// Only of messages of this batch
    #[arg(long, value_name = "BATCH")]
    batch: Option<String>,
    /// Only of messages made from this template
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Only of messages of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only those with an address in this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Only of messages of the last time, such as 24h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// How many names at most: those with the most recipients
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

impl Stats {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let batch: Option<BatchId> = self.batch.as_deref().map(|text| id("batch", text)).transpose()?;
        let narrowed =
            self.template.is_some() || self.stream.is_some() || self.domain.is_some() || self.since.is_some();
        if let Some(batch) = batch.filter(|_| self.by.is_none() && !narrowed) {
            let document = context.backend().await?.mailing(batch).await?;
            show_mailing(context, &document);
            return Ok(Exit::Success);
        }
        let filter = StatsFilter {
            tenant: context.tenant.clone(),
            by: self.by.as_deref().map(by_of).transpose()?.unwrap_or_default(),
            batch,
            template: self.template,
            stream: self.stream,
            domain: self.domain,
            since: self.since,
            limit: self.limit,
        };
        let found = context.backend().await?.email_stats(&filter).await?;
        context.output.list(&found, &COLUMNS, |stat: &EmailStat, _| cells(&stat.name, &stat.funnel));
        Ok(Exit::Success)
    }
}

fn by_of(word: &str) -> Result<StatsBy> {
    word.parse().map_err(|_| {
        let known = StatsBy::ALL.map(StatsBy::as_str);
        let hint = suggest(word, known).unwrap_or_else(|| format!("one of: {}", known.join(", ")));
        CommandError::usage(format!("recipients are not counted by `{word}`")).hint(hint)
    })
}

/// In the order in which a message goes through them.
const COLUMNS: [&str; 13] = [
    "NAME",
    "MADE",
    "SUPPRESSED",
    "DROPPED",
    "QUEUED",
    "SENDING",
    "DEFERRED",
    "ACCEPTED",
    "BOUNCED",
    "UNKNOWN",
    "EXPIRED",
    "CANCELLED",
    "COMPLAINED",
];

fn cells(name: &str, funnel: &Funnel) -> Vec<String> {
    let name = if name.is_empty() { "-".to_owned() } else { visible(name).into_owned() };
    let counts = [
        funnel.made,
        funnel.suppressed,
        funnel.dropped,
        funnel.queued,
        funnel.sending,
        funnel.deferred,
        funnel.accepted(),
        funnel.bounced,
        funnel.unknown,
        funnel.expired,
        funnel.cancelled,
        funnel.complained,
    ];
    std::iter::once(name).chain(counts.map(|count| count.to_string())).collect()
}

fn show_mailing(context: &CommandContext, document: &MailingDocument) {
    let output = &context.output;
    if output.format == Format::Json {
        return output.document(document);
    }
    let mut fields = vec![("made", grouped(document.all.made)), ("accepted", grouped(document.all.accepted()))];
    fields.extend(document.all.by_state().map(|(state, count)| (state.as_str(), grouped(count))));
    output.fields(&Value::Null, &fields);
    if document.variants.len() > 1 {
        output.line("");
        output.list(&document.variants, &COLUMNS, |one, _| cells(&one.variant, &one.funnel));
    }
}

/// Show what the first messages of a batch look like, and which items would become none
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill mail preview newsletter
  gristmill mail preview newsletter --limit 20 --json
  gristmill mail preview newsletter --input people.csv --html

Nothing is created or sent, and no store is needed.")]
pub(in crate::cli) struct Preview {
    /// The definition: [batch.NAME] in the configuration, with `mail`
    name: String,
    /// How many items
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=TRIAL_ITEMS_MAX))]
    limit: u64,
    /// Files instead of those of the definition: a path, a glob, or - for standard input; may be repeated
    #[arg(long, value_name = "FILE")]
    input: Vec<String>,
    /// A parameter of this run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// The HTML versions instead of the texts
    #[arg(long)]
    html: bool,
}

impl Preview {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        check_definition(context, &self.name, Outputs::Untouched)?;
        let request = BatchRequest {
            name: self.name.clone(),
            input: self.input.clone(),
            chunk: None,
            failure_budget: None,
            params: params(&self.param).map_err(|error| bad_param(&error))?,
            idempotency_key: None,
            trace: None,
            stdin: Some(Box::new(stdin())),
        };
        let start = run_context_now(context)?.batch(request).map_err(|error| start_trouble(context, error))?;
        if start.definition.mail.is_none() {
            let message = format!("the batch `{}` sends no mail: its definition has no `mail`", self.name);
            return Err(CommandError::usage(message).hint("docs/email.md, Mailings"));
        }
        let trial = try_out(start, self.limit, false).await.map_err(|error| start_trouble(context, error))?;
        let document = TrialDocument::new(&self.name, &trial);
        match context.output.format {
            Format::Json => context.output.document(&document),
            Format::Plain | Format::Table => {
                document.items.iter().for_each(|item| show(&context.output, item, self.html));
            }
        }
        Ok(Exit::Success)
    }
}

fn show(output: &Output, item: &TriedItemDocument, html: bool) {
    let place = item.line.map_or_else(|| format!("item {}", item.position), |line| format!("line {line}"));
    match preview_of(item) {
        Some(preview) => {
            output.line(&place);
            message(output, preview, html);
        }
        None => {
            let why = item.reason.as_deref().unwrap_or("it is skipped");
            output.line(&format!("{place}: no message: {}", one_line(why)));
        }
    }
    output.line("");
}

/// What the stage `mail` made of an item.
pub(crate) fn preview_of(item: &TriedItemDocument) -> Option<&Value> {
    item.steps.iter().find(|step| step.stage == "mail").map(|step| &step.item)
}

/// A message for people to read.
pub(crate) fn message(output: &Output, preview: &Value, html: bool) {
    let text = |key: &str| preview[key].as_str().unwrap_or_default();
    output.line(&format!("  To:      {}", visible(text("to"))));
    if let Some(template) = preview["template"].as_str() {
        output.line(&format!("  Made of: {template}"));
    }
    output.line(&format!("  Subject: {}", visible(text("subject"))));
    output.line("");
    for line in text(if html { "html" } else { "text" }).lines() {
        output.line(&format!("  | {}", visible(line)));
    }
}
