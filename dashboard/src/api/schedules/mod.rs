//! Schedules: list, show, next, ticks; [`change`]: create, edit, enable, disable, delete; [`run`]: run now, or one slot;
//! [`backfill`]: past ranges.

pub(crate) mod backfill;
pub(crate) mod change;
pub(crate) mod run;

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::schedule::{ScheduleSpec, Timetable, Zone, instant};
use gristmill_service::documents::{NextTicksDocument, PlannedTickDocument, ScheduleDocument, TickDocument};
use gristmill_store::{ScheduleOrigin, ScheduleView, TickFilter};

use crate::gate::{
    Allowed, Answer, ApiError, Caller, ErrorCode, Moment, Outcome, Parameters, Params, Path, Query, Result, Routes,
    perm,
};

/// How many ticks to come are shown with a schedule.
const SHOWN: usize = 10;

/// The most ticks of an answer.
const TICKS_MAX: u32 = 10_000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/schedules", "Every schedule", list)
        .post("/api/v1/schedules", "Create a schedule", change::create)
        .get("/api/v1/schedules/{schedule}", "A schedule with its next ticks and its last runs", show)
        .patch("/api/v1/schedules/{schedule}", "Edit a schedule that was created so", change::edit)
        .delete(
            "/api/v1/schedules/{schedule}",
            "Delete a schedule that was created so; its ledger stays",
            change::delete,
        )
        .get("/api/v1/schedules/{schedule}/next", "The ticks to come", next)
        .get("/api/v1/schedules/{schedule}/ticks", "The ledger: the ticks that came, newest first", ticks)
        .post("/api/v1/schedules/{schedule}/enable", "Let it run by itself", change::enable)
        .post("/api/v1/schedules/{schedule}/disable", "Stop it from running by itself", change::disable)
        .post_slowly("/api/v1/schedules/{schedule}/run", "Run it now, or run one slot", run::run)
        .get("/api/v1/schedules/{schedule}/backfills", "Its backfills", backfill::list)
        .post("/api/v1/schedules/{schedule}/backfills", "Run a past range", backfill::start)
        .post(
            "/api/v1/schedules/{schedule}/backfills/{backfill}/pause",
            "Start nothing more of it just now",
            backfill::pause,
        )
        .post("/api/v1/schedules/{schedule}/backfills/{backfill}/resume", "Go on with it", backfill::resume)
        .post(
            "/api/v1/schedules/{schedule}/backfills/{backfill}/cancel",
            "Take away what still waits of it",
            backfill::cancel,
        )
}

/// A schedule as the configuration and the store know it.
pub(crate) struct Found {
    /// What it says.
    pub(crate) spec: ScheduleSpec,
    /// Its row, once a scheduler or a command has made it.
    pub(crate) view: Option<ScheduleView>,
}

impl Found {
    pub(crate) fn document(&self, caller: &Caller, name: &str) -> ScheduleDocument {
        ScheduleDocument::new(caller.tenant(), name, &self.spec, self.view.as_ref())
    }

    /// Its row, if it can be changed here: schedules of the configuration are changed there.
    fn changeable(self, name: &str) -> Result<ScheduleView> {
        match self.view {
            Some(view) if view.origin == ScheduleOrigin::Command => Ok(view),
            _ => Err(ApiError::conflict(format!("the schedule `{name}` is in the configuration"))
                .hint("change it there: a running scheduler sees it at once")),
        }
    }
}

/// The schedules of the configuration, which belong to one tenant.
pub(crate) fn configured(caller: &Caller) -> BTreeMap<String, ScheduleSpec> {
    let run_context = caller.api().run_context();
    if caller.tenant() != run_context.tenant {
        return BTreeMap::new();
    }
    run_context.snapshot.borrow().schedules.clone()
}

/// A schedule of the store or of the configuration; for those of the configuration, that is the newest.
pub(crate) async fn find(caller: &Caller, name: &str) -> Result<Found> {
    let mut said = configured(caller);
    let view = caller.store().schedules(Some(caller.tenant()), Some(name)).await?.into_iter().next();
    match (view, said.remove(name)) {
        (Some(view), Some(spec)) if view.origin == ScheduleOrigin::File => Ok(Found { spec, view: Some(view) }),
        (Some(view), _) => Ok(Found { spec: view.spec.clone(), view: Some(view) }),
        (None, Some(spec)) => Ok(Found { spec, view: None }),
        (None, None) => Err(ApiError::not_found(format!("there is no schedule `{name}` of `{}`", caller.tenant()))),
    }
}

pub(crate) fn compiled(name: &str, spec: &ScheduleSpec) -> Result<Timetable> {
    Timetable::compile(name, spec).map_err(|error| ApiError::fault("/spec", error.to_string()))
}

/// The ticks after an instant.
pub(crate) fn upcoming(timetable: &Timetable, from: Instant, count: usize) -> Vec<Instant> {
    timetable.between(from, Instant::MAX_UTC, count).ticks
}

/// An instant of a request: RFC 3339, or a date and time on the schedule's clock.
fn on_its_clock(field: &str, text: &str, zone: Zone) -> Result<Instant> {
    let right = format!("write one such as 2030-01-31T02:00:00Z, or 2030-01-31T02:00 on the clock of {zone}");
    instant(text, zone)
        .ok_or_else(|| ApiError::fault(format!("/{field}"), format!("`{text}` is not an instant; {right}")))
}

/// A row of the ledger as its caller may see it: what an event has brought only with `contents:read`.
pub(crate) fn shown(caller: &Caller, tick: TickDocument) -> TickDocument {
    TickDocument { about: tick.about.filter(|_| caller.may(Permission::ContentsRead)), ..tick }
}

async fn list(caller: Allowed<perm::SchedulesRead>) -> Outcome<Vec<ScheduleDocument>> {
    let views = caller.store().schedules(Some(caller.tenant()), None).await?;
    let known: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    let unseen = configured(&caller).into_iter().filter(|(name, _)| !known.contains(name));
    let unseen = unseen.map(|(name, spec)| ScheduleDocument::new(caller.tenant(), &name, &spec, None));
    let mut all: Vec<ScheduleDocument> = views.iter().map(ScheduleDocument::from).chain(unseen).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Answer::new(all))
}

async fn show(caller: Allowed<perm::SchedulesRead>, Path(name): Path<String>) -> Outcome<ScheduleDocument> {
    let found = find(&caller, &name).await?;
    let timetable = compiled(&name, &found.spec)?;
    let now = caller.store().now().await?;
    let next =
        upcoming(&timetable, now, SHOWN).iter().map(|tick| PlannedTickDocument::new(&timetable, *tick)).collect();
    let last = ledger(&caller, &name, &Range { from: None, until: None, limit: Some(10) }).await?;
    let document = found.document(&caller, &name);
    let version = document.version.map(|version| format!("v{version}"));
    let answer = Answer::new(ScheduleDocument { next: Some(next), last: Some(last), ..document });
    Ok(match version {
        Some(version) => answer.version(version),
        None => answer,
    })
}

/// How many ticks to come.
struct Count(Option<u32>);

impl Parameters for Count {
    fn read(query: &mut Query) -> Self {
        let count = query.one("count", "How many, 1 to 1000; 10 unless said");
        if count.is_some_and(|count| !(1..=1_000).contains(&count)) {
            query.fault("count", "must be 1 to 1000");
        }
        Self(count)
    }
}

async fn next(
    caller: Allowed<perm::SchedulesRead>,
    Path(name): Path<String>,
    Params(count): Params<Count>,
) -> Outcome<NextTicksDocument> {
    let found = find(&caller, &name).await?;
    let timetable = compiled(&name, &found.spec)?;
    let from = caller.store().now().await?;
    let ticks = upcoming(&timetable, from, count.0.unwrap_or(10) as usize);
    Ok(Answer::new(NextTicksDocument::new(&name, &found.spec, &timetable, from, &ticks)))
}

/// Which rows of a ledger.
pub(crate) struct Range {
    pub(crate) from: Option<Instant>,
    pub(crate) until: Option<Instant>,
    pub(crate) limit: Option<u32>,
}

impl Parameters for Range {
    fn read(query: &mut Query) -> Self {
        let from = query.one::<Moment>("from", "Not before this instant").map(|moment| moment.0);
        let until = query.one::<Moment>(
            "until",
            "Not after this instant: of a further page, before the last row of the page before",
        );
        let limit = query.one("limit", "How many rows, 1 to 10000; 50 unless said");
        if limit.is_some_and(|limit| !(1..=TICKS_MAX).contains(&limit)) {
            query.fault("limit", format!("must be 1 to {TICKS_MAX}"));
        }
        Self { from, until: until.map(|moment| moment.0), limit }
    }
}

/// Rows of a ledger, newest first.
pub(crate) async fn ledger(caller: &Caller, name: &str, range: &Range) -> Result<Vec<TickDocument>> {
    let filter = TickFilter {
        tenant: caller.tenant().to_owned(),
        schedule: name.to_owned(),
        from: range.from,
        until: range.until,
        limit: range.limit.unwrap_or(50),
    };
    Ok(caller.store().ticks(&filter).await?.into_iter().map(|tick| shown(caller, tick)).collect())
}

async fn ticks(
    caller: Allowed<perm::SchedulesRead>,
    Path(name): Path<String>,
    Params(range): Params<Range>,
) -> Outcome<Vec<TickDocument>> {
    // The ledger of a schedule that was deleted is still there.
    let rows = ledger(&caller, &name, &range).await?;
    if rows.is_empty() {
        find(&caller, &name).await?;
    }
    Ok(Answer::new(rows))
}

/// Checks that a schedule is still as its caller has read it.
fn check_match(said: Option<&[String]>, view: &ScheduleView) -> Result<()> {
    let version = format!("v{}", view.version);
    match said {
        Some(tags) if !tags.iter().any(|tag| *tag == version || tag == "*") => {
            let message = format!("the schedule `{}` has version {} now", view.name, view.version);
            Err(ApiError::new(ErrorCode::Stale, message).hint("read it again, and repeat the edit on what is there"))
        }
        Some(_) | None => Ok(()),
    }
}
