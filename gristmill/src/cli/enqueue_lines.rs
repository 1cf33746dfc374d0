//! `gristmill enqueue --jsonl`: many jobs, in groups.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use gristmill_client::http::{Call, HttpJob, Upload};
use gristmill_core::duration::Span;
use gristmill_core::job::{NewJob, PAYLOAD_BYTES_MAX, Priority};
use gristmill_core::json;
use gristmill_core::unfit::plain;
use gristmill_core::unique::{Hold, OnConflict};
use gristmill_service::dispatcher::Overlap;
use gristmill_service::documents::{EnqueuedManyDocument, WouldEnqueueManyDocument};
use gristmill_store::{Enqueued, GROUP_JOBS_MAX};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::enqueue::{Enqueue, How, UniqueArgs, moment, new_job, requested};
use super::waiting::{describe_ends, exit_of};
use crate::cli::context::CommandContext;
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};
use crate::remote::Remote;

/// The longest line: a payload at its limit and room for what is around it.
const LINE_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX as u64 + 64 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Option<String>,
    #[serde(default, deserialize_with = "json::value")]
    payload: Value,
    queue: Option<String>,
    #[serde(alias = "lane")]
    priority: Option<Priority>,
    key: Option<String>,
    #[serde(rename = "in")]
    after: Option<Span>,
    #[serde(default, deserialize_with = "at")]
    at: Option<DateTime<Utc>>,
    unique: Option<String>,
    unique_while: Option<Hold>,
    unique_for: Option<Span>,
    on_conflict: Option<OnConflict>,
    idempotency_key: Option<String>,
    max_attempts: Option<u32>,
    timeout: Option<Span>,
}

fn at<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<DateTime<Utc>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| moment(&text)).transpose().map_err(serde::de::Error::custom)
}

#[derive(Debug, Default)]
struct Tally {
    lines: u64,
    jobs: EnqueuedManyDocument,
}

impl Tally {
    fn add(&mut self, jobs: &[Enqueued]) {
        self.lines += jobs.len() as u64;
        self.jobs.add(jobs);
    }
}

/// Enqueues every line. A file is validated as a whole before its first line is enqueued; standard input, which cannot
/// be read twice, group by group.
pub(super) async fn run(enqueue: &Enqueue, context: &CommandContext) -> Result<Exit> {
    let Some(path) = &enqueue.jsonl else { return Err(CommandError::usage("give --jsonl")) };
    let from_stdin = path == Path::new("-");
    let first_look = !from_stdin || enqueue.dry.dry_run;
    let looked_at = match (first_look, context.remote()) {
        (true, None) => look_at_all(enqueue, context, path)?,
        (true, Some(server)) => rehearse(enqueue, context, server, path).await?,
        (false, _) => 0,
    };
    if enqueue.dry.dry_run {
        return Ok(would(context, looked_at));
    }
    let mut jobs = match context.remote() {
        None => enqueue_all(enqueue, context, path).await?.jobs,
        Some(server) => upload(enqueue, context, server, path).await?,
    };
    if context.output.format != Format::Json {
        counted(context, &jobs);
    }
    jobs.ended = enqueue.waiting.jobs(context, &jobs.ids).await?;
    match (context.output.format, &jobs.ended) {
        (Format::Json, _) => context.output.document(&jobs),
        (Format::Plain | Format::Table, Some(ended)) => context.output.note(&describe_ends(ended)),
        (Format::Plain | Format::Table, None) => {}
    }
    Ok(jobs.ended.as_ref().map_or(Exit::Success, exit_of))
}

/// Validates every line, and returns how many there are.
fn look_at_all(enqueue: &Enqueue, context: &CommandContext, path: &Path) -> Result<u64> {
    let (mut groups, mut lines) = (Groups::open(path)?, 0);
    while let Some(jobs) = groups.next(enqueue, context)? {
        lines += jobs.len() as u64;
    }
    Ok(lines)
}

/// Lets a server validate every line, and returns how many there are.
async fn rehearse(enqueue: &Enqueue, context: &CommandContext, server: &Remote, path: &Path) -> Result<u64> {
    let call = Call::post(&["jobs", "many"]);
    let lines = Upload::lines(Requests::open(enqueue, path)?);
    let would: WouldEnqueueManyDocument = server.upload(call, &context.order(true), lines).await?;
    Ok(would.would_enqueue)
}

/// Enqueues every line at a server, which commits them in groups while they come.
async fn upload(
    enqueue: &Enqueue,
    context: &CommandContext,
    server: &Remote,
    path: &Path,
) -> Result<EnqueuedManyDocument> {
    let call = Call::post(&["jobs", "many"]);
    let lines = Upload::lines(Requests::open(enqueue, path)?);
    let jobs: EnqueuedManyDocument = server.upload(call, &context.order(false), lines).await?;
    if context.output.format != Format::Json {
        jobs.ids.iter().for_each(|job| context.output.line(&job.to_string()));
    }
    let EnqueuedManyDocument { enqueued, existing, replaced, debounced, ids, .. } = &jobs;
    let unnamed = (enqueued + existing + replaced + debounced).saturating_sub(ids.len() as u64);
    if unnamed > 0 && enqueue.waiting.wanted() {
        let message =
            format!("all jobs are enqueued; the server does not name {unnamed} of them, which cannot be waited for");
        return Err(CommandError::new(Exit::Failed, message).hint("enqueue fewer at once to wait for all of them"));
    }
    if unnamed > 0 {
        context.output.warning(&format!("the server does not name the last {unnamed} of the jobs"));
    }
    Ok(jobs)
}

async fn enqueue_all(enqueue: &Enqueue, context: &CommandContext, path: &Path) -> Result<Tally> {
    let mut overlap = Overlap::default();
    let tally = enqueue_groups(enqueue, context, path, &mut overlap).await;
    overlap.finished().await;
    tally
}

/// Each group is published beside the commits of those that follow.
async fn enqueue_groups(
    enqueue: &Enqueue,
    context: &CommandContext,
    path: &Path,
    overlap: &mut Overlap,
) -> Result<Tally> {
    let (service, order) = (context.service().await?, context.order(false));
    let mut groups = Groups::open(path)?;
    let mut tally = Tally::default();
    loop {
        let so_far = |error: CommandError| match tally.lines {
            0 => error,
            lines => {
                let message = format!("{} (the {lines} jobs of the groups before are enqueued)", error.message);
                CommandError { message, ..error }
            }
        };
        let Some(jobs) = groups.next(enqueue, context).map_err(so_far)? else { return Ok(tally) };
        let report = service.enqueue_beside(overlap, &order, jobs).await.map_err(|error| so_far(error.into()))?;
        if context.output.format != Format::Json {
            report.jobs.iter().for_each(|job| context.output.line(&job.id.to_string()));
        }
        tally.add(&report.jobs);
    }
}

fn would(context: &CommandContext, lines: u64) -> Exit {
    match context.output.format {
        Format::Json => {
            context.output.document(&WouldEnqueueManyDocument { dry_run: true, would_enqueue: lines });
        }
        Format::Plain | Format::Table => context.output.line(&format!("would enqueue {lines} jobs")),
    }
    Exit::Success
}

/// How many of each, beside the ids.
fn counted(context: &CommandContext, jobs: &EnqueuedManyDocument) {
    context.output.note(&format!("enqueued {} jobs", jobs.enqueued));
    let others = [
        (jobs.existing, "were there already"),
        (jobs.replaced, "took the place of one that had not begun"),
        (jobs.debounced, "made one that had not begun wait anew"),
    ];
    for (jobs, what) in others.into_iter().filter(|(jobs, _)| *jobs > 0) {
        context.output.note(&format!("{jobs} {what}"));
    }
}

struct Groups {
    reader: Box<dyn BufRead + Send>,
    name: String,
    line: u64,
}

impl Groups {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let reader: Box<dyn BufRead + Send> = match name.as_str() {
            "-" => Box::new(BufReader::new(std::io::stdin())),
            _ => Box::new(BufReader::new(
                File::open(path).map_err(|error| CommandError::usage(format!("`{name}` cannot be read: {error}")))?,
            )),
        };
        let name = if name == "-" { "standard input".to_owned() } else { name };
        Ok(Self { reader, name, line: 0 })
    }

    /// Returns the next group, all of it valid. `None` at the end.
    fn next(&mut self, enqueue: &Enqueue, context: &CommandContext) -> Result<Option<Vec<NewJob>>> {
        let mut jobs = Vec::new();
        while jobs.len() < GROUP_JOBS_MAX {
            let Some(bytes) = self.next_line()? else { break };
            jobs.push(self.job(enqueue, context, &bytes)?);
        }
        Ok((!jobs.is_empty()).then_some(jobs))
    }

    /// Returns the next line that is not empty. `None` at the end.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = (&mut self.reader).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes);
            self.line += 1;
            if read.map_err(|error| self.wrong(&error.to_string()))? == 0 {
                return Ok(None);
            }
            if bytes.len() as u64 > LINE_BYTES_MAX {
                return Err(self.wrong(&format!("is longer than {LINE_BYTES_MAX} bytes")));
            }
            if !bytes.trim_ascii().is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    fn job(&self, enqueue: &Enqueue, context: &CommandContext, bytes: &[u8]) -> Result<NewJob> {
        let (kind, payload, how) = self.read(enqueue.kind.as_deref(), &enqueue.how, bytes)?;
        new_job(context, &kind, payload, &how).map_err(|error| {
            let wrong = self.wrong(&error.message);
            CommandError { hint: error.hint, ..wrong }
        })
    }

    /// A line with the values of the command laid under it.
    fn read(&self, kind: Option<&str>, own: &How, bytes: &[u8]) -> Result<(String, Value, How)> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        // The payload stands one level deep in its line.
        let line: Line = json::typed_around(bytes, 1).map_err(|error| self.wrong(&plain(&error.to_string())))?;
        let kind = line.kind.or_else(|| kind.map(str::to_owned));
        let kind = kind.ok_or_else(|| self.wrong("has no `kind`, and the command names none"))?;
        if line.max_attempts == Some(0) {
            return Err(self.wrong("has `max_attempts` 0; at least 1 is needed"));
        }
        if line.after.is_some() && line.at.is_some() {
            return Err(self.wrong("has both `in` and `at`; give only one"));
        }
        let said_when = line.after.is_some() || line.at.is_some();
        if line.unique_while.is_some() && line.unique_for.is_some() {
            return Err(self.wrong("has both `unique_while` and `unique_for`; give only one"));
        }
        // The command's settings for unique jobs apply to the lines that have a key and no settings of their own.
        let none = UniqueArgs::default();
        let said = if line.unique.is_some() { &own.unique } else { &none };
        let numbered = own.idempotency_key.as_ref().map(|key| format!("{key}:{}", self.line));
        let how = How {
            after: line.after.map(|span| span.0).or(own.after.filter(|_| !said_when)),
            at: line.at.or(own.at.filter(|_| !said_when)),
            queue: line.queue.or_else(|| own.queue.clone()),
            priority: line.priority.or(own.priority),
            turn: line.key.or_else(|| own.turn.clone()),
            unique: UniqueArgs {
                hold: line.unique_while.or_else(|| said.hold.clone().filter(|_| line.unique_for.is_none())),
                period: line.unique_for.map(|span| span.0).or(said.period),
                on_conflict: line.on_conflict.or(said.on_conflict),
                key: line.unique,
            },
            max_attempts: line.max_attempts.or(own.max_attempts),
            payload_version: own.payload_version,
            timeout: line.timeout.map(|span| span.0).or(own.timeout),
            idempotency_key: line.idempotency_key.or(numbered),
        };
        Ok((kind, line.payload, how))
    }

    fn wrong(&self, what: &str) -> CommandError {
        CommandError::usage(format!("{}:{}: {what}", self.name, self.line))
            .hint("a line is {\"kind\": …, \"payload\": …}; see `gristmill enqueue --help`")
    }
}

/// The lines of a file as a server is asked for them. Empty ones go along, so that both count alike.
struct Requests {
    lines: Groups,
    kind: Option<String>,
    how: How,
    /// How many empty lines come before `waiting`.
    empty: u64,
    waiting: Option<HttpJob>,
}

impl Requests {
    fn open(enqueue: &Enqueue, path: &Path) -> Result<Self> {
        let (kind, how) = (enqueue.kind.clone(), enqueue.how.clone());
        Ok(Self { lines: Groups::open(path)?, kind, how, empty: 0, waiting: None })
    }

    fn next_request(&mut self) -> Result<Option<Option<HttpJob>>> {
        if self.waiting.is_none() {
            let before = self.lines.line;
            let Some(bytes) = self.lines.next_line()? else { return Ok(None) };
            let (kind, payload, how) = self.lines.read(self.kind.as_deref(), &self.how, &bytes)?;
            self.empty = self.lines.line - before - 1;
            self.waiting = Some(requested(&kind, payload, &how)?);
        }
        if self.empty > 0 {
            self.empty -= 1;
            return Ok(Some(None));
        }
        Ok(Some(self.waiting.take()))
    }
}

impl Iterator for Requests {
    type Item = std::result::Result<Option<HttpJob>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_request().map_err(|error| error.message).transpose()
    }
}
