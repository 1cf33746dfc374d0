//! Events that start runs.

use async_trait::async_trait;
use chrono::TimeDelta;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;

use super::schedules::Tick;
use super::transition::{Transition, report, report_batch};
use super::{ReferenceStore, insert};
use crate::error::{Result, StoreError};
use crate::triggers::{self, BatchEnded, EventRow, Follower};
use crate::{Dispatched, NewEvent, NotedEvent, TickCause, TickOutcome, TickView, Triggers};

#[async_trait]
impl Triggers for ReferenceStore {
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        let mut t = Transition::begin(self);
        let noted = note(&mut t, event)?;
        Ok(NotedEvent { dispatched: t.commit()?.dispatched, ..noted })
    }
}

/// Records an event, once, and enqueues its job; the caller knows what may be published.
pub(super) fn note(t: &mut Transition<'_>, event: &NewEvent) -> Result<NotedEvent> {
    let row = triggers::given(event, t.now)?;
    let fresh = write(t, &row)?;
    if fresh && let Some(job) = &event.job {
        insert::new_jobs(t, std::slice::from_ref(job))?;
    }
    let missing = || StoreError::Database(format!("the event `{}` is not in the ledger", row.event));
    let tick = known(t, &row).cloned().ok_or_else(missing)?;
    if fresh {
        let (subject, data) = triggers::received(event);
        report(t, &event.tenant, OwnType::TriggerReceived, subject, data);
    }
    Ok(NotedEvent { fresh, tick, dispatched: Dispatched::default() })
}

/// Schedules that follow a batch which has just ended are in the ledger with its end, in the same transaction.
pub(super) fn batch_ended(t: &mut Transition<'_>, id: BatchId, state: BatchState) -> Result<()> {
    report_batch(t, id, OwnType::of_end(state));
    let Some(batch) = t.state.batches.get(&id) else { return Ok(()) };
    let tick = t.state.ticks.values().map(|tick| &tick.view).find(|view| view.batch == Some(id));
    let ended = BatchEnded {
        tenant: batch.tenant.clone(),
        batch: id,
        name: batch.name.clone(),
        generation: batch.generation,
        state: batch.state,
        interval: tick.map_or((batch.created_at, t.now), |view| (view.from, view.to)),
    };
    let follows = |view: &&crate::ScheduleView| {
        view.tenant == ended.tenant && view.spec.after.as_ref() == Some(&ended.name) && view.decided_at <= t.now
    };
    let follower = |view: &crate::ScheduleView| Follower {
        schedule: view.name.clone(),
        spec: view.spec.clone(),
        enabled: view.enabled,
    };
    let followers: Vec<Follower> = t.state.schedules.values().filter(follows).map(follower).collect();
    for row in triggers::followed(&ended, &followers)? {
        write(t, &row)?;
    }
    Ok(())
}

/// Writes the row unless its event is known. Ticks are keys too: an event whose instant is taken gets the next one.
fn write(t: &mut Transition<'_>, row: &EventRow) -> Result<bool> {
    if known(t, row).is_some() {
        return Ok(false);
    }
    let key = |tick| (row.tenant.clone(), row.schedule.clone(), tick);
    let mut tick = t.now;
    while t.state.ticks.contains_key(&key(tick)) {
        tick += TimeDelta::microseconds(1);
    }
    let ran = row.outcome == TickOutcome::Ran;
    let about = gristmill_core::json::kept(&row.about).map_err(|error| StoreError::Database(error.to_string()))?;
    let view = TickView {
        tenant: row.tenant.clone(),
        schedule: row.schedule.clone(),
        tick,
        cause: TickCause::Tick,
        outcome: row.outcome,
        from: row.interval.0,
        to: row.interval.1,
        late_ms: 0,
        ticks: 1,
        tries: u32::from(ran),
        batch: None,
        job: row.job.map(gristmill_core::id::JobId),
        active: ran,
        result: None,
        backfill: None,
        reason: row.reason.map(str::to_owned),
        decided_at: t.now,
        tzdb: None,
        started_at: ran.then_some(t.now),
        ended_at: None,
        event: Some(row.event.clone()),
        about: Some(about),
    };
    t.state.ticks.insert(key(tick), Tick { view, holder: None });
    Ok(true)
}

fn known<'t>(t: &'t Transition<'_>, row: &EventRow) -> Option<&'t TickView> {
    let same = |view: &&TickView| {
        view.tenant == row.tenant && view.schedule == row.schedule && view.event.as_ref() == Some(&row.event)
    };
    t.state.ticks.values().map(|tick| &tick.view).find(same)
}
