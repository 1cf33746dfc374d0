//! What both stores tell of a batch in the transaction that makes it so.

use gristmill_core::callback::{self, Event, Teller};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::BatchView;

/// What failed first in a generation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    /// The chunk's number.
    pub(crate) seq: i64,
    /// The item's position, where it was one item.
    pub(crate) position: Option<i64>,
    /// Its line, where the source has lines.
    pub(crate) line: Option<i64>,
    /// The stage that refused it.
    pub(crate) stage: Option<String>,
    /// Why.
    pub(crate) reason: String,
}

/// The jobs that tell of a first failure.
pub(crate) fn first_failure(
    view: &BatchView,
    definition: &BatchDefinition,
    trace: Option<&str>,
    failure: &Failure,
) -> Vec<NewJob> {
    let failure = json!({
        "chunk": failure.seq,
        "position": failure.position,
        "line": failure.line,
        "stage": failure.stage,
        "reason": failure.reason,
    });
    jobs(Event::FirstFailure, view, definition, trace, json!({ "failure": failure }))
}

/// The jobs that tell that a batch is late.
pub(crate) fn late(view: &BatchView, definition: &BatchDefinition, trace: Option<&str>) -> Vec<NewJob> {
    let late_after = definition.late_after.map(|span| gristmill_core::duration::format(span.0));
    jobs(Event::Late, view, definition, trace, json!({ "late_after": late_after }))
}

fn jobs(
    event: Event,
    view: &BatchView,
    definition: &BatchDefinition,
    trace: Option<&str>,
    mut data: Value,
) -> Vec<NewJob> {
    data["batch"] = view.callback_data();
    let teller = Teller {
        batch: view.id,
        tenant: &view.tenant,
        generation: view.generation,
        state: view.state,
        definition,
        trace,
    };
    callback::jobs(&teller, event, &data, || JobId(Uuid::now_v7()))
}
