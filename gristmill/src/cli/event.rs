//! `gristmill event`: publish events, look at them, their schemas and who subscribes to them.

mod schema;
mod subscription;

use std::io::Read;
use std::time::Duration;

use clap::{Args, Subcommand};
use gristmill_core::event::{EventDraft, TypePattern, wire};
use gristmill_core::json;
use gristmill_service::documents::{DeliveryDocument, EventDocument, EventTraceDocument};
use gristmill_store::EventFilter;
use serde_json::Value;
use uuid::Uuid;

use super::list::DryRun;
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};

/// How often it is looked for new events.
const LOOK: Duration = Duration::from_millis(500);

/// Publish events, look at them, their schemas and who subscribes to them
#[derive(Debug, Args)]
pub(crate) struct Event {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Publish an event, or many from JSON lines
    Publish(Publish),
    /// Events, the newest first
    List(List),
    /// Events as they come
    Tail(Tail),
    /// One event, what became of it, and the chain that it belongs to
    Show {
        /// Its id
        id: String,
        /// Its source, where several have used the id
        #[arg(long)]
        source: Option<String>,
    },
    /// The schemas of types
    Schema(schema::Schema),
    /// Who is given which events
    #[command(alias = "subscriptions")]
    Subscription(subscription::Subscription),
    /// Give events to a subscription once more, or see how far that is
    Replay(subscription::Replay),
}

/// Publish an event, or many from JSON lines
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill event publish order.paid --subject order/17 --data '{\"total\": \"12.50\"}'
  gristmill event publish --lines < events.jsonl

The same id with the same content is accepted once; with another content it is refused. Without --id each call publishes a
new event.")]
struct Publish {
    /// Its type, such as order.paid
    #[arg(value_name = "TYPE", required_unless_present = "lines")]
    kind: Option<String>,
    /// What there is to say of it: JSON, or - for standard input
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// What it is about, such as order/17
    #[arg(long)]
    subject: Option<String>,
    /// What it comes from
    #[arg(long, default_value = "cli")]
    source: String,
    /// Its id; a new one unless said
    #[arg(long)]
    id: Option<String>,
    /// The stream in which it keeps its order; its subject unless said
    #[arg(long)]
    stream: Option<String>,
    /// Which version of the data of its type; the newest in the registry unless said
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Read events from standard input, one JSON object a line
    #[arg(long, conflicts_with_all = ["kind", "data", "subject", "id", "stream", "version"])]
    lines: bool,
    #[command(flatten)]
    dry: DryRun,
}

/// Which events
#[derive(Debug, Clone, Args)]
struct Which {
    /// Of these types: patterns such as order.paid, batch.* or **; may be repeated
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<TypePattern>,
    /// In this stream
    #[arg(long)]
    stream: Option<String>,
    /// Of the chain that began with this event
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
}

/// Events, the newest first
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill event list --type 'batch.*'
  gristmill event list --stream order/17 --json")]
struct List {
    #[command(flatten)]
    which: Which,
    /// Begin before this position: the last one of the page before
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// How many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Events as they come
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill event tail --type 'order.**'
  gristmill event tail --after 0 --count 100 --json

Each line is one event. It goes on until it is interrupted, or until --count events were shown.")]
struct Tail {
    #[command(flatten)]
    which: Which,
    /// Begin behind this position; with what comes from now on unless said
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

impl Event {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::Publish(publish) => publish.run(context).await,
            Verb::List(list) => list.run(context).await,
            Verb::Tail(tail) => tail.run(context).await,
            Verb::Show { id, source } => show(context, &id, source.as_deref()).await,
            Verb::Schema(schema) => schema.run(context).await,
            Verb::Subscription(subscription) => subscription.run(context).await,
            Verb::Replay(replay) => replay.run(context).await,
        }
    }
}

impl Publish {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let drafts = if self.lines { self.read_lines()? } else { vec![self.draft()?] };
        let order = context.order(self.dry.dry_run);
        let published = context.backend().await?.publish_events(&order, drafts).await?;
        let columns = ["EVENT", "SOURCE", "NEW"];
        context.output.list(&published, &columns, |one, _| {
            vec![one.id.clone(), one.source.clone(), if one.fresh { "yes" } else { "no" }.to_owned()]
        });
        Ok(Exit::Success)
    }

    fn draft(&self) -> Result<EventDraft> {
        let data = match self.data.as_deref() {
            None => Value::Null,
            Some("-") => {
                let mut text = Vec::new();
                let read = std::io::stdin().read_to_end(&mut text);
                read.map_err(|error| CommandError::usage(format!("standard input cannot be read: {error}")))?;
                parsed(&text, "standard input")?
            }
            Some(text) => parsed(text.as_bytes(), "--data")?,
        };
        let id = self.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        Ok(EventDraft {
            data,
            version: self.version,
            subject: self.subject.clone(),
            stream: self.stream.clone(),
            ..EventDraft::new(id, &self.source, self.kind.clone().unwrap_or_default())
        })
    }

    fn read_lines(&self) -> Result<Vec<EventDraft>> {
        let (mut drafts, mut faults) = (Vec::new(), Vec::new());
        for (index, line) in std::io::stdin().lines().enumerate() {
            let number = index + 1;
            let line = line.map_err(|error| CommandError::usage(format!("line {number} cannot be read: {error}")))?;
            if line.trim().is_empty() {
                continue;
            }
            let defaults = EventDraft::new(Uuid::now_v7().to_string(), &self.source, "");
            let read = json::read(line.as_bytes()).map_err(|error| error.to_string());
            let read = read.and_then(|value| wire::read(value, &defaults).map_err(|faults| faults.to_string()));
            match read {
                Ok(draft) => drafts.push(draft),
                Err(fault) => faults.push(format!("line {number}: {fault}")),
            }
        }
        if faults.is_empty() { Ok(drafts) } else { Err(CommandError::usage(faults.join("\n"))) }
    }
}

fn parsed(text: &[u8], place: &str) -> Result<Value> {
    json::read(text).map_err(|error| CommandError::usage(format!("{place} is not JSON that can be kept: {error}")))
}

impl Which {
    fn filter(&self) -> EventFilter {
        let (stream, correlation) = (self.stream.clone(), self.correlation.clone());
        EventFilter { stream, correlation, ..EventFilter::default() }
    }
}

impl List {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let filter = EventFilter { before: self.after, newest_first: true, limit: self.limit, ..self.which.filter() };
        let events = context.backend().await?.events(&filter, &self.which.types).await?;
        rows(context, &events);
        let last = events.last().and_then(|event| event.position).filter(|_| events.len() >= self.limit as usize);
        if let Some(last) = last {
            context.output.note(&format!("more: {}", context.again(&["--after", &last.to_string()])));
        }
        Ok(Exit::Success)
    }
}

fn rows(context: &CommandContext, events: &[EventDocument]) {
    context.output.list(events, &["POSITION", "TYPE", "SUBJECT", "SOURCE", "TIME", "EVENT"], |event, _| {
        vec![
            event.position.map_or_else(|| "-".to_owned(), |position| position.to_string()),
            event.kind.clone(),
            event.subject.clone().unwrap_or_else(|| "-".to_owned()),
            event.source.clone(),
            event.time.clone(),
            event.id.clone(),
        ]
    });
}

impl Tail {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let backend = context.backend().await?;
        let mut after = match self.after {
            Some(after) => after,
            None => {
                let newest = EventFilter { newest_first: true, limit: 1, ..EventFilter::default() };
                let newest = backend.events(&newest, &[]).await?;
                newest.first().and_then(|event| event.position).unwrap_or(0)
            }
        };
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            let limit = u32::try_from(left.min(500)).unwrap_or(500);
            let filter = EventFilter { after: Some(after), limit, ..self.which.filter() };
            let events = backend.events(&filter, &self.which.types).await?;
            for event in &events {
                match context.output.format {
                    Format::Json => context.output.line(&serde_json::to_string(event).unwrap_or_default()),
                    Format::Plain | Format::Table => context.output.line(&line(event)),
                }
            }
            left -= events.len() as u64;
            match events.last().and_then(|event| event.position) {
                Some(last) => after = last,
                None => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(Exit::Success)
    }
}

fn line(event: &EventDocument) -> String {
    let position = event.position.unwrap_or_default();
    let about = event.subject.as_ref().map(|subject| format!(" {subject}")).unwrap_or_default();
    format!("{position} {} {}{about} {}", event.time, event.kind, event.data)
}

async fn show(context: &CommandContext, id: &str, source: Option<&str>) -> Result<Exit> {
    let trace = context.backend().await?.event(id, source).await?;
    let EventTraceDocument { event, deliveries, chain } = &trace;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut fields = vec![
        ("event", event.id.clone()),
        ("type", format!("{} {}", event.kind, event.dataversion)),
        ("source", event.source.clone()),
        ("subject", text(&event.subject)),
        ("stream", format!("{} #{}", event.stream, number(event.sequence))),
        ("position", number(event.position)),
        ("time", event.time.clone()),
        ("user", text(&event.user)),
        ("caused by", text(&event.causationid)),
        ("data", event.data.to_string()),
    ];
    fields.extend(deliveries.iter().map(|delivery| ("delivered", delivered(delivery))));
    let others = chain.iter().filter(|other| other.id != event.id);
    fields.extend(others.map(|other| ("chain", line(other))));
    context.output.fields(&trace, &fields);
    Ok(Exit::Success)
}

fn delivered(delivery: &DeliveryDocument) -> String {
    let what = match (&delivery.job, &delivery.run, &delivery.reason) {
        (Some(job), ..) => format!("job {job}"),
        (None, Some(run), _) => format!("run {run}"),
        (None, None, reason) => format!("not delivered: {}", reason.as_deref().unwrap_or("no reason")),
    };
    format!("{}: {what}", delivery.subscription)
}
