//! Backfills: list, start, pause, resume, cancel.

use gristmill_core::schedule::tzdb;
use gristmill_service::documents::{
    BackfillDocument, BackfillReportDocument, IntervalDocument, StartedBackfillDocument, WouldBackfillDocument,
};
use gristmill_store::{FIRE_TICKS_MAX, NewBackfill};
use uuid::Uuid;

use super::{compiled, find, on_its_clock};
use crate::api::rehearsable::Rehearsable;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Creation, Fields, JsonBody, Made, Object, Outcome, Params, Path, Result,
    perm,
};

/// The most runs of a backfill under way at once.
pub(crate) const CONCURRENCY_MAX: u32 = 1_000;

pub(super) async fn list(
    caller: Allowed<perm::SchedulesRead>,
    Path(name): Path<String>,
) -> Outcome<Vec<BackfillDocument>> {
    find(&caller, &name).await?;
    Ok(Answer::new(caller.store().backfills(caller.tenant(), &name).await?))
}

/// A past range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BackfillBody {
    /// The first slot, or an instant before it.
    pub(crate) from: String,
    /// The last slot, or an instant after it.
    pub(crate) to: String,
    /// The most runs under way at once.
    pub(crate) concurrency: u32,
    /// Whether the newest slot comes first.
    pub(crate) newest_first: bool,
}

impl Fields for BackfillBody {
    const NAME: &'static str = "BackfillRequest";
    const EXAMPLE: &'static str = r#"{"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "concurrency": 2}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let from = object.required("from", "The first slot, or an instant before it");
        let to = object.required("to", "The last slot, or an instant after it; not after now");
        let concurrency = object.optional("concurrency", "The most runs under way at once; 1 unless said").unwrap_or(1);
        if !(1..=CONCURRENCY_MAX).contains(&concurrency) {
            object.fault("concurrency", format!("must be 1 to {CONCURRENCY_MAX}"));
        }
        let newest_first = object.optional("newest_first", "Whether the newest slot comes first").unwrap_or(false);
        Some(Self { from: from?, to: to?, concurrency, newest_first })
    }
}

pub(super) async fn start(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
    JsonBody(body): JsonBody<BackfillBody>,
) -> Creation<Rehearsable<StartedBackfillDocument, WouldBackfillDocument>> {
    let backfill = backfill(&caller, &name, &body).await?;
    if !change.dry_run {
        let waiting = caller.service().start_backfill(&caller.order(&change), &backfill).await?;
        let started = StartedBackfillDocument { backfill: backfill.id, schedule: name, waiting };
        return Ok(Made::new(Rehearsable::Done(started)));
    }
    let mut slots = caller.service().open_slots(&backfill).await?;
    if body.newest_first {
        slots.reverse();
    }
    Ok(Made::not_made(Rehearsable::Would(WouldBackfillDocument {
        dry_run: true,
        schedule: name,
        asked: backfill.ticks.len(),
        would_run: slots.len(),
        slots: slots.into_iter().map(IntervalDocument::from).collect(),
    })))
}

/// The slots of a past range, as a backfill.
pub(crate) async fn backfill(caller: &Caller, name: &str, body: &BackfillBody) -> Result<NewBackfill> {
    let found = find(caller, name).await?;
    let timetable = compiled(name, &found.spec)?;
    let zone = timetable.zone();
    let range = (on_its_clock("from", &body.from, zone)?, on_its_clock("to", &body.to, zone)?);
    if range.1 > caller.store().now().await? {
        return Err(ApiError::fault("/to", "lies ahead; what is to come runs by itself"));
    }
    let before = range.0 - chrono::TimeDelta::microseconds(1);
    let ticks = timetable.between(before, range.1, FIRE_TICKS_MAX);
    if ticks.more {
        return Err(ApiError::fault(
            "/to",
            format!("the range has more than {FIRE_TICKS_MAX} slots; take it in several steps"),
        ));
    }
    if ticks.ticks.is_empty() {
        return Err(ApiError::fault("/from", format!("`{name}` has no slot in that range")));
    }
    Ok(NewBackfill {
        id: Uuid::now_v7(),
        tenant: caller.tenant().to_owned(),
        schedule: name.to_owned(),
        range,
        concurrency: body.concurrency,
        newest_first: body.newest_first,
        tzdb: Some(tzdb().0.to_owned()),
        ticks: ticks.ticks.into_iter().map(|tick| (tick, timetable.interval(tick))).collect(),
    })
}

pub(super) async fn pause(
    caller: Allowed<perm::SchedulesControl>,
    Path((name, id)): Path<(String, Uuid)>,
    Params(change): Params<Change>,
) -> Outcome<BackfillReportDocument> {
    let affected = caller.service().pause_backfill(&caller.order(&change), &name, id, true).await?;
    Ok(Answer::new(BackfillReportDocument { dry_run: change.dry_run, backfill: id, affected }))
}

pub(super) async fn resume(
    caller: Allowed<perm::SchedulesControl>,
    Path((name, id)): Path<(String, Uuid)>,
    Params(change): Params<Change>,
) -> Outcome<BackfillReportDocument> {
    let affected = caller.service().pause_backfill(&caller.order(&change), &name, id, false).await?;
    Ok(Answer::new(BackfillReportDocument { dry_run: change.dry_run, backfill: id, affected }))
}

pub(super) async fn cancel(
    caller: Allowed<perm::SchedulesControl>,
    Path((name, id)): Path<(String, Uuid)>,
    Params(change): Params<Change>,
) -> Outcome<BackfillReportDocument> {
    let affected = caller.service().cancel_backfill(&caller.order(&change), &name, id).await?;
    Ok(Answer::new(BackfillReportDocument { dry_run: change.dry_run, backfill: id, affected }))
}
