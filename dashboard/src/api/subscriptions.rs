//! Subscriptions to events: list, show, save, remove, pause, resume, replay.

use gristmill_core::event::TypePattern;
use gristmill_core::event::subscription::SubscriptionSpec;
use gristmill_service::control::event::ReplayRequest;
use gristmill_service::documents::{
    DeliveryDocument, ReplayDocument, ReportDocument, StartedReplayDocument, SubscriptionDocument,
};
use uuid::Uuid;

use super::events::may_start;
use crate::gate::{Allowed, Answer, Change, Fields, JsonBody, Moment, Object, Outcome, Params, Path, Routes, perm};

/// How many refused events are shown.
const REFUSED_MAX: u32 = 100;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/subscriptions", "Subscriptions to events, with their lag", list)
        .get("/api/v1/subscriptions/{subscription}", "A subscription, with its lag", show)
        .put("/api/v1/subscriptions/{subscription}", "Create a subscription, or change one", save)
        .delete("/api/v1/subscriptions/{subscription}", "Remove it: what it has started goes on", remove)
        .get(
            "/api/v1/subscriptions/{subscription}/refused",
            "Events that it means and that were not delivered",
            refused,
        )
        .post("/api/v1/subscriptions/{subscription}/pause", "Give it no events until it is resumed", pause)
        .post("/api/v1/subscriptions/{subscription}/resume", "Go on where it was", resume)
        .post("/api/v1/subscriptions/{subscription}/replay", "Give it events once more", replay)
        .get("/api/v1/replays", "Replays of events, the newest first", replays)
        .post("/api/v1/replays/{replay}/cancel", "End a replay before its time", cancel)
}

async fn list(caller: Allowed<perm::EventsRead>) -> Outcome<Vec<SubscriptionDocument>> {
    Ok(Answer::new(caller.store().subscriptions(Some(caller.tenant())).await?))
}

async fn show(caller: Allowed<perm::EventsRead>, Path(name): Path<String>) -> Outcome<SubscriptionDocument> {
    Ok(Answer::new(caller.service().subscription(caller.tenant(), &name).await?))
}

/// A subscription that is asked for.
#[derive(Debug, Clone, PartialEq)]
struct SubscriptionBody(SubscriptionSpec);

impl Fields for SubscriptionBody {
    const NAME: &'static str = "SubscriptionRequest";
    const EXAMPLE: &'static str = r#"{"spec": {"types": ["order.*"], "job": {"kind": "receipt"}}}"#;

    fn read(object: &mut Object) -> Option<Self> {
        object.required("spec", "What `[events.subscriptions.NAME]` in the configuration may say").map(Self)
    }
}

async fn save(
    caller: Allowed<perm::EventsChange>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
    JsonBody(SubscriptionBody(spec)): JsonBody<SubscriptionBody>,
) -> Outcome<ReportDocument> {
    may_start(&caller, &spec)?;
    let report = caller.service().save_subscription(&caller.order(&change), &name, spec).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn remove(
    caller: Allowed<perm::EventsChange>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().remove_subscription(&caller.order(&change), &name).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn refused(caller: Allowed<perm::EventsRead>, Path(name): Path<String>) -> Outcome<Vec<DeliveryDocument>> {
    Ok(Answer::new(caller.store().refused_events(caller.tenant(), &name, REFUSED_MAX).await?))
}

async fn pause(
    caller: Allowed<perm::EventsControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().pause_subscription(&caller.order(&change), &name).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

async fn resume(
    caller: Allowed<perm::EventsControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().resume_subscription(&caller.order(&change), &name).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}

/// Which events are given once more.
#[derive(Debug, Clone, PartialEq)]
struct ReplayBody(ReplayRequest);

impl Fields for ReplayBody {
    const NAME: &'static str = "ReplayRequest";
    const EXAMPLE: &'static str = r#"{"after": 0, "types": ["order.*"], "rate": 100}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let texts: Option<Vec<String>> = object.optional("types", "Patterns of types; all unless said");
        let mut types: Vec<TypePattern> = Vec::new();
        for text in texts.unwrap_or_default() {
            match text.parse() {
                Ok(pattern) => types.push(pattern),
                Err(error) => object.fault("types", format!("{error}")),
            }
        }
        let after = object.optional("after", "Those behind this position; from the beginning unless said");
        let until = object.optional("until", "Up to this position; up to the end as it is now unless said");
        let since: Option<String> = object.optional("since", "Those accepted since then, instead of `after`");
        let since = since.and_then(|text| match text.parse::<Moment>() {
            Ok(moment) => Some(moment.0),
            Err(wrong) => {
                object.fault("since", wrong);
                None
            }
        });
        let rate: Option<u32> = object.optional("rate", "How many events a second at most");
        if rate == Some(0) {
            object.fault("rate", "must be 1 or more");
        }
        Some(Self(ReplayRequest { subscription: String::new(), types, after, until, since, rate }))
    }
}

async fn replay(
    caller: Allowed<perm::EventsControl>,
    Path(subscription): Path<String>,
    Params(change): Params<Change>,
    JsonBody(ReplayBody(request)): JsonBody<ReplayBody>,
) -> Outcome<StartedReplayDocument> {
    let request = ReplayRequest { subscription, ..request };
    let started = caller.service().start_replay(&caller.order(&change), &request).await?;
    Ok(Answer::new(StartedReplayDocument::new(&started)))
}

async fn replays(caller: Allowed<perm::EventsRead>) -> Outcome<Vec<ReplayDocument>> {
    Ok(Answer::new(caller.store().replays(caller.tenant()).await?))
}

async fn cancel(
    caller: Allowed<perm::EventsControl>,
    Path(replay): Path<Uuid>,
    Params(change): Params<Change>,
) -> Outcome<ReportDocument> {
    let report = caller.service().cancel_replay(&caller.order(&change), replay).await?;
    Ok(Answer::new(ReportDocument::new(change.dry_run, &report)))
}
