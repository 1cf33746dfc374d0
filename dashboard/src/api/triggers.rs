//! Triggers: what hooks and watched folders have started. Those of the configuration belong to its tenant.

use std::collections::BTreeMap;

use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::documents::{TickDocument, TriggerDocument, TriggerReportDocument};
use gristmill_store::TickFilter;

use super::schedules::{Range, ledger};
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Fields, JsonBody, Object, Outcome, Params, Path, Result, Routes, perm,
};

/// The most events that a list counts.
const COUNTED: u32 = 10_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/triggers", "Every hook and watched folder, with its last event", list)
        .get("/api/v1/triggers/{sort}/{name}/events", "The events of a `hook` or a `watch`, newest first", events)
        .post(
            "/api/v1/triggers/{sort}/{name}/retry",
            "Start an event of a hook anew whose run could not be started",
            retry,
        )
}

/// The triggers of the configuration, which belong to one tenant.
pub(crate) fn configured(caller: &Caller) -> BTreeMap<String, ScheduleSpec> {
    let run_context = caller.api().run_context();
    if caller.tenant() != run_context.tenant {
        return BTreeMap::new();
    }
    run_context.snapshot.borrow().triggers.clone()
}

async fn list(caller: Allowed<perm::SchedulesRead>) -> Outcome<Vec<TriggerDocument>> {
    let mut found = Vec::new();
    for (name, spec) in configured(&caller) {
        let range = Range { from: None, until: None, limit: Some(COUNTED) };
        found.push(TriggerDocument::new(&name, &spec, &ledger(&caller, &name, &range).await?));
    }
    Ok(Answer::new(found))
}

async fn events(
    caller: Allowed<perm::SchedulesRead>,
    Path((sort, name)): Path<(String, String)>,
    Params(range): Params<Range>,
) -> Outcome<Vec<TickDocument>> {
    let trigger = format!("{sort}/{name}");
    let rows = ledger(&caller, &trigger, &range).await?;
    if rows.is_empty() && !configured(&caller).contains_key(&trigger) {
        return Err(missing(&trigger));
    }
    Ok(Answer::new(rows))
}

pub(crate) fn missing(trigger: &str) -> ApiError {
    ApiError::not_found(format!("there is no trigger `{trigger}`")).hint("its name is hook/NAME or watch/NAME")
}

/// Which event is started anew.
#[derive(Debug, Clone, PartialEq)]
struct RetryBody(String);

impl Fields for RetryBody {
    const NAME: &'static str = "EventRetryRequest";
    const EXAMPLE: &'static str = r#"{"event": "evt_7"}"#;

    fn read(object: &mut Object) -> Option<Self> {
        object.required("event", "The event's key").map(Self)
    }
}

async fn retry(
    caller: Allowed<perm::SchedulesControl>,
    Path((sort, name)): Path<(String, String)>,
    Params(change): Params<Change>,
    JsonBody(RetryBody(event)): JsonBody<RetryBody>,
) -> Outcome<TriggerReportDocument> {
    let trigger = format!("{sort}/{name}");
    if sort == "watch" {
        return Err(ApiError::conflict("the file of a watched folder is not there any more")
            .hint("put it back from failed/ into the folder: it is taken again"));
    }
    let row = find(&caller, &trigger, &event).await?;
    let affected = caller.service().retry_event(&caller.order(&change), &row).await?;
    Ok(Answer::new(TriggerReportDocument { dry_run: change.dry_run, trigger, event, affected }))
}

/// An event of a trigger, whole: what it has brought is needed to start it anew.
pub(crate) async fn find(caller: &Caller, trigger: &str, event: &str) -> Result<TickDocument> {
    let (tenant, schedule) = (caller.tenant().to_owned(), trigger.to_owned());
    let filter = TickFilter { tenant, schedule, from: None, until: None, limit: COUNTED };
    let rows = caller.store().ticks(&filter).await?;
    let found = rows.into_iter().find(|row| row.event.as_deref() == Some(event));
    found.ok_or_else(|| ApiError::not_found(format!("`{trigger}` has no event `{event}`")))
}
