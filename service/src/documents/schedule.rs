//! A schedule, its ticks to come, the ledger of those that came, and its backfills.

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::schedule::describe::plainly;
use gristmill_core::schedule::{Note, ScheduleSpec, Target, Timetable, tzdb};
use gristmill_store::{ScheduleOrigin, ScheduleView, TickCause, TickOutcome, TickView};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

gristmill_core::words! {
    /// Whether a schedule runs by itself.
    pub enum ScheduleState {
        /// It is in the configuration, and no scheduler has seen it yet.
        New = "new",
        /// It runs by itself.
        Enabled = "enabled",
        /// It does not run by itself.
        Disabled = "disabled",
    }
}

impl ScheduleState {
    /// The state of a schedule with this row, if it has one.
    pub fn of(view: Option<&ScheduleView>) -> Self {
        match view {
            None => Self::New,
            Some(view) if view.enabled => Self::Enabled,
            Some(_) => Self::Disabled,
        }
    }
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleDocument {
    /// Its name; also its key in lists.
    pub name: String,
    /// The tenant that owns it.
    pub tenant: String,
    /// Whether a scheduler knows it, and whether it runs by itself.
    pub state: ScheduleState,
    /// Whether it runs by itself, or would once a scheduler has seen it.
    pub enabled: bool,
    /// Where it was made.
    pub origin: ScheduleOrigin,
    /// When it runs, in words.
    pub description: String,
    /// The schedule itself.
    pub spec: ScheduleSpec,
    /// Rises with each edit; `null` when no scheduler has seen it, like the following fields.
    pub version: Option<i64>,
    /// Ticks up to here have been decided.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub decided_at: Option<Instant>,
    /// When the next tick starts, jitter included.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub next_at: Option<Instant>,
    /// When it was made.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub created_at: Option<Instant>,
    /// When it was last edited.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub updated_at: Option<Instant>,
    /// Runs, other than of backfills, that are not known to have ended.
    pub running: u64,
    /// Ticks that wait until those have ended.
    pub buffered: u64,
    /// Its next ticks. Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<PlannedTickDocument>>,
    /// Its last ticks, the newest first. Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Vec<TickView>>,
}

impl ScheduleDocument {
    /// A schedule as its configuration says, and as the store knows it, if it does.
    pub fn new(tenant: &str, name: &str, spec: &ScheduleSpec, view: Option<&ScheduleView>) -> Self {
        Self {
            name: name.to_owned(),
            tenant: tenant.to_owned(),
            state: ScheduleState::of(view),
            enabled: view.map_or(spec.enabled.unwrap_or(true), |view| view.enabled),
            origin: view.map_or(ScheduleOrigin::File, |view| view.origin),
            description: plainly(spec),
            spec: spec.clone(),
            version: view.map(|view| view.version),
            decided_at: view.map(|view| view.decided_at),
            next_at: view.and_then(|view| view.next_at),
            created_at: view.map(|view| view.created_at),
            updated_at: view.map(|view| view.updated_at),
            running: view.map_or(0, |view| view.running),
            buffered: view.map_or(0, |view| view.buffered),
            next: None,
            last: None,
        }
    }
}

impl ScheduleDocument {
    /// Its row in the store; `None` when no scheduler has seen it.
    pub fn view(&self) -> Option<ScheduleView> {
        Some(ScheduleView {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            origin: self.origin,
            spec: self.spec.clone(),
            enabled: self.enabled,
            version: self.version?,
            decided_at: self.decided_at?,
            next_at: self.next_at,
            created_at: self.created_at?,
            updated_at: self.updated_at?,
            running: self.running,
            buffered: self.buffered,
        })
    }
}

impl From<&ScheduleView> for ScheduleDocument {
    fn from(view: &ScheduleView) -> Self {
        Self::new(&view.tenant, &view.name, &view.spec, Some(view))
    }
}

/// What a schedule starts: `batch retail` or `job exec`.
pub fn starts(spec: &ScheduleSpec) -> String {
    match spec.target() {
        Ok(Target::Batch(batch)) => format!("batch {batch}"),
        Ok(Target::Job(job)) => format!("job {}", job.kind),
        Err(_) => "nothing".to_owned(),
    }
}

/// A tick to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedTickDocument {
    /// The tick.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub tick: Instant,
    /// The same instant on the schedule's clock, with its offset.
    pub local: String,
    /// When its run starts, jitter included.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub starts_at: Instant,
    /// Where its logical interval begins.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub from: Instant,
    /// Where it ends.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub to: Instant,
    /// What a clock change does to it, in words.
    pub note: Option<String>,
}

impl PlannedTickDocument {
    /// A tick of a schedule.
    pub fn new(timetable: &Timetable, tick: Instant) -> Self {
        let (from, to) = timetable.interval(tick);
        Self {
            tick,
            local: tick.with_timezone(&timetable.zone()).to_rfc3339(),
            starts_at: timetable.fires_at(tick),
            from,
            to,
            note: timetable.note(tick).map(|note: Note| note.as_str().to_owned()),
        }
    }
}

/// What `schedule next` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NextTicksDocument {
    /// The schedule.
    pub schedule: String,
    /// When it runs, in words.
    pub description: String,
    /// The zone of its clock, by its IANA name.
    pub timezone: String,
    /// The edition of the IANA database whose rules are in use, such as `2026f`.
    pub tzdb: &'static str,
    /// Ticks after this instant.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub from: Instant,
    /// The ticks, in order.
    pub next: Vec<PlannedTickDocument>,
}

impl NextTicksDocument {
    /// Ticks of a schedule.
    pub fn new(name: &str, spec: &ScheduleSpec, timetable: &Timetable, from: Instant, ticks: &[Instant]) -> Self {
        Self {
            schedule: name.to_owned(),
            description: plainly(spec),
            timezone: timetable.zone().name().to_owned(),
            tzdb: tzdb().0,
            from,
            next: ticks.iter().map(|tick| PlannedTickDocument::new(timetable, *tick)).collect(),
        }
    }
}

gristmill_core::words! {
    /// What became of a slot of a schedule.
    pub enum SlotState {
        /// It ran on time.
        OnTime = "on_time",
        /// It ran late.
        Late = "late",
        /// Its time came while no scheduler ran.
        Missed = "missed",
        /// An earlier run was under way.
        Skipped = "skipped",
        /// It waits.
        Waiting = "waiting",
        /// Its run could not be started.
        Failed = "failed",
        /// It ran as part of a backfill.
        Backfilled = "backfilled",
        /// It was run by hand.
        Manual = "manual",
        /// It lies ahead.
        Planned = "planned",
        /// Its time has come, and nothing is decided yet.
        Due = "due",
    }
}

impl SlotState {
    /// The state of a row of the ledger; a tick is late when it was decided later than the schedule's grace.
    pub fn of(row: &TickView, spec: &ScheduleSpec) -> Self {
        let grace = i64::try_from(spec.catch_up().grace.as_millis()).unwrap_or(i64::MAX);
        match (row.outcome, row.cause) {
            (TickOutcome::Ran, TickCause::Backfill) => Self::Backfilled,
            (TickOutcome::Ran, TickCause::Manual) => Self::Manual,
            (TickOutcome::Ran, TickCause::Tick) if row.late_ms > grace => Self::Late,
            (TickOutcome::Ran, TickCause::Tick) => Self::OnTime,
            (TickOutcome::SkippedMissed, _) => Self::Missed,
            (TickOutcome::SkippedOverlap, _) => Self::Skipped,
            (TickOutcome::Buffered | TickOutcome::Waiting, _) => Self::Waiting,
            (TickOutcome::Failed, _) => Self::Failed,
        }
    }
}

/// A slot of a schedule's calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SlotDocument {
    /// The tick.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub tick: Instant,
    /// What became of it.
    pub state: SlotState,
    /// How many skipped ticks it stands for, this one the last.
    pub ticks: u64,
    /// How late it was decided, in milliseconds; `null` when it is not in the ledger, like the following fields.
    pub late_ms: Option<i64>,
    /// Its run, if that is a batch.
    pub batch: Option<BatchId>,
    /// Its run, if that is a job.
    pub job: Option<JobId>,
    /// The state in which its run ended.
    pub result: Option<String>,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// The edition of the IANA database by whose rules it was found; also `null` when an older program found it.
    pub tzdb: Option<String>,
}

impl SlotDocument {
    /// A slot that is in the ledger.
    pub fn known(row: &TickView, spec: &ScheduleSpec) -> Self {
        Self {
            tick: row.tick,
            state: SlotState::of(row, spec),
            ticks: row.ticks,
            late_ms: Some(row.late_ms),
            batch: row.batch,
            job: row.job,
            result: row.result.clone(),
            reason: row.reason.clone(),
            tzdb: row.tzdb.clone(),
        }
    }

    /// A slot that is not in the ledger.
    pub fn unknown(tick: Instant, state: SlotState) -> Self {
        Self { tick, state, ticks: 1, late_ms: None, batch: None, job: None, result: None, reason: None, tzdb: None }
    }
}

/// The slots of a schedule up to an instant: those of the ledger, and those that were not decided up to `decided_at`, which
/// lie ahead or are due. At most `most` of the latter.
pub fn slots(
    (rows, spec): (&[TickView], &ScheduleSpec),
    timetable: &Timetable,
    decided_at: Instant,
    (now, until): (Instant, Instant),
    most: usize,
) -> Vec<SlotDocument> {
    let mut slots: BTreeMap<Instant, SlotDocument> =
        rows.iter().map(|row| (row.tick, SlotDocument::known(row, spec))).collect();
    for tick in timetable.between(decided_at, until, most).ticks {
        let state = if tick > now { SlotState::Planned } else { SlotState::Due };
        slots.entry(tick).or_insert(SlotDocument::unknown(tick, state));
    }
    slots.into_values().collect()
}

/// What a verb that changes a schedule did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The schedule.
    pub schedule: String,
    /// How many schedules it changed: 0 or 1.
    pub affected: u64,
}

/// A schedule that would be saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldSaveScheduleDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// Its name.
    pub schedule: String,
    /// The schedule itself.
    pub spec: ScheduleSpec,
    /// Its next ticks.
    #[schema(value_type = Vec<chrono::DateTime<chrono::Utc>>)]
    pub next: Vec<Instant>,
}

/// What `schedule run` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunDocument {
    /// The schedule.
    pub schedule: String,
    /// The row of the ledger that stands for the run.
    pub run: TickView,
}

/// What a dry run of `schedule run` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldRunDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// The schedule.
    pub schedule: String,
    /// What would run.
    #[serde(flatten)]
    pub slot: IntervalDocument,
}

/// A slot and its logical interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct IntervalDocument {
    /// The tick.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub tick: Instant,
    /// Where its logical interval begins.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub from: Instant,
    /// Where it ends.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub to: Instant,
}

impl From<(Instant, (Instant, Instant))> for IntervalDocument {
    fn from((tick, (from, to)): (Instant, (Instant, Instant))) -> Self {
        Self { tick, from, to }
    }
}

/// A backfill that was just created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StartedBackfillDocument {
    /// Its id.
    pub backfill: Uuid,
    /// The schedule.
    pub schedule: String,
    /// How many slots wait for their run.
    pub waiting: u64,
}

/// What a dry run of `schedule backfill` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldBackfillDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// The schedule.
    pub schedule: String,
    /// How many slots the range has.
    pub asked: usize,
    /// How many of them would run; the others have, or wait already.
    pub would_run: usize,
    /// Those slots, in the order in which they would run.
    pub slots: Vec<IntervalDocument>,
}

/// What a verb that changes a backfill did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BackfillReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The backfill.
    pub backfill: Uuid,
    /// How many waiting slots it changes.
    pub affected: u64,
}
