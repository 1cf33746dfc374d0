//! `schedule create`, `edit`, `enable`, `disable` and `delete`.

use clap::Args;
use gristmill_core::definition::OneOrMany;
use gristmill_core::duration::{self, Span};
use gristmill_core::schedule::describe::plainly;
use gristmill_core::schedule::{Ending, JobSpec, Missed, Overlap, ScheduleSpec, Target};
use gristmill_service::documents::{ScheduleDocument, ScheduleReportDocument, WouldSaveScheduleDocument};
use gristmill_service::start::params::param;
use gristmill_service::start::render;
use gristmill_store::{ScheduleOrigin, ScheduleView};
use serde_json::{Map, Value};

use super::super::batch_run::bad_param;
use super::look::{compiled, print, upcoming};
use super::{Found, find};
use crate::cli::context::CommandContext;
use crate::cli::list::DryRun;
use crate::cli::output::Format;
use crate::config::runs::rehearsed;
use crate::config::suggest;
use crate::config::verify::is_name;
use crate::exit_code::{CommandError, Exit, Result};

/// How many ticks a dry run shows.
const PREVIEW: usize = 10;

/// Make a schedule in the store
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule create nightly --cron '0 2 * * *' --timezone Europe/London --batch retail
  gristmill schedule create ping --every 15m --kind http --payload '{\"url\":\"https://example.com/ping\"}'
  gristmill schedule create once --at 2030-01-31T02:00 --timezone Asia/Tokyo --batch retail --dry-run
  gristmill schedule create totals --after retail --batch totals

What --cron understands: minute, hour, day of month, month, day of week; seconds may come first; @daily and the
like; MON-FRI, L for the last day, FRI#2 for the second Friday.")]
pub(super) struct Create {
    /// Its name
    name: String,
    #[command(flatten)]
    said: Said,
    /// Make it, but do not let it run by itself yet
    #[arg(long)]
    disabled: bool,
    #[command(flatten)]
    dry: DryRun,
}

/// Change a schedule that was made by a command
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule edit nightly --cron '30 2 * * *' --dry-run
  gristmill schedule edit nightly --overlap buffer_one --owner ops

What is not said stays as it is. With another time only ticks from now on are its business.")]
pub(super) struct Edit {
    /// The schedule
    name: String,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    dry: DryRun,
}

/// What a schedule is said to be.
#[derive(Debug, Args)]
struct Said {
    /// Wall-clock times, such as '0 2 * * *'
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["every", "at", "after"])]
    cron: Option<String>,
    /// A fixed interval, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with_all = ["at", "after"])]
    every: Option<std::time::Duration>,
    /// One instant; may be repeated
    #[arg(long, value_name = "INSTANT")]
    at: Vec<String>,
    /// Each time that a run of this batch has ended, instead of by the clock
    #[arg(long, value_name = "BATCH", conflicts_with = "at")]
    after: Option<String>,
    /// With --after: which endings count: done, halted or settled; done unless said
    #[arg(long, value_name = "ENDING")]
    ending: Option<Ending>,
    /// The IANA zone of its clock, such as Europe/London; UTC unless said
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// No tick before this instant
    #[arg(long, value_name = "INSTANT")]
    start: Option<String>,
    /// No tick after this instant
    #[arg(long, value_name = "INSTANT")]
    end: Option<String>,
    /// Start each run up to so long after its tick
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    jitter: Option<std::time::Duration>,
    /// What becomes of missed ticks: skip, latest or all
    #[arg(long, value_name = "POLICY")]
    missed: Option<Missed>,
    /// Missed ticks later than this never run
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    missed_within: Option<std::time::Duration>,
    /// How many missed ticks run with --missed all
    #[arg(long, value_name = "N")]
    missed_max: Option<u32>,
    /// How late the newest tick may be and count as on time
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    grace: Option<std::time::Duration>,
    /// What a tick does while an earlier run is under way: skip, buffer_one, buffer_all, cancel_running or allow
    #[arg(long, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// So long after its start a run is late: what `on.late` of its batch tells then
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    late_after: Option<std::time::Duration>,
    /// The batch definition that it runs
    #[arg(long, value_name = "NAME", conflicts_with_all = ["kind", "payload", "queue"])]
    batch: Option<String>,
    /// The kind of the job that it enqueues
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// The job's payload as JSON
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// The job's queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// A parameter of the run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    param: Vec<String>,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Said {
    /// Returns the schedule with the given values laid over it.
    fn over(&self, mut spec: ScheduleSpec) -> Result<ScheduleSpec> {
        if self.cron.is_some() || self.every.is_some() || !self.at.is_empty() || self.after.is_some() {
            spec.after.clone_from(&self.after);
            spec.ending = spec.ending.filter(|_| self.after.is_some());
            spec.cron.clone_from(&self.cron);
            spec.every = self.every.map(Span);
            spec.at = (!self.at.is_empty()).then(|| OneOrMany::Many(self.at.clone()));
        }
        let lay = |place: &mut Option<String>, said: &Option<String>| {
            if said.is_some() {
                place.clone_from(said);
            }
        };
        lay(&mut spec.timezone, &self.timezone);
        lay(&mut spec.start, &self.start);
        lay(&mut spec.end, &self.end);
        lay(&mut spec.owner, &self.owner);
        lay(&mut spec.description, &self.description);
        spec.jitter = self.jitter.map(Span).or(spec.jitter);
        spec.missed = self.missed.unwrap_or(spec.missed);
        spec.missed_within = self.missed_within.map(Span).or(spec.missed_within);
        spec.missed_max = self.missed_max.or(spec.missed_max);
        spec.grace = self.grace.map(Span).or(spec.grace);
        spec.overlap = self.overlap.or(spec.overlap);
        spec.late_after = self.late_after.map(Span).or(spec.late_after);
        spec.ending = self.ending.or(spec.ending);
        self.lay_target(&mut spec)?;
        self.lay_params(&mut spec)?;
        Ok(spec)
    }

    fn lay_target(&self, spec: &mut ScheduleSpec) -> Result<()> {
        if let Some(batch) = &self.batch {
            (spec.batch, spec.job) = (Some(batch.clone()), None);
        }
        if self.kind.is_none() && self.payload.is_none() && self.queue.is_none() {
            return Ok(());
        }
        let mut job = spec.job.take().unwrap_or_default();
        if let Some(kind) = &self.kind {
            (job, spec.batch) = (JobSpec { kind: kind.clone(), ..job }, None);
        }
        if let Some(payload) = &self.payload {
            job.payload = gristmill_core::json::read(payload.as_bytes())
                .map_err(|error| CommandError::usage(format!("--payload is not JSON that can be kept: {error}")))?;
        }
        job.queue = self.queue.clone().or(job.queue);
        spec.job = Some(job);
        Ok(())
    }

    fn lay_params(&self, spec: &mut ScheduleSpec) -> Result<()> {
        for text in &self.param {
            let (key, value) = param(text).map_err(|error| bad_param(&error))?;
            let params = spec.params.get_or_insert_with(|| Value::Object(Map::new()));
            params[key] = value;
        }
        Ok(())
    }
}

impl Create {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if !is_name(&self.name) {
            return Err(CommandError::usage(format!("`{}` cannot be the name of a schedule", self.name))
                .hint("a name has 1 to 100 letters, digits, `-` and `_`"));
        }
        let spec = self.said.over(ScheduleSpec::default())?;
        checked(context, &self.name, &spec)?;
        let (backend, order) = (context.backend().await?, context.order(self.dry.dry_run));
        if backend.schedule(&self.name).await?.is_some() {
            let wrong = format!("there is a schedule `{}` already", self.name);
            return Err(CommandError::new(Exit::Conflict, wrong).hint("change it with `gristmill schedule edit`"));
        }
        compiled(&self.name, &spec)?;
        match backend.create_schedule(&order, &self.name, spec.clone(), !self.disabled).await? {
            Some(made) => Ok(report_saved(context, Some(&made))),
            None => preview(context, &self.name, &spec).await,
        }
    }
}

impl Edit {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let view = of_command(find(context, &self.name).await?, &self.name)?;
        let spec = self.said.over(view.spec.clone())?;
        checked(context, &self.name, &spec)?;
        compiled(&self.name, &spec)?;
        let (backend, order) = (context.backend().await?, context.order(self.dry.dry_run));
        match backend.edit_schedule(&order, &view, spec.clone()).await? {
            Some(edited) => Ok(report_saved(context, Some(&edited))),
            None => preview(context, &self.name, &spec).await,
        }
    }
}

/// Refuses a schedule that could not run.
fn checked(context: &CommandContext, name: &str, spec: &ScheduleSpec) -> Result<()> {
    spec.check().map_err(|error| CommandError::usage(format!("the schedule `{name}`: {error}")))?;
    let target = spec.target().map_err(|error| {
        CommandError::usage(format!("the schedule `{name}` {}", error.message)).hint("say --batch NAME or --kind KIND")
    })?;
    // What its configuration says only the server knows.
    if context.remote().is_some() {
        return Ok(());
    }
    let started = match target {
        Target::Batch(batch) => Some(batch),
        Target::Job(job) => {
            render::check_payload(&job.kind, &job.payload, spec.after.is_some())
                .map_err(|what| CommandError::usage(format!("the schedule `{name}`: `job.payload`: {what}")))?;
            None
        }
    };
    let said = started.into_iter().chain(spec.after.as_deref());
    said.into_iter().try_for_each(|batch| in_the_configuration(context, batch))?;
    if let Some((key, wrong)) = rehearsed("", name, spec, &context.loaded.config.batch, &context.extensions) {
        let place = if key.is_empty() { String::new() } else { format!("`{key}`: ") };
        return Err(CommandError::usage(format!("the schedule `{name}`: {place}{wrong}")));
    }
    let late = started.and_then(|batch| context.loaded.config.batch.get(batch));
    if spec.late_after.is_some() && late.is_some_and(|batch| batch.on.late.is_empty()) {
        let wrong = format!("the schedule `{name}`: `late_after`: its batch has nobody to tell");
        return Err(CommandError::usage(wrong).hint("write `on.late` in the batch's definition"));
    }
    Ok(())
}

fn in_the_configuration(context: &CommandContext, batch: &str) -> Result<()> {
    if context.loaded.config.batch.contains_key(batch) {
        return Ok(());
    }
    let error = CommandError::not_found(format!("there is no [batch.{batch}] in the configuration"));
    Err(match suggest(batch, context.loaded.config.batch.keys().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// Schedules of the configuration file are changed there.
fn of_command(found: Found, name: &str) -> Result<ScheduleView> {
    match found.view {
        Some(view) if view.origin == ScheduleOrigin::Command => Ok(view),
        _ => Err(CommandError::new(Exit::Conflict, format!("the schedule `{name}` is in the configuration file"))
            .hint("change it there: a running scheduler sees it at once")),
    }
}

/// Shows what would be saved, and the ticks that it would have.
async fn preview(context: &CommandContext, name: &str, spec: &ScheduleSpec) -> Result<Exit> {
    let now = context.backend().await?.now().await?;
    let timetable = compiled(name, spec)?;
    match context.output.format {
        Format::Json => {
            let (schedule, next) = (name.to_owned(), upcoming(&timetable, now, PREVIEW));
            context.output.document(&WouldSaveScheduleDocument { dry_run: true, schedule, spec: spec.clone(), next });
        }
        Format::Plain | Format::Table => {
            context.output.note(&format!("would save {name}: {}", plainly(spec)));
            print(context, &timetable, &upcoming(&timetable, now, PREVIEW), now);
        }
    }
    Ok(Exit::Success)
}

fn report_saved(context: &CommandContext, view: Option<&ScheduleView>) -> Exit {
    let Some(view) = view else { return Exit::Success };
    match context.output.format {
        Format::Json => context.output.document(&ScheduleDocument::from(view)),
        Format::Plain | Format::Table => {
            let state = if view.enabled { "enabled" } else { "disabled" };
            context.output.line(&format!("{}\t{state}\tversion {}", view.name, view.version));
            context.output.note(&format!(
                "{}; see it: {} schedule next {}",
                plainly(&view.spec),
                context.program_here(),
                view.name
            ));
        }
    }
    Exit::Success
}

/// Lets a schedule run by itself, or stops it.
pub(super) async fn switch(context: &CommandContext, name: &str, enabled: bool, dry_run: bool) -> Result<Exit> {
    let Some(view) = find(context, name).await?.view else {
        return Err(CommandError::new(Exit::Conflict, format!("no scheduler has seen the schedule `{name}` yet"))
            .hint("say `enabled = false` in the configuration, or start a scheduler first"));
    };
    let word = if enabled { "enable" } else { "disable" };
    if dry_run || view.enabled == enabled {
        let said =
            if view.enabled == enabled { format!("{name} is {word}d already") } else { format!("would {word} {name}") };
        match context.output.format {
            Format::Json => {
                let affected = u64::from(view.enabled != enabled);
                context.output.document(&ScheduleReportDocument { dry_run, schedule: name.to_owned(), affected });
            }
            Format::Plain | Format::Table => context.output.line(&said),
        }
        return Ok(Exit::Success);
    }
    let switched = context.backend().await?.switch_schedule(&context.order(false), &view, enabled).await?;
    Ok(report_saved(context, switched.as_ref()))
}

/// Removes a schedule that was created by a command.
pub(super) async fn delete(context: &CommandContext, name: &str, dry_run: bool) -> Result<Exit> {
    of_command(find(context, name).await?, name)?;
    context.backend().await?.remove_schedule(&context.order(dry_run), name).await?;
    match context.output.format {
        Format::Json => {
            context.output.document(&ScheduleReportDocument { dry_run, schedule: name.to_owned(), affected: 1 });
        }
        Format::Plain | Format::Table => {
            context
                .output
                .line(&format!("{} {name}; its ledger stays", if dry_run { "would delete" } else { "deleted" }));
        }
    }
    Ok(Exit::Success)
}
