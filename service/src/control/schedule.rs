//! Schedules: create, edit, enable, disable, remove.

use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_core::schedule::{ScheduleSpec, Target, Timetable};
use gristmill_store::{Result, SaveSchedule, ScheduleOrigin, ScheduleView, StoreError};

use crate::Service;
use crate::order::Order;
use crate::start::render;

impl Service {
    /// Creates a schedule in the store. It handles only ticks from now on. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// `Invalid` when it makes no sense, `Conflict` when there is one of that name, and those of the store.
    pub async fn create_schedule(
        &self,
        order: &Order,
        name: &str,
        spec: ScheduleSpec,
        enabled: bool,
    ) -> Result<Option<ScheduleView>> {
        check(name, &spec)?;
        let decided_at = self.store.now().await?;
        let save = SaveSchedule {
            tenant: order.tenant.clone(),
            name: name.to_owned(),
            origin: ScheduleOrigin::Command,
            next_at: next_at(name, &spec, decided_at),
            spec,
            enabled,
            decided_at,
            seen: None,
        };
        self.save_schedule(order, Action::ScheduleCreate, &save).await
    }

    /// Changes a schedule, provided that it is still as it was read. If its time changes, it handles only ticks from
    /// now on. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// `Invalid` when it makes no sense, `Conflict` when it was changed or has decided a tick meanwhile, and those of
    /// the store.
    pub async fn edit_schedule(
        &self,
        order: &Order,
        seen: &ScheduleView,
        spec: ScheduleSpec,
    ) -> Result<Option<ScheduleView>> {
        check(&seen.name, &spec)?;
        let decided_at = if seen.spec.same_time(&spec) { seen.decided_at } else { self.store.now().await? };
        let save = edited(order, seen, spec, seen.enabled, decided_at);
        self.save_schedule(order, Action::ScheduleEdit, &save).await
    }

    /// Lets a schedule run by itself, or stops it. `None` at a dry run.
    ///
    /// # Errors
    ///
    /// `Conflict` when it was changed or has decided a tick meanwhile, and those of the store.
    pub async fn switch_schedule(
        &self,
        order: &Order,
        seen: &ScheduleView,
        enabled: bool,
    ) -> Result<Option<ScheduleView>> {
        let action = if enabled { Action::ScheduleEnable } else { Action::ScheduleDisable };
        self.save_schedule(order, action, &edited(order, seen, seen.spec.clone(), enabled, seen.decided_at)).await
    }

    /// Removes a schedule, and returns whether it was there. Its ledger stays. A dry run only looks.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn remove_schedule(&self, order: &Order, name: &str) -> Result<bool> {
        if order.dry_run {
            return Ok(!self.store.schedules(Some(&order.tenant), Some(name)).await?.is_empty());
        }
        order.at(&self.store, Action::ScheduleRemove, name).remove_schedule(&order.tenant, name).await
    }

    async fn save_schedule(&self, order: &Order, action: Action, save: &SaveSchedule) -> Result<Option<ScheduleView>> {
        if order.dry_run {
            return Ok(None);
        }
        order.at(&self.store, action, &save.name).save_schedule(save).await.map(Some)
    }
}

/// Refuses a schedule that could not run.
fn check(name: &str, spec: &ScheduleSpec) -> Result<()> {
    let wrong = |what: String| StoreError::Invalid(format!("the schedule `{name}`: {what}"));
    spec.check().map_err(|error| wrong(error.to_string()))?;
    match spec.target().map_err(|error| wrong(error.message))? {
        Target::Job(job) => render::check_payload(&job.kind, &job.payload, spec.after.is_some())
            .map_err(|what| wrong(format!("`job.payload`: {what}"))),
        Target::Batch(_) => Ok(()),
    }
}

fn edited(order: &Order, seen: &ScheduleView, spec: ScheduleSpec, enabled: bool, decided_at: Instant) -> SaveSchedule {
    SaveSchedule {
        tenant: order.tenant.clone(),
        name: seen.name.clone(),
        origin: seen.origin,
        next_at: next_at(&seen.name, &spec, decided_at),
        spec,
        enabled,
        decided_at,
        seen: Some((seen.version, seen.decided_at)),
    }
}

/// Returns when the first tick after an instant starts, jitter included.
pub fn next_at(name: &str, spec: &ScheduleSpec, after: Instant) -> Option<Instant> {
    let timetable = Timetable::compile(name, spec).ok()?;
    timetable.next(after).map(|tick| timetable.fires_at(tick))
}
