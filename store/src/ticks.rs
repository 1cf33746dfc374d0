//! The ledger of ticks: which run was decided, has started and has ended.

use std::collections::HashSet;
use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::NewJob;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::check;
use crate::error::{Result, StoreError};
use crate::{Dispatched, GROUP_JOBS_MAX, NewBatch};

/// How many rows of the ledger one [`Ticks::fire`] writes at most.
pub const FIRE_TICKS_MAX: usize = 5_000;

/// How often a tick may be started before it counts as failed, when each of its planners was lost.
pub const FIRE_TRIES_MAX: i32 = 3;

gristmill_core::words! {
    /// Why a tick is in the ledger.
    pub enum TickCause {
        /// Its time came.
        Tick = "tick",
        /// An operator ran it by hand.
        Manual = "manual",
        /// It is part of a backfill.
        Backfill = "backfill",
    }
}

gristmill_core::words! {
    /// What became of a tick.
    pub enum TickOutcome {
        /// It started its run.
        Ran = "ran",
        /// It came while no scheduler was running, and the policy is not to run it.
        SkippedMissed = "skipped_missed",
        /// An earlier run was under way, and the policy is not to run it.
        SkippedOverlap = "skipped_overlap",
        /// It waits until earlier runs have ended.
        Buffered = "buffered",
        /// It is part of a backfill and waits for its turn, or was given back and will be started anew.
        Waiting = "waiting",
        /// Its run could not be started.
        Failed = "failed",
    }
}

/// The ledger of ticks: which run was decided, has started and has ended.
#[async_trait]
pub trait Ticks: Debug + Send + Sync + 'static {
    /// Records decided ticks and starts their runs, all in one transaction: rows of the ledger, the steps of the
    /// schedules' clocks, batches in state `open`, jobs. A firing whose schedule another scheduler has advanced, and a
    /// row whose tick is in the ledger already (or no longer in the outcome that it had), is left alone and starts
    /// nothing: at most one run for each tick, however many schedulers there are. At most [`FIRE_TICKS_MAX`] rows and
    /// [`GROUP_JOBS_MAX`] runs.
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport>;

    /// Notes in the ledger which runs have ended, and how. Returns how many.
    async fn note_ended_runs(&self) -> Result<u64>;

    /// Returns the ticks that may start now: for each schedule that runs nothing the oldest buffered one, for each
    /// backfill that is not paused as many as its concurrency allows, and those that were given back.
    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>>;

    /// Returns runs of schedules whose batch is still `open` although its planner is not alive: tenant and id.
    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>>;

    /// Gives back a tick whose batch will never be fully planned: it waits to be started anew, or has failed when that
    /// has happened [`FIRE_TRIES_MAX`] times or `again` is false. Returns `false` when no tick started that batch.
    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool>;

    /// Returns rows of the ledger, newest first.
    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>>;

    /// Returns the rows of a schedule's ledger that have one of these events, in no order. At most 10,000 events.
    async fn events(&self, tenant: &str, schedule: &str, events: &[String]) -> Result<Vec<TickView>>;

    /// Returns the newest row of each of these ledgers, in the order of their names; nothing for one that is empty. At
    /// most [`LEDGERS_MAX`] ledgers.
    async fn newest_ticks(&self, tenant: &str, schedules: &[String]) -> Result<Vec<TickView>>;

    /// Returns what is in each of these ledgers, in the order of their names, with an empty one where there is nothing. Only
    /// the newest `newest` rows of each are looked at, at most [`TALLIED_MAX`]. At most [`LEDGERS_MAX`] ledgers.
    async fn tallies(&self, tenant: &str, schedules: &[String], newest: u32) -> Result<Vec<LedgerTally>>;
}

/// The most ledgers that one question names.
pub const LEDGERS_MAX: usize = 1_000;

/// The most rows of a ledger that a tally looks at.
pub const TALLIED_MAX: u32 = 10_000;

/// What the newest rows of a ledger are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LedgerTally {
    /// The schedule or trigger.
    pub schedule: String,
    /// When the newest row came.
    pub last: Option<Instant>,
    /// How many rows were looked at.
    pub rows: u64,
    /// Of how many the run is not known to have ended.
    pub running: u64,
    /// How many wait for their run to start.
    pub waiting: u64,
    /// How many have a run that could not be started.
    pub failed: u64,
}

/// What is decided about one schedule: recorded whole, or not at all when another scheduler was first.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// The tenant that owns it.
    pub tenant: String,
    /// The schedule.
    pub schedule: String,
    /// The step of the schedule's own clock; `None` for runs outside of it, by hand or as backfill.
    pub advance: Option<Advance>,
    /// Rows of the ledger.
    pub ticks: Vec<FireTick>,
}

/// A step of a schedule's clock, guarded by the values that it starts from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Advance {
    /// The version that the scheduler saw.
    pub version: i64,
    /// `decided_at` as the scheduler saw it.
    pub from: Instant,
    /// `decided_at` from now on.
    pub to: Instant,
    /// When the next tick starts.
    pub next_at: Option<Instant>,
}

/// One row of the ledger to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct FireTick {
    /// The tick.
    pub tick: Instant,
    /// Where its logical interval begins and ends.
    pub interval: (Instant, Instant),
    /// Why.
    pub cause: TickCause,
    /// What becomes of it.
    pub outcome: TickOutcome,
    /// How late the decision is, in milliseconds.
    pub late_ms: i64,
    /// How many skipped ticks, this one the last, the row stands for.
    pub ticks: u64,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// The outcome that it has in the ledger, and must still have; `None` when it must not be in the ledger.
    pub was: Option<TickOutcome>,
    /// What it starts: with [`TickOutcome::Ran`] and only then.
    pub run: Option<Run>,
    /// Which process starts it.
    pub holder: Option<WorkerId>,
    /// What its run gets to know about the event that made it. The ledger has that already, so it is not written.
    pub about: Option<Value>,
    /// The edition of the IANA database by whose rules the tick was found, such as `2026f`; `None` when no clock made it.
    /// A row that is in the ledger already keeps its own.
    pub tzdb: Option<String>,
}

/// What a tick starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Run {
    /// A batch, whose chunks are added afterwards.
    Batch(Box<NewBatch>),
    /// A job.
    Job(Box<NewJob>),
}

/// What became of a group of firings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FireReport {
    /// The ticks that started a run just now: schedule and tick, in order.
    pub started: Vec<(String, Instant)>,
    /// Rows of the ledger that were written.
    pub written: u64,
    /// Firings of which nothing was written, because another scheduler had decided first.
    pub lost: u64,
    /// What may be published now.
    pub dispatched: Dispatched,
}

/// A row of the ledger as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TickView {
    /// The tenant that owns it.
    pub tenant: String,
    /// The schedule.
    pub schedule: String,
    /// The tick; also its key in lists.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub tick: Instant,
    /// Why it is here.
    pub cause: TickCause,
    /// What became of it.
    pub outcome: TickOutcome,
    /// Where its logical interval begins.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub from: Instant,
    /// Where it ends.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub to: Instant,
    /// How late it was decided, in milliseconds.
    pub late_ms: i64,
    /// How many skipped ticks, this one the last, the row stands for.
    pub ticks: u64,
    /// How often it was started.
    pub tries: u32,
    /// Its run, if that is a batch.
    pub batch: Option<BatchId>,
    /// Its run, if that is a job.
    pub job: Option<JobId>,
    /// Whether its run is not known to have ended.
    pub active: bool,
    /// The state in which its run ended.
    pub result: Option<String>,
    /// The backfill that it belongs to.
    pub backfill: Option<Uuid>,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// When it was decided.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub decided_at: Instant,
    /// The edition of the IANA database by whose rules it was found, such as `2026f`; `None` when no clock made it, or a
    /// program that did not record it.
    pub tzdb: Option<String>,
    /// When its run was started.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub started_at: Option<Instant>,
    /// When its run was seen to have ended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub ended_at: Option<Instant>,
    /// The key of the event that made it, if it was not the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What is known of that event.
    #[serde(default, deserialize_with = "gristmill_core::json::maybe", skip_serializing_if = "Option::is_none")]
    pub about: Option<Value>,
}

/// Selects rows of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct TickFilter {
    /// Of this tenant.
    pub tenant: String,
    /// Of this schedule.
    pub schedule: String,
    /// Not before this instant.
    pub from: Option<Instant>,
    /// Not after this instant.
    pub until: Option<Instant>,
    /// At most this many, the newest: 1 to 10,000.
    pub limit: u32,
}

/// Refuses firings that no store can keep.
pub(crate) fn check_firings(firings: &[Firing]) -> Result<()> {
    let ticks: usize = firings.iter().map(|firing| firing.ticks.len()).sum();
    let jobs: usize = firings.iter().map(|firing| firing.ticks.iter().filter(|tick| tick.run.is_some()).count()).sum();
    if ticks > FIRE_TICKS_MAX || jobs > GROUP_JOBS_MAX {
        let what = format!(
            "{ticks} ticks with {jobs} runs at once are too many; send at most {FIRE_TICKS_MAX} and {GROUP_JOBS_MAX}"
        );
        return Err(StoreError::Invalid(what));
    }
    for tick in firings.iter().flat_map(|firing| &firing.ticks) {
        if (tick.outcome == TickOutcome::Ran) != tick.run.is_some() {
            let what =
                format!("the tick {} has the outcome {} and does not start a run to match", tick.tick, tick.outcome);
            return Err(StoreError::Invalid(what));
        }
        match &tick.run {
            Some(Run::Job(job)) => check::jobs(std::slice::from_ref(job))?,
            Some(Run::Batch(batch)) => check::name("batch name", &batch.name)?,
            None => {}
        }
    }
    Ok(())
}

/// A schedule's name and tenant, in the order in which rows are locked.
pub(crate) type Key = (String, String);

pub(crate) fn key(firing: &Firing) -> Key {
    (firing.tenant.clone(), firing.schedule.clone())
}

/// The steps of the clocks as JSON, for one statement.
pub(crate) fn advances(firings: &[Firing]) -> Result<String> {
    let mut rows: Vec<_> = firings
        .iter()
        .filter_map(|firing| {
            let Advance { version, from, to, next_at } = firing.advance?;
            let next_at = next_at.map(|at| at.timestamp_micros());
            Some(json!({ "tenant": firing.tenant, "name": firing.schedule, "version": version,
                "was": from.timestamp_micros(), "is": to.timestamp_micros(), "next": next_at }))
        })
        .collect();
    rows.sort_by_key(|row| (row["tenant"].to_string(), row["name"].to_string()));
    check::json(&rows)
}

/// Rows of the ledger as JSON, for one statement: those that are new, or those that exist.
pub(crate) fn ledger(firings: &[&Firing], new: bool) -> Result<Option<String>> {
    let rows: Vec<_> = firings
        .iter()
        .flat_map(|firing| firing.ticks.iter().map(move |tick| (firing, tick)))
        .filter(|(_, tick)| tick.was.is_none() == new)
        .map(|(firing, tick)| {
            let (batch, job) = ids(tick);
            let ran = tick.outcome == TickOutcome::Ran;
            json!({ "tenant": firing.tenant, "schedule": firing.schedule, "tick": tick.tick.timestamp_micros(),
                "from": tick.interval.0.timestamp_micros(), "to": tick.interval.1.timestamp_micros(),
                "cause": tick.cause.as_str(), "outcome": tick.outcome.as_str(), "late": tick.late_ms,
                "ticks": tick.ticks.max(1), "batch": batch, "job": job, "ran": i32::from(ran),
                "reason": tick.reason.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX)),
                "was": tick.was.map(TickOutcome::as_str), "holder": tick.holder,
                "tzdb": tick.tzdb.as_deref().map(|text| check::plain(text, check::EDITION_CHARS_MAX)) })
        })
        .collect();
    if rows.is_empty() { Ok(None) } else { check::json(&rows).map(Some) }
}

fn ids(tick: &FireTick) -> (Option<BatchId>, Option<JobId>) {
    match &tick.run {
        Some(Run::Batch(batch)) => (Some(batch.id), None),
        Some(Run::Job(job)) => (None, Some(job.id)),
        None => (None, None),
    }
}

/// What is reported of the rows that were written and ran nothing: whose, what, of which schedule, and about which tick.
pub(crate) fn reported(
    firings: &[&Firing],
    written: &HashSet<(String, String, i64)>,
) -> Vec<(String, OwnType, String, Value)> {
    let all = firings.iter().flat_map(|firing| firing.ticks.iter().map(move |tick| (*firing, tick)));
    let event = |(firing, tick): (&Firing, &FireTick)| {
        let kind = match tick.outcome {
            TickOutcome::SkippedMissed => OwnType::ScheduleMissed,
            TickOutcome::SkippedOverlap => OwnType::ScheduleSkipped,
            TickOutcome::Failed => OwnType::ScheduleFailed,
            TickOutcome::Ran | TickOutcome::Buffered | TickOutcome::Waiting => return None,
        };
        let Firing { tenant, schedule, .. } = firing;
        let key = (tenant.clone(), schedule.clone(), tick.tick.timestamp_micros());
        let tick_at = gristmill_core::event::shown(tick.tick);
        let data = json!({ "schedule": schedule, "tick": tick_at, "outcome": tick.outcome, "reason": tick.reason });
        written.contains(&key).then(|| (tenant.clone(), kind, format!("schedule/{schedule}"), data))
    };
    all.filter_map(event).collect()
}

/// The runs of the rows that were written, in order.
pub(crate) fn runs<'a>(
    firings: &[&'a Firing],
    written: &HashSet<(String, String, i64)>,
) -> Vec<(&'a Firing, &'a FireTick)> {
    firings
        .iter()
        .flat_map(|firing| firing.ticks.iter().map(move |tick| (*firing, tick)))
        .filter(|(firing, tick)| {
            let key = (firing.tenant.clone(), firing.schedule.clone(), tick.tick.timestamp_micros());
            tick.run.is_some() && written.contains(&key)
        })
        .collect()
}
