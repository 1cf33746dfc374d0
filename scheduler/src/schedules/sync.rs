//! Turns the schedules of the configuration into rows of the store, and removes rows whose schedule is no longer in it.

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_core::schedule::ScheduleSpec;
use gristmill_service::control::schedule::next_at;
use gristmill_store::{Result, SaveSchedule, ScheduleOrigin, ScheduleView, Schedules, StoreError};

/// What a synchronisation changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Schedules that were created.
    pub made: Vec<String>,
    /// Schedules that were edited.
    pub edited: Vec<String>,
    /// Schedules that were removed.
    pub removed: Vec<String>,
    /// Schedules whose name is already taken by one that a command created: that one stays.
    pub taken: Vec<String>,
}

/// Makes the tenant's schedules of origin `file` match the configuration. A new schedule, or one whose time was edited,
/// begins with the ticks after `now`: no edit replays the past.
///
/// # Errors
///
/// Store errors. A schedule that a command changed at the same moment is left to the next call.
pub async fn sync(
    store: &dyn Schedules,
    tenant: &str,
    wanted: &BTreeMap<String, ScheduleSpec>,
    now: Instant,
) -> Result<SyncReport> {
    let mut report = SyncReport::default();
    let known = store.schedules(Some(tenant), None).await?;
    for (name, spec) in wanted {
        let view = known.iter().find(|view| view.name == *name);
        if view.is_some_and(|view| view.origin == ScheduleOrigin::Command) {
            tracing::warn!(
                schedule = name,
                "a schedule made by a command has this name; the configuration's is left out"
            );
            report.taken.push(name.clone());
            continue;
        }
        if view.is_some_and(|view| view.spec == *spec) {
            continue;
        }
        match store.save_schedule(&changed(tenant, name, spec, view, now)).await {
            Ok(_) if view.is_some() => report.edited.push(name.clone()),
            Ok(_) => report.made.push(name.clone()),
            Err(StoreError::Conflict(reason)) => tracing::debug!(schedule = name, reason, "left to the next time"),
            Err(error) => return Err(error),
        }
    }
    for gone in known.iter().filter(|view| view.origin == ScheduleOrigin::File && !wanted.contains_key(&view.name)) {
        store.remove_schedule(tenant, &gone.name).await?;
        report.removed.push(gone.name.clone());
    }
    Ok(report)
}

fn changed(tenant: &str, name: &str, spec: &ScheduleSpec, view: Option<&ScheduleView>, now: Instant) -> SaveSchedule {
    let enabled = match view {
        // A schedule that a command disabled stays disabled until its `enabled` changes in the file.
        Some(view) if view.spec.enabled == spec.enabled => view.enabled,
        Some(_) | None => spec.enabled.unwrap_or(true),
    };
    let decided_at = view.filter(|view| view.spec.same_time(spec)).map_or(now, |view| view.decided_at);
    SaveSchedule {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        origin: ScheduleOrigin::File,
        spec: spec.clone(),
        enabled,
        decided_at,
        next_at: next_at(name, spec, decided_at),
        seen: view.map(|view| (view.version, view.decided_at)),
    }
}
