//! `gristmill notify`: the channels of notifications: list, try, and send over one.

use chrono::Utc;
use clap::{Args, Subcommand};
use gristmill_jobs::kind::notify::send;
use gristmill_jobs::kind::payload::{NOTIFY, NotifyPayload};
use gristmill_jobs::notify::services::request;
use gristmill_jobs::notify::{ChannelKind, ChannelSettings, Notice, Secrets, Severity};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::enqueue::{Enqueue, How, read_payload};
use super::list::DryRun;
use super::waiting::Waiting;
use crate::cli::context::{CommandContext, internal};
use crate::cli::output::Format;
use crate::config::suggest;
use crate::exit_code::{CommandError, Exit, Result};

/// Channels of notifications: list them, try one, send over one
#[derive(Debug, Args)]
pub(crate) struct Notify {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The channels of `[notify]`, and whether their secrets can be read here
    List,
    /// Send something over a channel at once, without a job, and say what the service answers
    #[command(before_help = "Examples:
  gristmill notify test ops
  gristmill notify test pager --severity critical
  gristmill notify test pager --severity ok
  gristmill notify test ops --dry-run

What begins with `critical` or `warning` at a service that keeps track of it is ended by `ok`. With --dry-run the request \
is shown, without its secrets, and nothing is sent.")]
    Test {
        /// The channel
        name: String,
        /// How much it matters: ok, info, warning or critical
        #[arg(long, value_name = "SEVERITY", default_value = "info")]
        severity: Severity,
        #[command(flatten)]
        dry: DryRun,
    },
    /// Send a notification: enqueues a job of kind `notify`
    Send(Box<Send>),
}

/// Send a notification: enqueues a job of kind `notify`
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill notify send ops --title 'The backup is done'
  gristmill notify send pager --title 'No space left' --severity critical --key disk
  gristmill notify send pager --title 'There is space again' --severity ok --key disk --wait")]
struct Send {
    /// The channel
    name: String,
    /// One line
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// More of it
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// How much it matters: ok, info, warning or critical; info unless said
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// What it is about: `ok` ends what the same key has begun
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
    /// The page that shows it
    #[arg(long, value_name = "URL")]
    link: Option<String>,
    /// What happened, such as backup.done; `notice` unless said
    #[arg(long = "type", value_name = "TYPE")]
    event: Option<String>,
    /// Its own content, for the channel's templates: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    data: Option<String>,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    dry: DryRun,
}

/// A channel of the list.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    kind: ChannelKind,
    /// Where it goes: the host of a secret address, and who gets it.
    to: String,
    /// Why nothing can be sent over it from here.
    fault: Option<String>,
}

/// The request of a trial, without its secrets.
#[derive(Debug, Serialize)]
struct Shown {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Notify {
    /// Whether it makes a job.
    pub(super) fn enqueues(&self) -> bool {
        matches!(self.verb, Verb::Send(_))
    }

    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        match self.verb {
            Verb::List => Ok(list(context)),
            Verb::Test { name, severity, dry } => test(context, &name, severity, dry.dry_run).await,
            Verb::Send(send) => send.run(context).await,
        }
    }
}

impl Send {
    async fn run(self, context: &CommandContext) -> Result<Exit> {
        let payload = NotifyPayload {
            to: self.name,
            event: self.event.unwrap_or_else(|| "notice".to_owned()),
            title: Some(self.title),
            text: self.text,
            severity: self.severity,
            key: self.about,
            link: self.link,
            data: self.data.as_deref().map_or(Ok(Value::Null), read_payload)?,
        };
        let enqueue = Enqueue {
            kind: Some(NOTIFY.to_owned()),
            payload: Some(serde_json::to_string(&payload).map_err(internal)?),
            jsonl: None,
            how: self.how,
            waiting: self.waiting,
            dry: self.dry,
        };
        enqueue.run(context).await
    }
}

fn list(context: &CommandContext) -> Exit {
    let listed = |(name, channel): (&String, &ChannelSettings)| {
        let secrets = channel.secrets(&format!("notify.{name}"));
        let whom = channel.to.as_slice().join(", ");
        let place = secrets.as_ref().map(place).unwrap_or_default();
        let to = [place, whom].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Listed { name: name.clone(), kind: channel.kind, to, fault: secrets.err() }
    };
    let listed: Vec<Listed> = context.loaded.config.notify.iter().map(listed).collect();
    context.output.list(&listed, &["CHANNEL", "KIND", "TO", "FAULT"], |one, _| {
        vec![one.name.clone(), one.kind.to_string(), one.to.clone(), one.fault.clone().unwrap_or_default()]
    });
    if listed.iter().any(|one| one.fault.is_some()) { Exit::Problems } else { Exit::Success }
}

/// The address, of a secret one the host alone.
fn place(secrets: &Secrets) -> String {
    match url::Url::parse(&secrets.url) {
        Ok(url) if secrets.url_is_secret => format!("{}://{}/…", url.scheme(), url.host_str().unwrap_or_default()),
        _ => secrets.url.clone(),
    }
}

fn find<'c>(context: &'c CommandContext, name: &str) -> Result<&'c ChannelSettings> {
    let channels = &context.loaded.config.notify;
    channels.get(name).ok_or_else(|| {
        let unknown = CommandError::not_found(format!("there is no channel [notify.{name}]"));
        match suggest(name, channels.keys().map(String::as_str)) {
            Some(near) => unknown.hint(near),
            None => unknown.hint("write one into the configuration: docs/notifications.md"),
        }
    })
}

async fn test(context: &CommandContext, name: &str, severity: Severity, dry: bool) -> Result<Exit> {
    let channel = find(context, name)?;
    if channel.kind == ChannelKind::Email {
        let through = CommandError::usage(format!("[notify.{name}] sends emails, which go through the queue"));
        return Err(through.hint(format!("{} notify send {name} --title Test --wait", context.program())));
    }
    let payload = NotifyPayload {
        to: name.to_owned(),
        event: "notify.test".to_owned(),
        title: Some(format!("Test of the channel {name}")),
        text: Some("Whoever reads this need not do anything.".to_owned()),
        severity: Some(severity),
        ..NotifyPayload::default()
    };
    let failed = |why: String| CommandError::new(Exit::Failed, why);
    let notice = Notice::of(&payload, Utc::now(), "").map_err(failed)?;
    let id = Uuid::now_v7().to_string();
    if dry {
        show(context, &shown(name, channel, &notice, &id).map_err(failed)?);
        return Ok(Exit::Success);
    }
    send(name, channel, &notice, &id).await.map_err(failed)?;
    match context.output.format {
        Format::Json => context.output.document(&serde_json::json!({ "channel": name, "taken": true })),
        _ => context.output.line(&format!("{name}: {} has taken it", channel.kind)),
    }
    Ok(Exit::Success)
}

/// What would be sent. The token of some is in the address or in the body.
fn shown(name: &str, channel: &ChannelSettings, notice: &Notice, id: &str) -> std::result::Result<Shown, String> {
    let secrets = channel.secrets(&format!("notify.{name}"))?;
    let request = request(channel, &secrets, notice, id)?;
    let hidden = |text: String| match &secrets.token {
        Some(token) => text.replace(token.as_str(), "***"),
        None => text,
    };
    let headers = request.headers.iter().map(|(name, value)| {
        let text = if value.is_sensitive() { "***" } else { value.to_str().unwrap_or_default() };
        (name.to_string(), text.to_owned())
    });
    let body = hidden(String::from_utf8_lossy(&request.body).into_owned());
    Ok(Shown {
        method: request.method.to_string(),
        url: if secrets.url_is_secret { place(&secrets) } else { hidden(request.url.clone()) },
        headers: headers.collect(),
        body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
    })
}

fn show(context: &CommandContext, shown: &Shown) {
    if context.output.format == Format::Json {
        return context.output.document(shown);
    }
    context.output.line(&format!("{} {}", shown.method, shown.url));
    for (name, value) in &shown.headers {
        context.output.line(&format!("{name}: {value}"));
    }
    let body = match &shown.body {
        Value::String(text) => text.clone(),
        json => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    context.output.line("");
    context.output.line(&body);
}
