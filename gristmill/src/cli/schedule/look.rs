//! `schedule list`, `show` and `next`.

use clap::Args;
use gristmill_core::Instant;
use gristmill_core::schedule::describe::plainly;
use gristmill_core::schedule::{ScheduleSpec, Timetable};
pub(in crate::cli) use gristmill_service::documents::starts as target;
use gristmill_service::documents::{NextTicksDocument, PlannedTickDocument, ScheduleDocument, ScheduleState};
use gristmill_store::{ScheduleOrigin, TickFilter, TickView};
use serde_json::Value;

use super::{Found, find, on_our_clock, on_the_clock, read_instant, utc};
use crate::cli::context::CommandContext;
use crate::cli::output::{Format, relative};
use crate::exit_code::{CommandError, Exit, Result};

/// How many next ticks and last runs `show` prints.
const SHOWN: usize = 5;

/// The next ticks; needs no running scheduler
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill schedule next nightly
  gristmill schedule next nightly --from 2026-03-28 -n 3
  gristmill schedule next nightly -n 100 --json

Times are shown on the schedule's clock and on yours. A schedule of the configuration needs no store.")]
pub(super) struct Next {
    /// The schedule
    name: String,
    /// Ticks after this instant instead of now: RFC 3339, or a date and time on the schedule's clock
    #[arg(long, value_name = "INSTANT")]
    from: Option<String>,
    /// How many ticks
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
}

impl Next {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let spec = match context.loaded.schedules().remove(&self.name) {
            Some(spec) => spec,
            None => find(context, &self.name).await?.spec,
        };
        let timetable = compiled(&self.name, &spec)?;
        let from = match &self.from {
            Some(text) => read_instant("from", text, timetable.zone())?,
            None => chrono::Utc::now(),
        };
        let ticks = upcoming(&timetable, from, usize::from(self.count));
        if context.output.format == Format::Json {
            context.output.document(&NextTicksDocument::new(&self.name, &spec, &timetable, from, &ticks));
            return Ok(Exit::Success);
        }
        context.output.note(&format!("{}: {}", self.name, plainly(&spec)));
        context.output.note(&super::time_zones());
        print(context, &timetable, &ticks, from);
        Ok(Exit::Success)
    }
}

/// Compiles a schedule that was checked when it was read or saved.
pub(super) fn compiled(name: &str, spec: &ScheduleSpec) -> Result<Timetable> {
    Timetable::compile(name, spec).map_err(|error| CommandError::usage(format!("the schedule `{name}`: {error}")))
}

/// The ticks after an instant.
pub(super) fn upcoming(timetable: &Timetable, from: Instant, count: usize) -> Vec<Instant> {
    timetable.between(from, Instant::MAX_UTC, count).ticks
}

/// Prints ticks on the schedule's clock and on the viewer's.
pub(super) fn print(context: &CommandContext, timetable: &Timetable, ticks: &[Instant], now: Instant) {
    let zone = timetable.zone();
    let columns = ["TICK", "ON THE SCHEDULE'S CLOCK", "ON YOURS", "IN", "NOTE"];
    context.output.list(ticks, &columns, |tick, _| {
        let starts = timetable.fires_at(*tick);
        let jitter = (starts != *tick).then(|| format!("starts at {}", utc(starts)));
        let note = timetable.note(*tick).map(|note| note.as_str().to_owned());
        vec![
            utc(*tick),
            on_the_clock(*tick, zone),
            on_our_clock(*tick),
            relative(*tick, now),
            [note, jitter].into_iter().flatten().collect::<Vec<_>>().join("; "),
        ]
    });
}

/// Lists every schedule: those of the store, and those of the configuration that no scheduler has seen yet.
pub(super) async fn list(context: &CommandContext) -> Result<Exit> {
    let rows = context.backend().await?.schedules().await?;
    let columns = ["SCHEDULE", "STATE", "STARTS", "WHEN", "NEXT", "RUNNING", "WAITING", "MISSED", "OVERLAP", "ORIGIN"];
    context.output.list(&rows, &columns, |row, output| {
        vec![
            row.name.clone(),
            row.state.to_string(),
            target(&row.spec),
            plainly(&row.spec),
            output.time_or_dash(row.next_at.filter(|_| row.state == ScheduleState::Enabled)),
            row.running.to_string(),
            row.buffered.to_string(),
            row.spec.missed.to_string(),
            row.spec.overlap().to_string(),
            row.origin.to_string(),
        ]
    });
    Ok(Exit::Success)
}

/// `new` until a scheduler has seen it.
fn state(found: &Found) -> &'static str {
    ScheduleState::of(found.view.as_ref()).as_str()
}

/// Shows one schedule with its next ticks and its last runs.
pub(super) async fn show(context: &CommandContext, name: &str) -> Result<Exit> {
    let backend = context.backend().await?;
    let Some(document) = backend.schedule(name).await? else { return Err(super::unknown(context, name).await) };
    let found = Found::from(document.clone());
    let timetable = compiled(name, &found.spec)?;
    let now = backend.now().await?;
    let filter =
        TickFilter { tenant: context.tenant.clone(), schedule: name.to_owned(), from: None, until: None, limit: 10 };
    let (last, next) = (backend.ticks(&filter).await?, upcoming(&timetable, now, SHOWN));
    if context.output.format == Format::Json {
        let next = next.iter().map(|tick| PlannedTickDocument::new(&timetable, *tick)).collect();
        context.output.document(&ScheduleDocument { next: Some(next), last: Some(last), ..document });
        return Ok(Exit::Success);
    }
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let fields = [
        ("name", name.to_owned()),
        ("state", state(&found).to_owned()),
        ("origin", found.origin().to_string()),
        ("when", plainly(&found.spec)),
        ("starts", target(&found.spec)),
        ("missed", found.spec.missed.to_string()),
        ("overlap", found.spec.overlap().to_string()),
        ("owner", dash(&found.spec.owner)),
        ("description", dash(&found.spec.description)),
        ("time zones", super::time_zones()),
    ];
    context.output.fields(&Value::Null, &fields);
    context.output.line("");
    print(context, &timetable, &next, now);
    context.output.line("");
    ledger(context, &last);
    if found.view.is_none() && found.origin() == ScheduleOrigin::File {
        context.output.note("no scheduler has seen it yet: start `gristmill dev` or `gristmill scheduler`");
    }
    Ok(Exit::Success)
}

/// Rows of the ledger.
pub(super) fn ledger(context: &CommandContext, rows: &[TickView]) {
    let columns = ["TICK", "CAUSE", "OUTCOME", "LATE", "RUN", "RESULT", "TZDB", "REASON"];
    context.output.list(rows, &columns, |row, _| {
        let run = row.batch.map(|id| id.to_string()).or_else(|| row.job.map(|id| id.to_string()));
        let late = std::time::Duration::from_millis(u64::try_from(row.late_ms).unwrap_or(0));
        let outcome =
            if row.ticks > 1 { format!("{} ({} ticks)", row.outcome, row.ticks) } else { row.outcome.to_string() };
        vec![
            utc(row.tick),
            row.cause.to_string(),
            outcome,
            gristmill_core::duration::format(late),
            run.unwrap_or_else(|| "-".to_owned()),
            row.result.clone().unwrap_or_else(|| if row.active { "running".to_owned() } else { "-".to_owned() }),
            row.tzdb.clone().unwrap_or_else(|| "-".to_owned()),
            row.reason.clone().unwrap_or_default(),
        ]
    });
}
