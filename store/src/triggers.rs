//! Events other than the clock that start runs: the end of another batch, a file in a watched folder, a delivery to a
//! hook. Each is a row of the ledger of ticks, under a key that its schedule has once.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::NewJob;
use gristmill_core::schedule::ScheduleSpec;
use serde_json::{Value, json};

use crate::check;
use crate::error::{Result, StoreError};
use crate::{Dispatched, TickOutcome, TickView};

/// How many characters an event's key may have at most.
pub const EVENT_CHARS_MAX: usize = 300;

/// Events other than the clock that start runs.
#[async_trait]
pub trait Triggers: Debug + Send + Sync + 'static {
    /// Records an event and starts its job, in one transaction: once, however often it is reported. A known event
    /// returns the row that the first report created, and starts nothing. Without a job its row is `waiting`.
    ///
    /// The end of a batch is such an event, written in the transaction that ends it, for each schedule that follows it
    /// ([`ScheduleSpec::after`](gristmill_core::schedule::ScheduleSpec::after)) and was created before: its key is the
    /// batch and its generation. For a disabled schedule it is recorded as skipped.
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent>;
}

/// The prefix of the ledgers of runs that programs request.
const REQUESTS: &str = "client/";

/// The ledger of the runs of a batch definition that programs request: `client/NAME`. The `about` of an event there has
/// `params`, the parameters of the run.
pub fn requests_ledger(batch: &str) -> String {
    format!("{REQUESTS}{batch}")
}

/// The batch definition whose runs are requested in this ledger; `None` when it is a ledger of something else.
pub fn requested_batch(ledger: &str) -> Option<&str> {
    ledger.strip_prefix(REQUESTS)
}

/// Something that happened and starts a run, once.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// The tenant that owns it.
    pub tenant: String,
    /// The ledger: `hook/NAME`, `watch/NAME`, `client/NAME`.
    pub schedule: String,
    /// Its key there, 1 to [`EVENT_CHARS_MAX`] characters: the id of a delivery, the hash of a file.
    pub event: String,
    /// What its run gets to know about it. At most as long as a payload.
    pub about: Value,
    /// The job that it starts at once; without one a scheduler starts its run.
    pub job: Option<Box<NewJob>>,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct NotedEvent {
    /// Whether it was new.
    pub fresh: bool,
    /// Its row of the ledger, which the first report created.
    pub tick: TickView,
    /// What may be published now.
    pub dispatched: Dispatched,
}

/// A schedule that follows a batch that has just ended, as a store finds it.
pub(crate) struct Follower {
    pub(crate) schedule: String,
    pub(crate) spec: ScheduleSpec,
    pub(crate) enabled: bool,
}

/// The end of a batch that others may follow.
pub(crate) struct BatchEnded {
    pub(crate) tenant: String,
    pub(crate) batch: BatchId,
    pub(crate) name: String,
    pub(crate) generation: u32,
    pub(crate) state: BatchState,
    /// Its logical interval: that of its tick, or its own time.
    pub(crate) interval: (Instant, Instant),
}

/// A row of the ledger that an event makes.
pub(crate) struct EventRow {
    pub(crate) tenant: String,
    pub(crate) schedule: String,
    pub(crate) event: String,
    pub(crate) about: String,
    pub(crate) outcome: TickOutcome,
    pub(crate) interval: (Instant, Instant),
    pub(crate) reason: Option<&'static str>,
    pub(crate) job: Option<uuid::Uuid>,
}

/// The row of a reported event.
pub(crate) fn given(event: &NewEvent, now: Instant) -> Result<EventRow> {
    let NewEvent { tenant, schedule, event: key, about, job } = event;
    check::name("tenant", tenant)?;
    check::name("schedule", schedule)?;
    if key.is_empty() || key.chars().count() > EVENT_CHARS_MAX {
        let what = format!("the key of an event has 1 to {EVENT_CHARS_MAX} characters; this one has {}", key.len());
        return Err(StoreError::Invalid(what));
    }
    if let Some(job) = job {
        check::jobs(std::slice::from_ref(job))?;
    }
    Ok(EventRow {
        tenant: tenant.clone(),
        schedule: schedule.clone(),
        event: check::plain(key, EVENT_CHARS_MAX),
        about: check::payload(about)?,
        outcome: if job.is_some() { TickOutcome::Ran } else { TickOutcome::Waiting },
        interval: (now, now),
        reason: None,
        job: job.as_ref().map(|job| job.id.0),
    })
}

/// What is reported of an event that starts a run: its ledger and its key, not what was sent.
pub(crate) fn received(event: &NewEvent) -> (String, Value) {
    let NewEvent { schedule, event: key, job, .. } = event;
    let data =
        json!({ "ledger": schedule, "key": check::plain(key, EVENT_CHARS_MAX), "job": job.as_ref().map(|job| job.id) });
    (format!("trigger/{schedule}"), data)
}

/// The rows of the schedules that follow a batch that has ended.
pub(crate) fn followed(ended: &BatchEnded, followers: &[Follower]) -> Result<Vec<EventRow>> {
    let BatchEnded { tenant, batch, name, generation, state, interval } = ended;
    let about = json!({ "batch": batch, "name": name, "generation": generation, "state": state.as_str() });
    let about = check::json(&about)?;
    let counts = |follower: &&Follower| follower.spec.ending.unwrap_or_default().counts(*state);
    let row = |follower: &Follower| EventRow {
        tenant: tenant.clone(),
        schedule: follower.schedule.clone(),
        event: format!("{batch}/{generation}"),
        about: about.clone(),
        outcome: if follower.enabled { TickOutcome::Waiting } else { TickOutcome::SkippedMissed },
        interval: *interval,
        reason: (!follower.enabled).then_some("the schedule was switched off"),
        job: None,
    };
    Ok(followers.iter().filter(counts).map(row).collect())
}
