//! A hook or a watched folder, and its latest events.

use gristmill_core::schedule::ScheduleSpec;
use gristmill_store::{TickOutcome, TickView};
use serde::{Deserialize, Serialize};

use super::schedule::starts;

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TriggerDocument {
    /// Its name: `hook/NAME` or `watch/NAME`; also its key in lists.
    pub name: String,
    /// What it starts: `batch retail` or `job exec`.
    pub starts: String,
    /// How many of its events are kept: at most 10,000 are counted, as in the three fields that follow.
    pub events: usize,
    /// How many of their runs are not known to have ended.
    pub running: usize,
    /// How many wait for their run to start.
    pub waiting: usize,
    /// How many have a run that could not be started.
    pub failed: usize,
    /// The newest.
    pub last: Option<TickView>,
}

impl TriggerDocument {
    /// A trigger and its events, the newest first.
    pub fn new(name: &str, spec: &ScheduleSpec, events: &[TickView]) -> Self {
        let count = |what: &dyn Fn(&TickView) -> bool| events.iter().filter(|event| what(event)).count();
        Self {
            name: name.to_owned(),
            starts: starts(spec),
            events: events.len(),
            running: count(&|event| event.active),
            waiting: count(&|event| matches!(event.outcome, TickOutcome::Waiting | TickOutcome::Buffered)),
            failed: count(&|event| event.outcome == TickOutcome::Failed),
            last: events.first().cloned(),
        }
    }
}

/// What a retry of an event did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TriggerReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The trigger.
    pub trigger: String,
    /// The event's key.
    pub event: String,
    /// How many events it changed: 0 or 1.
    pub affected: u64,
}
