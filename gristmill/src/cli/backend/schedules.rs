//! Schedules: list, show, their ledger, change, run, backfill.

use gristmill_client::http::Call;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::Order;
use gristmill_service::documents::{
    BackfillReportDocument, IntervalDocument, RunDocument, ScheduleDocument, ScheduleReportDocument,
    StartedBackfillDocument, WouldBackfillDocument, WouldRunDocument,
};
use gristmill_store::{BackfillView, NewBackfill, ScheduleOrigin, ScheduleView, TickFilter, TickView};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Backend, part};
use crate::exit_code::{Exit, Result};
use crate::remote::Remote;

/// What running a schedule did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ran {
    /// It runs.
    Done(Box<RunDocument>),
    /// It would.
    Would(WouldRunDocument),
}

impl Backend<'_> {
    /// Every schedule by name: those of the store, and those of the configuration that no scheduler has seen yet.
    pub(crate) async fn schedules(&self) -> Result<Vec<ScheduleDocument>> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return server.look(&Call::get(&["schedules"])).await,
        };
        let views = local.store().schedules(Some(local.tenant()), None).await?;
        let unseen = local.process.loaded.schedules().into_iter();
        let unseen = unseen.filter(|(name, _)| !views.iter().any(|view| view.name == *name));
        let unseen = unseen.map(|(name, spec)| ScheduleDocument::new(local.tenant(), &name, &spec, None));
        let mut all: Vec<ScheduleDocument> = views.iter().map(ScheduleDocument::from).chain(unseen).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// A schedule; `None` when there is none. For one of the configuration, that is the newest.
    pub(crate) async fn schedule(&self, name: &str) -> Result<Option<ScheduleDocument>> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return schedule(server, name).await,
        };
        let mut said = local.process.loaded.schedules();
        let view = local.store().schedules(Some(local.tenant()), Some(name)).await?.into_iter().next();
        let spec = said.remove(name);
        let newest = match (&view, spec) {
            (Some(view), Some(spec)) if view.origin == ScheduleOrigin::File => Some(spec),
            (Some(view), _) => Some(view.spec.clone()),
            (None, spec) => spec,
        };
        Ok(newest.map(|spec| ScheduleDocument::new(local.tenant(), name, &spec, view.as_ref())))
    }

    /// Rows of a ledger, newest first.
    pub(crate) async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        match self {
            Self::Store(local) => Ok(local.store().ticks(filter).await?),
            Self::Server(server) => {
                let call = Call::get(&["schedules", &filter.schedule, "ticks"]).param("limit", filter.limit);
                let call = call.maybe("from", filter.from.map(|from| from.to_rfc3339()));
                server.look(&call.maybe("until", filter.until.map(|until| until.to_rfc3339()))).await
            }
        }
    }

    /// Creates a schedule; `None` at a dry run.
    pub(crate) async fn create_schedule(
        &self,
        order: &Order,
        name: &str,
        spec: ScheduleSpec,
        enabled: bool,
    ) -> Result<Option<ScheduleView>> {
        match self {
            Self::Store(local) => Ok(local.service.create_schedule(order, name, spec, enabled).await?),
            Self::Server(server) => {
                let body = json!({ "name": name, "spec": spec, "enabled": enabled });
                saved(server, order, Call::post(&["schedules"]).body(&body)).await
            }
        }
    }

    /// Edits a schedule as it was seen; `None` at a dry run.
    pub(crate) async fn edit_schedule(
        &self,
        order: &Order,
        seen: &ScheduleView,
        spec: ScheduleSpec,
    ) -> Result<Option<ScheduleView>> {
        match self {
            Self::Store(local) => Ok(local.service.edit_schedule(order, seen, spec).await?),
            Self::Server(server) => {
                let call = Call::patch(&["schedules", &seen.name]).body(&json!({ "spec": spec }));
                saved(server, order, call.if_match(format!("v{}", seen.version))).await
            }
        }
    }

    /// Lets a schedule run by itself, or stops it; `None` at a dry run.
    pub(crate) async fn switch_schedule(
        &self,
        order: &Order,
        seen: &ScheduleView,
        enabled: bool,
    ) -> Result<Option<ScheduleView>> {
        match self {
            Self::Store(local) => Ok(local.service.switch_schedule(order, seen, enabled).await?),
            Self::Server(server) => {
                let call = Call::post(&["schedules", &seen.name, if enabled { "enable" } else { "disable" }]);
                let _: ScheduleReportDocument = server.change(call, order).await?;
                if order.dry_run {
                    return Ok(None);
                }
                Ok(schedule(server, &seen.name).await?.and_then(|document| document.view()))
            }
        }
    }

    /// Removes a schedule that was created by a command.
    pub(crate) async fn remove_schedule(&self, order: &Order, name: &str) -> Result<()> {
        match self {
            Self::Store(local) => Ok(local.service.remove_schedule(order, name).await.map(drop)?),
            Self::Server(server) => {
                let _: ScheduleReportDocument = server.change(Call::delete(&["schedules", name]), order).await?;
                Ok(())
            }
        }
    }

    /// The backfills of a schedule.
    pub(crate) async fn backfills(&self, name: &str) -> Result<Vec<BackfillView>> {
        match self {
            Self::Store(local) => Ok(local.store().backfills(local.tenant(), name).await?),
            Self::Server(server) => server.look(&Call::get(&["schedules", name, "backfills"])).await,
        }
    }

    /// Starts a backfill.
    pub(crate) async fn start_backfill(
        &self,
        order: &Order,
        backfill: &NewBackfill,
    ) -> Result<StartedBackfillDocument> {
        match self {
            Self::Store(local) => {
                let waiting = local.service.start_backfill(order, backfill).await?;
                Ok(StartedBackfillDocument { backfill: backfill.id, schedule: backfill.schedule.clone(), waiting })
            }
            Self::Server(server) => server.change(requested(backfill), order).await,
        }
    }

    /// What the same backfill would do: its slots in order, without those that have run or wait already.
    pub(crate) async fn rehearse_backfill(
        &self,
        order: &Order,
        backfill: &NewBackfill,
    ) -> Result<WouldBackfillDocument> {
        let local = match self {
            Self::Store(local) => local,
            Self::Server(server) => return server.change(requested(backfill), order).await,
        };
        let mut slots = local.service.open_slots(backfill).await?;
        if backfill.newest_first {
            slots.reverse();
        }
        Ok(WouldBackfillDocument {
            dry_run: true,
            schedule: backfill.schedule.clone(),
            asked: backfill.ticks.len(),
            would_run: slots.len(),
            slots: slots.into_iter().map(IntervalDocument::from).collect(),
        })
    }

    /// Pauses a backfill, or resumes it, or with `None` takes away what still waits of it. Returns how many slots wait.
    pub(crate) async fn control_backfill(
        &self,
        order: &Order,
        name: &str,
        id: Uuid,
        paused: Option<bool>,
    ) -> Result<u64> {
        match (self, paused) {
            (Self::Store(local), Some(paused)) => Ok(local.service.pause_backfill(order, name, id, paused).await?),
            (Self::Store(local), None) => Ok(local.service.cancel_backfill(order, name, id).await?),
            (Self::Server(server), paused) => {
                let verb = match paused {
                    Some(true) => "pause",
                    Some(false) => "resume",
                    None => "cancel",
                };
                let call = Call::post(&["schedules", name, "backfills", &part(id), verb]);
                let report: BackfillReportDocument = server.change(call, order).await?;
                Ok(report.affected)
            }
        }
    }
}

/// Runs a schedule of a server now, or one slot of it.
pub(crate) async fn run(server: &Remote, order: &Order, name: &str, slot: Option<&str>) -> Result<Ran> {
    let call = Call::post(&["schedules", name, "run"]).body(&json!({ "slot": slot }));
    if order.dry_run {
        return server.change(call, order).await.map(Ran::Would);
    }
    server.change(call, order).await.map(Ran::Done)
}

async fn schedule(server: &Remote, name: &str) -> Result<Option<ScheduleDocument>> {
    match server.look(&Call::get(&["schedules", name])).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.exit == Exit::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn saved(server: &Remote, order: &Order, call: Call) -> Result<Option<ScheduleView>> {
    if order.dry_run {
        let _: Value = server.change(call, order).await?;
        return Ok(None);
    }
    let document: ScheduleDocument = server.change(call, order).await?;
    Ok(document.view())
}

fn requested(backfill: &NewBackfill) -> Call {
    let NewBackfill { range: (from, to), concurrency, newest_first, .. } = backfill;
    Call::post(&["schedules", &backfill.schedule, "backfills"]).body(&json!({
        "from": from.to_rfc3339(), "to": to.to_rfc3339(), "concurrency": concurrency, "newest_first": newest_first,
    }))
}
