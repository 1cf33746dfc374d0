//! What both stores report about a batch in the transaction that changes it.

use gristmill_core::callback::{self, Event, Teller};
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::JobId;
use gristmill_core::job::NewJob;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::BatchView;
pub(crate) use crate::documents::FailureDocument as Failure;
use crate::documents::{CallbackDocument, News};

/// The jobs that report a first failure.
pub(crate) fn first_failure(
    view: &BatchView,
    definition: &BatchDefinition,
    trace: Option<&str>,
    failure: &Failure,
) -> Vec<NewJob> {
    jobs(Event::FirstFailure, view, definition, trace, News::FirstFailure { failure: failure.clone() })
}

/// The jobs that report that a batch is late.
pub(crate) fn late(view: &BatchView, definition: &BatchDefinition, trace: Option<&str>) -> Vec<NewJob> {
    let late_after = definition.late_after.map(|span| gristmill_core::duration::format(span.0));
    jobs(Event::Late, view, definition, trace, News::Late { late_after })
}

/// The jobs that report an end which no aggregate has declared: it has no result.
pub(crate) fn ended(event: Event, view: &BatchView, definition: &BatchDefinition, trace: Option<&str>) -> Vec<NewJob> {
    jobs(event, view, definition, trace, News::Ended { result: Value::Null, result_bytes: None })
}

fn jobs(event: Event, view: &BatchView, definition: &BatchDefinition, trace: Option<&str>, news: News) -> Vec<NewJob> {
    let data = json!(CallbackDocument { batch: view.into(), news });
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
