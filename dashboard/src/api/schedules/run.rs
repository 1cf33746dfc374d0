//! Schedules: run now, or run one slot.

use gristmill_core::Instant;
use gristmill_core::schedule::{ScheduleSpec, tzdb};
use gristmill_service::documents::{RunDocument, WouldRunDocument};
use gristmill_service::start::{RunError, StartedRun};
use gristmill_store::{FireTick, Firing, TickCause, TickFilter, TickOutcome, TickView};

use super::{compiled, find, on_its_clock, shown, upcoming};
use crate::api::rehearsable::Rehearsable;
use crate::gate::{
    Allowed, ApiError, Caller, Change, Creation, Fields, JsonBody, Made, Object, Params, Path, Result, perm,
};

/// Which slot runs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RunBody(Option<String>);

impl Fields for RunBody {
    const NAME: &'static str = "RunRequest";
    const EXAMPLE: &'static str = r#"{}"#;

    fn read(object: &mut Object) -> Option<Self> {
        Some(Self(object.optional("slot", "One of the schedule's own ticks; without one it runs now")))
    }
}

pub(super) async fn run(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
    JsonBody(RunBody(slot)): JsonBody<RunBody>,
) -> Creation<Rehearsable<RunDocument, WouldRunDocument>> {
    match start(&caller, &name, slot.as_deref(), &change).await? {
        Started::Would(tick) => {
            let slot = (tick.tick, tick.interval).into();
            Ok(Made::not_made(Rehearsable::Would(WouldRunDocument { dry_run: true, schedule: name, slot })))
        }
        Started::Row(row) => {
            Ok(Made::new(Rehearsable::Done(RunDocument { schedule: name, run: shown(&caller, *row) })))
        }
    }
}

/// What came of the wish for a run.
pub(crate) enum Started {
    /// It would be this one.
    Would(Box<FireTick>),
    /// It is this one.
    Row(Box<TickView>),
}

/// Runs a schedule now, or one slot of it.
pub(crate) async fn start(caller: &Caller, name: &str, slot: Option<&str>, change: &Change) -> Result<Started> {
    let found = find(caller, name).await?;
    let tick = tick(caller, name, &found.spec, slot).await?;
    if change.dry_run {
        return Ok(Started::Would(Box::new(tick)));
    }
    let at = tick.tick;
    let tenant = caller.tenant().to_owned();
    let firing = Firing { tenant, schedule: name.to_owned(), advance: None, ticks: vec![tick] };
    let (order, run_context) = (caller.order(change), caller.api().run_context());
    match caller.service().start_run(&order, run_context, &found.spec, firing).await {
        Ok(StartedRun::Planned(_) | StartedRun::Enqueued(_)) => {}
        Ok(StartedRun::Lost | StartedRun::Rehearsed) => return Err(ran_already(name, at)),
        Ok(StartedRun::Failed(reason)) => return Err(ApiError::conflict(format!("the run did not start: {reason}"))),
        Err(RunError::Job(wrong)) => return Err(ApiError::conflict(format!("its job makes no sense: {wrong}"))),
        Err(RunError::Store(error)) => return Err(error.into()),
    }
    let row = known(caller, name, at).await?;
    row.map(|row| Started::Row(Box::new(row)))
        .ok_or_else(|| ApiError::internal("the run started and is not in the ledger"))
}

/// The row of the ledger that this run becomes.
async fn tick(caller: &Caller, name: &str, spec: &ScheduleSpec, slot: Option<&str>) -> Result<FireTick> {
    let timetable = compiled(name, spec)?;
    let now = caller.store().now().await?;
    let (tick, interval, was, about) = match slot {
        None => {
            let last = timetable.previous(now);
            (now, last.map_or((now, now), |last| timetable.interval(last)), None, None)
        }
        Some(text) => {
            let slot = on_its_clock("slot", text, timetable.zone())?;
            let row = known(caller, name, slot).await?;
            // A tick that an event made is not a tick of the clock, but can be run again all the same.
            let made = row.as_ref().filter(|row| row.event.is_some()).map(|row| (row.from, row.to));
            if made.is_none() && !timetable.is_tick(slot) {
                let next =
                    upcoming(&timetable, slot, 1).first().map(|next| format!("the next is {}", next.to_rfc3339()));
                let next = next.unwrap_or_else(|| "it has none after".to_owned());
                return Err(ApiError::fault("/slot", format!("`{text}` is no slot of `{name}`; {next}")));
            }
            let interval = made.unwrap_or_else(|| timetable.interval(slot));
            (slot, interval, row.as_ref().map(|row| row.outcome), row.and_then(|row| row.about))
        }
    };
    if was == Some(TickOutcome::Ran) {
        return Err(ran_already(name, tick));
    }
    let late_ms = (now - tick).num_milliseconds().max(0);
    let (cause, outcome) = (TickCause::Manual, TickOutcome::Ran);
    Ok(FireTick {
        tick,
        interval,
        cause,
        outcome,
        late_ms,
        ticks: 1,
        reason: None,
        was,
        run: None,
        holder: None,
        tzdb: Some(tzdb().0.to_owned()),
        about,
    })
}

/// A tick's row of the ledger.
async fn known(caller: &Caller, name: &str, tick: Instant) -> Result<Option<TickView>> {
    let filter = TickFilter {
        tenant: caller.tenant().to_owned(),
        schedule: name.to_owned(),
        from: Some(tick),
        until: Some(tick),
        limit: 1,
    };
    Ok(caller.store().ticks(&filter).await?.into_iter().next())
}

fn ran_already(name: &str, tick: Instant) -> ApiError {
    ApiError::conflict(format!("the slot {} of `{name}` has run already", tick.to_rfc3339()))
        .hint("each slot runs once; without `slot` it runs now")
}
