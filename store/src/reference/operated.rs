//! Operations over quarantined items and over batches.

use std::sync::Arc;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, OperationId};
use gristmill_core::operation::{
    BatchFacts, OperationState, OperationVerb, STEP_JOBS_MAX, Subjects, next_due, step_jobs,
};
use gristmill_core::query::{Query, parse};

use super::ReferenceStore;
use super::control::{cancel_in, pause_in};
use super::operation::{KeptBatch, Operation, Place};
use super::patch::redrive;
use super::restart::restart_in;
use super::retention::begin;
use super::state::most;
use super::transition::Transition;
use super::view::batch_view;
use crate::error::{Result, StoreError};
use crate::operations::{batch_changed_since, gone_with_its_batch};
use crate::selected::{takes_batch, takes_item};
use crate::{OperationStep, PatchRedrive, Pause, QuarantineWhich, Restart};

/// How many items make a chunk.
const CHUNK_ITEMS: u64 = 500;

/// Everything that a selection selects, in the order of the walk.
fn selected(t: &Transition<'_>, tenant: &str, verb: OperationVerb, query: &Query, snapshot: Instant) -> Vec<Place> {
    let query = query.at(snapshot);
    let mut places: Vec<Place> = match verb.subjects() {
        Subjects::Items => {
            let open = t.state.quarantine.values().filter(|item| item.tenant == tenant && item.view.state == "open");
            let taken = open.filter(|item| takes_item(&query, snapshot, item.view.created_at, &item.view));
            taken.map(|item| Place::Item(item.view.batch, item.view.id)).collect()
        }
        _ => {
            let own = t.state.batches.values().filter(|batch| batch.tenant == tenant);
            let taken = own.filter(|batch| {
                let (paused, deleting) = (batch.pause.is_some(), batch.deleting);
                let facts = BatchFacts { state: batch.state, paused, stopping: false, deleting };
                takes_batch(verb, &query, (snapshot, batch.created_at), facts, &batch_view(batch))
            });
            taken.map(|batch| Place::Batch(batch.id)).collect()
        }
    };
    places.sort_unstable();
    places
}

/// The same by their ids or numbers.
pub(super) fn named(
    t: &Transition<'_>,
    tenant: &str,
    verb: OperationVerb,
    query: &Query,
    snapshot: Instant,
) -> Vec<String> {
    let name = |place: &Place| match place {
        Place::Job(_, _, job) => job.to_string(),
        Place::Item(_, item) => item.to_string(),
        Place::Batch(batch) => batch.to_string(),
    };
    selected(t, tenant, verb, query, snapshot).iter().map(name).collect()
}

/// One step. What is refused is tried once more as refused, and nothing else happens to it.
pub(super) fn step(store: &ReferenceStore, operation: &Operation) -> Result<OperationStep> {
    match attempt(store, operation, None) {
        Err(StoreError::Conflict(why)) => attempt(store, operation, Some(&why)),
        done => done,
    }
}

fn attempt(store: &ReferenceStore, operation: &Operation, refused: Option<&str>) -> Result<OperationStep> {
    let (mut t, mut operation) = (Transition::begin(store), operation.clone());
    let items = operation.view.verb.subjects() == Subjects::Items;
    let mut step = match operation.view.state {
        OperationState::Running => run(&mut t, &mut operation, refused)?,
        OperationState::Undoing if items => put_back(&mut t, &mut operation),
        OperationState::Undoing => go_on(&mut t, &mut operation, refused)?,
        OperationState::Finished | OperationState::Cancelled | OperationState::Undone => forget(&mut t, &mut operation),
    };
    t.state.operations.insert(operation.view.id, operation);
    step.dispatched = t.commit()?.dispatched;
    Ok(step)
}

fn run(t: &mut Transition<'_>, operation: &mut Operation, refused: Option<&str>) -> Result<OperationStep> {
    let view = operation.view.clone();
    let query = parse(view.verb.list(), &view.query).map_err(|fault| StoreError::Database(fault.to_string()))?;
    let mut places = selected(t, &view.tenant, view.verb, &query, view.snapshot);
    places.retain(|place| operation.place.as_ref().is_none_or(|behind| place > behind));
    let all = places.len();
    places.truncate(most(view.verb.step_max(view.rate)));
    if let Some(Place::Item(first, _)) = places.first().cloned() {
        places.retain(|place| matches!(place, Place::Item(batch, _) if *batch == first));
    }
    let mut step = OperationStep::none(view.state);
    if let Some(why) = refused {
        step.failed = places.len() as u64;
        operation.view.error = Some(why.to_owned());
    } else {
        step.done = change(t, operation, &places)?;
    }
    let over = places.len() == all;
    operation.place = places.pop().or(operation.place.take());
    operation.view.done += step.done;
    operation.view.failed += step.failed;
    operation.due_at = next_due(view.rate, operation.due_at, t.now, step.done + step.failed);
    if over {
        operation.end(OperationState::Finished, t.now);
    }
    step.state = operation.view.state;
    Ok(step)
}

fn change(t: &mut Transition<'_>, operation: &Operation, places: &[Place]) -> Result<u64> {
    let number = |place: &Place| match place {
        Place::Item(_, item) => Some(*item),
        Place::Job(..) | Place::Batch(_) => None,
    };
    let items: Vec<i64> = places.iter().filter_map(number).collect();
    match places.first() {
        Some(Place::Batch(batch)) => steer(t, operation, *batch),
        Some(Place::Item(..)) if operation.view.verb == OperationVerb::DiscardItems => {
            for id in &items {
                if let Some(item) = t.state.quarantine.remove(id) {
                    t.state.operation_items.insert((operation.view.id, *id), item);
                }
            }
            Ok(items.len() as u64)
        }
        Some(Place::Item(batch, _)) => {
            if t.state.batches.get(batch).is_some_and(|batch| batch.deleting) {
                return Err(crate::retention::being_deleted(*batch));
            }
            let which = QuarantineWhich { items, ..QuarantineWhich::default() };
            let patching = PatchRedrive { which, ..PatchRedrive::new(*batch, CHUNK_ITEMS) };
            Ok(redrive(t, &operation.view.tenant, &patching)?.redriven)
        }
        Some(Place::Job(..)) | None => Ok(0),
    }
}

fn steer(t: &mut Transition<'_>, operation: &Operation, batch: BatchId) -> Result<u64> {
    let view = &operation.view;
    let tenant = view.tenant.as_str();
    match view.verb {
        OperationVerb::PauseBatches => {
            let pause = Pause { by: Some(view.actor.clone()), reason: Some(view.reason.clone()) };
            pause_in(t, tenant, batch, Some(&pause))?;
        }
        OperationVerb::ResumeBatches => drop(pause_in(t, tenant, batch, None)?),
        OperationVerb::RestartBatches => {
            drop(restart_in(t, tenant, &Restart { batch, failure_budget: None, dead: false })?);
        }
        OperationVerb::DeleteBatches => drop(begin(t, tenant, batch, None)?),
        _ => {
            let pause = t.state.batches.get(&batch).and_then(|batch| batch.pause.clone());
            t.state.operation_batches.insert((view.id, batch), KeptBatch { pause, at: t.now });
            cancel_in(t, tenant, batch, &view.reason)?;
        }
    }
    Ok(1)
}

fn items_of(t: &Transition<'_>, operation: OperationId, limit: u32) -> Vec<i64> {
    let of = t.state.operation_items.keys().filter(|(of, _)| *of == operation);
    of.take(most(limit)).map(|(_, item)| *item).collect()
}

fn put_back(t: &mut Transition<'_>, operation: &mut Operation) -> OperationStep {
    let (id, limit) = (operation.view.id, step_jobs(operation.view.rate));
    let items = items_of(t, id, limit);
    let mut step = OperationStep::none(OperationState::Undoing);
    for number in &items {
        let Some(item) = t.state.operation_items.remove(&(id, *number)) else { continue };
        let batch = item.view.batch;
        if t.state.batches.get(&batch).is_some_and(|batch| !batch.deleting) {
            t.state.quarantine.insert(*number, Arc::clone(&item));
            step.done += 1;
        } else {
            step.failed += 1;
            operation.view.error = Some(gone_with_its_batch(*number, batch.0));
        }
    }
    undone(operation, &step, t.now, items.len() as u64, items.len() < most(limit))
}

/// Lets the next batch go on that was cancelled.
fn go_on(t: &mut Transition<'_>, operation: &mut Operation, refused: Option<&str>) -> Result<OperationStep> {
    let id = operation.view.id;
    let mut step = OperationStep::none(OperationState::Undoing);
    let next = t.state.operation_batches.iter().find(|((of, _), _)| *of == id);
    let Some((batch, kept)) = next.map(|((_, batch), kept)| (*batch, kept.clone())) else {
        return Ok(undone(operation, &step, t.now, 1, true));
    };
    t.state.operation_batches.remove(&(id, batch));
    let left = t.state.batches.get(&batch).is_some_and(|batch| {
        batch.state == gristmill_core::batch::BatchState::Cancelled
            && batch.finished_at == Some(kept.at)
            && !batch.deleting
    });
    let refused = refused.map(str::to_owned).or_else(|| (!left).then(|| batch_changed_since(batch)));
    if let Some(why) = refused {
        step.failed = 1;
        operation.view.error = Some(why);
    } else {
        let tenant = operation.view.tenant.clone();
        restart_in(t, &tenant, &Restart { batch, failure_budget: None, dead: false })?;
        if let Some(pause) = kept.pause {
            pause_in(t, &tenant, batch, Some(&Pause { by: pause.by, reason: pause.reason }))?;
        }
        step.done = 1;
    }
    Ok(undone(operation, &step, t.now, 1, false))
}

/// Writes down what a step has brought back.
fn undone(operation: &mut Operation, step: &OperationStep, now: Instant, count: u64, over: bool) -> OperationStep {
    operation.view.undone += step.done;
    operation.view.undo_failed += step.failed;
    operation.due_at = next_due(operation.view.rate, operation.due_at, now, count);
    if over {
        operation.view.state = OperationState::Undone;
        operation.view.ended_at = Some(now);
        operation.kept = false;
    }
    OperationStep { state: operation.view.state, ..step.clone() }
}

fn forget(t: &mut Transition<'_>, operation: &mut Operation) -> OperationStep {
    let id = operation.view.id;
    let items = items_of(t, id, STEP_JOBS_MAX);
    let mut step = OperationStep::none(operation.view.state);
    for item in &items {
        step.done += u64::from(t.state.operation_items.remove(&(id, *item)).is_some());
    }
    let batches: Vec<BatchId> =
        t.state.operation_batches.keys().filter(|(of, _)| *of == id).map(|(_, batch)| *batch).collect();
    for batch in batches {
        t.state.operation_batches.remove(&(id, batch));
    }
    operation.kept = items.len() == most(STEP_JOBS_MAX);
    operation.due_at = t.now;
    step
}
