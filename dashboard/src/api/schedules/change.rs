//! Schedules: create, edit, enable, disable, delete.

use gristmill_core::id::is_name;
use gristmill_core::schedule::{ScheduleSpec, Target};
use gristmill_service::documents::{ScheduleDocument, ScheduleReportDocument, WouldSaveScheduleDocument};
use gristmill_store::ScheduleView;

use super::{SHOWN, check_match, compiled, configured, find, upcoming};
use crate::api::rehearsable::Rehearsable;
use crate::gate::if_match::IfMatch;
use crate::gate::{
    Allowed, Answer, ApiError, Caller, Change, Creation, Fields, JsonBody, Made, Object, Outcome, Params, Path, Result,
    perm,
};

/// A schedule that does not exist yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewSchedule {
    name: String,
    spec: ScheduleSpec,
    enabled: bool,
}

impl Fields for NewSchedule {
    const NAME: &'static str = "ScheduleRequest";
    const EXAMPLE: &'static str = r#"{"name": "nightly", "spec": {"cron": "0 2 * * *", "timezone": "Europe/London", "batch": "retail", "missed": "latest"}}"#;

    fn read(object: &mut Object) -> Option<Self> {
        let name: Option<String> = object.required("name", "Its name");
        if name.as_ref().is_some_and(|name| !is_name(name)) {
            object.fault("name", "cannot be the name of a schedule: 1 to 100 letters, digits, `-` and `_`");
        }
        let spec = object.required("spec", "What it is: see [schedule.NAME] in the configuration");
        let enabled = object.optional("enabled", "Whether it runs by itself; true unless said").unwrap_or(true);
        Some(Self { name: name?, spec: spec?, enabled })
    }
}

/// What a schedule becomes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EditedSchedule(ScheduleSpec);

impl Fields for EditedSchedule {
    const NAME: &'static str = "ScheduleEdit";
    const EXAMPLE: &'static str = r#"{"spec": {"every": "1h", "batch": "retail"}}"#;

    fn read(object: &mut Object) -> Option<Self> {
        object.required("spec", "What it becomes, as a whole: see [schedule.NAME] in the configuration").map(Self)
    }
}

/// What saving a schedule answers.
type Saved = Rehearsable<ScheduleDocument, WouldSaveScheduleDocument>;

pub(super) async fn create(
    caller: Allowed<perm::SchedulesChange>,
    Params(change): Params<Change>,
    JsonBody(NewSchedule { name, spec, enabled }): JsonBody<NewSchedule>,
) -> Creation<Saved> {
    checked(&caller, &name, &spec)?;
    let there = !caller.store().schedules(Some(caller.tenant()), Some(&name)).await?.is_empty();
    if there || configured(&caller).contains_key(&name) {
        return Err(ApiError::conflict(format!("there is a schedule `{name}` already")));
    }
    if change.dry_run {
        return Ok(Made::not_made(Rehearsable::Would(would(&caller, name, spec).await?)));
    }
    compiled(&name, &spec)?;
    let made = caller.service().create_schedule(&caller.order(&change), &name, spec, enabled).await?;
    let made = made.ok_or_else(|| ApiError::internal("a schedule was rehearsed and not made"))?;
    Ok(Made::at(Rehearsable::Done(ScheduleDocument::from(&made)), format!("/api/v1/schedules/{name}")))
}

pub(super) async fn edit(
    caller: Allowed<perm::SchedulesChange>,
    Path(name): Path<String>,
    tags: IfMatch,
    Params(change): Params<Change>,
    JsonBody(EditedSchedule(spec)): JsonBody<EditedSchedule>,
) -> Outcome<Saved> {
    let view = find(&caller, &name).await?.changeable(&name)?;
    check_match(tags.0.as_deref(), &view)?;
    checked(&caller, &name, &spec)?;
    if change.dry_run {
        return Ok(Answer::new(Rehearsable::Would(would(&caller, name, spec).await?)));
    }
    compiled(&name, &spec)?;
    let edited = caller.service().edit_schedule(&caller.order(&change), &view, spec).await?;
    let edited = edited.ok_or_else(|| ApiError::internal("an edit was rehearsed and not made"))?;
    Ok(Answer::new(Rehearsable::Done(ScheduleDocument::from(&edited))))
}

/// Refuses a schedule that could not run.
fn checked(caller: &Caller, name: &str, spec: &ScheduleSpec) -> Result<()> {
    spec.check().map_err(|error| ApiError::fault("/spec", error.to_string()))?;
    let target = spec.target().map_err(|error| ApiError::fault("/spec", error.message))?;
    let started = match target {
        Target::Batch(batch) => Some(batch),
        Target::Job(_) => None,
    };
    let batches = &caller.api().run_context().snapshot.borrow().batches;
    for batch in started.into_iter().chain(spec.after.as_deref()) {
        if !batches.contains_key(batch) {
            return Err(ApiError::fault("/spec", format!("there is no [batch.{batch}] in the configuration")));
        }
    }
    caller.api().program().check_schedule(name, spec).map_err(|wrong| ApiError::fault("/spec", wrong))
}

async fn would(caller: &Caller, schedule: String, spec: ScheduleSpec) -> Result<WouldSaveScheduleDocument> {
    let next = upcoming(&compiled(&schedule, &spec)?, caller.store().now().await?, SHOWN);
    Ok(WouldSaveScheduleDocument { dry_run: true, schedule, spec, next })
}

pub(super) async fn enable(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ScheduleReportDocument> {
    switched(&caller, name, &change, true).await
}

pub(super) async fn disable(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ScheduleReportDocument> {
    switched(&caller, name, &change, false).await
}

async fn switched(caller: &Caller, name: String, change: &Change, enabled: bool) -> Outcome<ScheduleReportDocument> {
    let affected = switch(caller, &name, change, enabled).await?;
    Ok(Answer::new(ScheduleReportDocument { dry_run: change.dry_run, schedule: name, affected }))
}

/// Lets a schedule run by itself, or stops it. Returns 1, or 0 when it did already.
pub(crate) async fn switch(caller: &Caller, name: &str, change: &Change, enabled: bool) -> Result<u64> {
    let Some(view) = find(caller, name).await?.view else {
        return Err(ApiError::conflict(format!("no scheduler has seen the schedule `{name}` yet"))
            .hint("say `enabled` in the configuration, or start a scheduler first"));
    };
    let affected = u64::from(view.enabled != enabled);
    if affected > 0 {
        caller.service().switch_schedule(&caller.order(change), &view, enabled).await?;
    }
    Ok(affected)
}

pub(super) async fn delete(
    caller: Allowed<perm::SchedulesChange>,
    Path(name): Path<String>,
    Params(change): Params<Change>,
) -> Outcome<ScheduleReportDocument> {
    let _: ScheduleView = find(&caller, &name).await?.changeable(&name)?;
    caller.service().remove_schedule(&caller.order(&change), &name).await?;
    Ok(Answer::new(ScheduleReportDocument { dry_run: change.dry_run, schedule: name, affected: 1 }))
}
