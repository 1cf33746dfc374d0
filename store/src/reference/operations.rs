//! Operations: a verb over everything that a query selects, in steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::{JobId, OperationId};
use gristmill_core::job::JobState;
use gristmill_core::operation::{
    OperationState, OperationVerb, PREVIEW_READ_MAX, STEP_JOBS_MAX, Subjects, next_due, step_jobs,
};
use gristmill_core::query::{Query, parse};

use super::ReferenceStore;
use super::control::cancel;
use super::operated;
use super::operation::{KeptJob, Operation, Place, begun};
use super::redrive::{open_next, queue_dead, refuse};
use super::retention::remove;
use super::state::{Job, most};
use super::transition::Transition;
use super::view::job_view;
use crate::error::{Result, StoreError};
use crate::operations::{Between, PREVIEW_SAMPLES, may_cancel, may_undo, no_operation};
use crate::selected::takes;
use crate::{
    DueOperation, NewOperation, OperationPreview, OperationStep, OperationView, Operations, Page, PruneNoun,
    PruneReport, Selection,
};

/// Everything that a selection selects behind a place, in the order of the walk.
fn selected(
    t: &Transition<'_>,
    tenant: &str,
    verb: OperationVerb,
    query: &Query,
    snapshot: Instant,
    place: Option<&Place>,
) -> Vec<Arc<Job>> {
    let query = query.at(snapshot);
    let taken = |job: &&Arc<Job>| job.tenant == tenant && takes(verb, &query, snapshot, &job_view(job));
    let mut jobs: Vec<Arc<Job>> = t.state.jobs.values().filter(taken).cloned().collect();
    jobs.sort_by_key(|job| where_is(job));
    jobs.retain(|job| place.is_none_or(|place| where_is(job) > *place));
    jobs
}

fn where_is(job: &Job) -> Place {
    Place::Job(job.queue.clone(), job.kind.clone(), job.id)
}

#[async_trait]
impl Operations for ReferenceStore {
    async fn preview_operation(&self, selection: &Selection) -> Result<OperationPreview> {
        selection.check()?;
        let t = Transition::begin(self);
        let snapshot = selection.snapshot.unwrap_or(t.now).min(t.now);
        let Selection { tenant, verb, query, .. } = selection;
        let all: Vec<String> = match verb.subjects() {
            Subjects::Jobs => {
                selected(&t, tenant, *verb, query, snapshot, None).iter().map(|job| job.id.to_string()).collect()
            }
            _ => operated::named(&t, tenant, *verb, query, snapshot),
        };
        let (found, samples) = (all.len().min(most(PREVIEW_READ_MAX)), all.iter().take(PREVIEW_SAMPLES).cloned());
        Ok(OperationPreview { snapshot, matches: found as u64, more: found < all.len(), samples: samples.collect() })
    }

    async fn start_operation(&self, new: &NewOperation) -> Result<OperationView> {
        new.check()?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let fresh = || begun(new, now);
        let view = t.state.operations.entry(new.id).or_insert_with(fresh).shown(now);
        t.commit()?;
        if view.tenant == new.selection.tenant { Ok(view) } else { Err(no_operation(new.id)) }
    }

    async fn operation(&self, tenant: &str, id: OperationId) -> Result<Option<OperationView>> {
        let t = Transition::begin(self);
        let found = t.state.operations.get(&id).filter(|operation| operation.view.tenant == tenant);
        Ok(found.map(|operation| operation.shown(t.now)))
    }

    async fn operations(&self, tenant: &str, page: &Page) -> Result<Vec<OperationView>> {
        let after = page.after_id()?;
        let t = Transition::begin(self);
        let newest = t.state.operations.values().rev().filter(|operation| operation.view.tenant == tenant);
        let behind = newest.filter(|operation| after.is_none_or(|after| operation.view.id.0 < after));
        Ok(behind.take(most(page.rows())).map(|operation| operation.shown(t.now)).collect())
    }

    async fn cancel_operation(&self, tenant: &str, id: OperationId) -> Result<OperationView> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let operation = operation_of(&mut t, tenant, id)?;
        if may_cancel(&operation.shown(now))? {
            operation.end(OperationState::Cancelled, now);
        }
        let view = operation.shown(now);
        t.commit()?;
        Ok(view)
    }

    async fn undo_operation(&self, tenant: &str, id: OperationId) -> Result<OperationView> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let operation = operation_of(&mut t, tenant, id)?;
        if may_undo(&operation.shown(now))? {
            operation.view.state = OperationState::Undoing;
            operation.view.ended_at = None;
            operation.view.undo_until = None;
            operation.due_at = now;
        }
        let view = operation.shown(now);
        t.commit()?;
        Ok(view)
    }

    async fn due_operations(&self, limit: u32) -> Result<Vec<DueOperation>> {
        let t = Transition::begin(self);
        let mut due: Vec<&Operation> = t.state.operations.values().filter(|one| one.is_due(t.now)).collect();
        due.sort_by_key(|operation| (operation.due_at, operation.view.id));
        let shown = |one: &&Operation| DueOperation { view: one.shown(t.now), ordered: one.ordered.clone() };
        Ok(due.iter().take(most(limit)).map(shown).collect())
    }

    async fn step_operation(&self, id: OperationId, keys: Duration) -> Result<Option<OperationStep>> {
        let mut t = Transition::begin(self);
        let Some(mut operation) = t.state.operations.get(&id).cloned().filter(|one| one.is_due(t.now)) else {
            return Ok(None);
        };
        if operation.view.verb.subjects() != Subjects::Jobs {
            drop(t);
            return operated::step(self, &operation).map(Some);
        }
        let mut step = match operation.view.state {
            OperationState::Running => run(&mut t, &mut operation)?,
            OperationState::Undoing => bring_back(&mut t, &mut operation),
            OperationState::Finished | OperationState::Cancelled | OperationState::Undone => {
                forget(&mut t, &mut operation, keys)
            }
        };
        t.state.operations.insert(id, operation);
        step.dispatched = t.commit()?.dispatched;
        Ok(Some(step))
    }

    async fn discarded_by(&self, id: OperationId, limit: u32) -> Result<Vec<JobId>> {
        let t = Transition::begin(self);
        let Some(operation) = t.state.operations.get(&id) else { return Ok(Vec::new()) };
        let over = operation.is_due(t.now) && operation.view.ended_at.is_some();
        if operation.view.verb != OperationVerb::Discard || !over {
            return Ok(Vec::new());
        }
        let kept = t.state.operation_jobs.iter().filter(|((of, _), _)| *of == id).take(most(limit));
        Ok(kept.filter(|((_, job), kept)| is_as_left(&t, *job, kept)).map(|((_, job), _)| *job).collect())
    }

    async fn prune_operations(&self, before: Instant, limit: u32) -> Result<u64> {
        let mut t = Transition::begin(self);
        let over = |one: &&Operation| !one.kept && one.view.ended_at.is_some_and(|at| at < before);
        let mut old: Vec<&Operation> = t.state.operations.values().filter(over).collect();
        old.sort_by_key(|operation| operation.view.ended_at);
        let old: BTreeSet<OperationId> = old.iter().take(most(limit)).map(|operation| operation.view.id).collect();
        t.state.operations.retain(|id, _| !old.contains(id));
        t.commit()?;
        Ok(old.len() as u64)
    }
}

fn operation_of<'t>(t: &'t mut Transition<'_>, tenant: &str, id: OperationId) -> Result<&'t mut Operation> {
    let found = t.state.operations.get_mut(&id).filter(|operation| operation.view.tenant == tenant);
    found.ok_or_else(|| no_operation(id))
}

fn run(t: &mut Transition<'_>, operation: &mut Operation) -> Result<OperationStep> {
    let view = operation.view.clone();
    let query = parse(view.verb.list(), &view.query).map_err(|fault| StoreError::Database(fault.to_string()))?;
    let limit = most(step_jobs(view.rate));
    let mut jobs = selected(t, &view.tenant, view.verb, &query, view.snapshot, operation.place.as_ref());
    jobs.truncate(limit);
    let mut step = OperationStep::none(view.state);
    match view.verb {
        OperationVerb::Cancel => {
            remember(t, view.id, &jobs);
            step.done = cancel(t, &jobs, &view.reason).affected;
        }
        OperationVerb::Discard => {
            remember(t, view.id, &jobs);
            let now = t.now;
            for job in &jobs {
                t.move_job(job.id, |job| {
                    job.state = JobState::Cancelled;
                    job.finished_at = Some(now);
                });
            }
            step.done = jobs.len() as u64;
        }
        _ => {
            for job in &jobs {
                match redrive(t, job) {
                    Ok(()) => step.done += 1,
                    Err(StoreError::Conflict(why)) => {
                        step.failed += 1;
                        operation.view.error = Some(why);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    operation.place = jobs.last().map(|job| where_is(job)).or(operation.place.take());
    operation.view.done += step.done;
    operation.view.failed += step.failed;
    operation.due_at = next_due(view.rate, operation.due_at, t.now, step.done + step.failed);
    if jobs.len() < limit {
        operation.end(OperationState::Finished, t.now);
    }
    step.state = operation.view.state;
    Ok(step)
}

/// Remembers jobs as they are.
fn remember(t: &mut Transition<'_>, operation: OperationId, jobs: &[Arc<Job>]) {
    for job in jobs {
        let kept = KeptJob {
            was: job.state,
            run_at: job.run_at,
            finished_at: job.finished_at,
            error: job.error.clone(),
            at: t.now,
        };
        t.state.operation_jobs.insert((operation, job.id), kept);
    }
}

/// Redrives one dead letter; a refusal changes nothing.
fn redrive(t: &mut Transition<'_>, dead: &Arc<Job>) -> Result<()> {
    let batch = dead.batch.and_then(|id| t.state.batches.get(&id));
    if let Some(batch) = batch.filter(|batch| batch.deleting && (dead.seq.is_some() || dead.kind == "aggregate")) {
        return Err(crate::retention::being_deleted(batch.id));
    }
    let found = std::slice::from_ref(dead);
    let ended: BTreeSet<_> = refuse(t, found, dead)?.into_iter().collect();
    open_next(t, &ended)?;
    queue_dead(t, dead);
    Ok(())
}

/// The jobs that an operation has changed, of which so many are looked at next.
fn next(t: &Transition<'_>, operation: OperationId, limit: u32) -> Vec<(JobId, KeptJob)> {
    let of = t.state.operation_jobs.iter().filter(|((of, _), _)| *of == operation).take(most(limit));
    of.map(|((_, job), kept)| (*job, kept.clone())).collect()
}

/// Whether a job has still the end that the operation gave it.
fn is_as_left(t: &Transition<'_>, job: JobId, kept: &KeptJob) -> bool {
    let left = |job: &Arc<Job>| job.state == JobState::Cancelled && job.finished_at == Some(kept.at);
    t.state.jobs.get(&job).is_some_and(left)
}

fn between(t: &Transition<'_>, id: JobId, kept: &KeptJob) -> Between {
    let Some(job) = t.state.jobs.get(&id).filter(|_| is_as_left(t, id, kept)) else {
        return Between { changed: true, ..Between::default() };
    };
    let again = Job { state: kept.was, finished_at: kept.finished_at, ..(**job).clone() };
    let by_state = job.unique.as_ref().is_some_and(|unique| unique.hold.period().is_none());
    let key = again.holds(t.now).filter(|_| by_state);
    let held = |other: &&Arc<Job>| other.id != id && other.tenant == job.tenant && other.holds(t.now) == key;
    let batch = job.batch.and_then(|batch| t.state.batches.get(&batch));
    let over = batch.is_some_and(|batch| {
        let takes_it = matches!(batch.state, BatchState::Open | BatchState::Sealed)
            && !batch.halting
            && batch.generation == job.generation;
        batch.deleting || job.seq.is_some() && !takes_it
    });
    Between {
        changed: false,
        key_is_held: key.is_some() && t.state.jobs.values().any(|other| held(&other)),
        batch_is_over: over,
    }
}

fn bring_back(t: &mut Transition<'_>, operation: &mut Operation) -> OperationStep {
    let (id, limit) = (operation.view.id, step_jobs(operation.view.rate));
    let jobs = next(t, id, limit);
    let mut step = OperationStep::none(OperationState::Undoing);
    for (job, kept) in &jobs {
        t.state.operation_jobs.remove(&(id, *job));
        if let Some(why) = between(t, *job, kept).refusal(*job) {
            step.failed += 1;
            operation.view.error = Some(why);
            continue;
        }
        step.done += 1;
        let Some(before) = t.state.jobs.get(job).cloned() else { continue };
        t.move_job(*job, |job| {
            job.state = kept.was;
            job.run_at = kept.run_at;
            job.finished_at = kept.finished_at;
            job.error = if kept.was == JobState::Dead { job.error.take() } else { kept.error.clone() };
        });
        if let Some(batch) = before.chunk_of() {
            let delta = t.delta(batch);
            delta.remaining += 1;
            delta.cancelled -= before.weight();
        }
    }
    operation.view.undone += step.done;
    operation.view.undo_failed += step.failed;
    operation.due_at = next_due(operation.view.rate, operation.due_at, t.now, jobs.len() as u64);
    if jobs.len() < most(limit) {
        operation.view.state = OperationState::Undone;
        operation.view.ended_at = Some(t.now);
        operation.kept = false;
    }
    OperationStep { state: operation.view.state, ..step }
}

fn forget(t: &mut Transition<'_>, operation: &mut Operation, keys: Duration) -> OperationStep {
    let jobs = next(t, operation.view.id, STEP_JOBS_MAX);
    let mut step = OperationStep::none(operation.view.state);
    for (id, kept) in &jobs {
        if operation.view.verb == OperationVerb::Discard
            && is_as_left(t, *id, kept)
            && let Some(job) = t.state.jobs.get(id).cloned()
        {
            remove(t, &job, PruneNoun::DeadLetters, keys, &mut PruneReport::default());
            step.done += 1;
        }
        t.state.operation_jobs.remove(&(operation.view.id, *id));
    }
    operation.kept = jobs.len() == most(STEP_JOBS_MAX);
    operation.due_at = t.now;
    step
}
