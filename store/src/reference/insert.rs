//! New jobs, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::history::Passed;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob, RunAt};
use gristmill_core::unique::OnConflict;

use super::state::{Job, kept_json, later};
use super::transition::Transition;
use crate::check;
use crate::error::{Result, StoreError};
use crate::{EnqueueOutcome, Enqueued, Purpose};

/// The longest timeout that is stored: a hundred years, in milliseconds.
const TIMEOUT_MILLIS_MAX: u128 = 100 * 366 * 86_400_000;

/// A requested job, as it will be.
pub(super) fn job_of(t: &Transition<'_>, asked: &NewJob) -> Result<Job> {
    check::payload(&asked.payload)?;
    let run_at = due(t, asked).filter(|run_at| *run_at > t.now);
    let state = if run_at.is_some() { JobState::Scheduled } else { JobState::Queued };
    let generation = asked.batch.and_then(|id| t.state.batches.get(&id)).map_or(0, |batch| batch.generation);
    Ok(Job {
        id: asked.id,
        tenant: asked.tenant.clone(),
        queue: asked.queue.clone(),
        priority: asked.priority,
        key: asked.key.clone(),
        aged_at: None,
        kind: asked.kind.clone(),
        version: asked.version.max(1),
        misrouted: false,
        state,
        attempt: 0,
        max_attempts: asked.max_attempts,
        granted: asked.max_attempts,
        snoozes: 0,
        max_snoozes: asked.max_snoozes,
        timeout: timeout(asked.timeout),
        retry: asked.retry.clone(),
        payload: kept_json(&asked.payload)?,
        batch: asked.batch,
        seq: None,
        items: 0,
        generation,
        worker: None,
        idempotency_key: asked.idempotency_key.clone(),
        unique: asked.unique.clone(),
        trace: asked.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
        output: None,
        error: None,
        created_at: t.now,
        run_at,
        queued_at: (state == JobState::Queued).then_some(t.now),
        started_at: None,
        deadline: None,
        finished_at: None,
        half_of: None,
        attempts: Vec::new(),
    })
}

/// A timeout as it is stored: whole milliseconds.
pub(super) fn timeout(asked: Duration) -> Duration {
    Duration::from_millis(u64::try_from(asked.as_millis().clamp(1, TIMEOUT_MILLIS_MAX)).unwrap_or(u64::MAX))
}

/// Creates a job, or returns the existing one in its place.
pub(super) fn job(t: &mut Transition<'_>, job: Job) -> Result<Option<JobId>> {
    if let Some(holder) = first(t, &job).or_else(|| holder(t, &job)) {
        return Ok(Some(holder));
    }
    if job.batch.is_some_and(|batch| !t.state.batches.contains_key(&batch)) {
        return Err(StoreError::NotFound("the batch that a job names does not exist; create it first".to_owned()));
    }
    t.state.queues.insert((job.tenant.clone(), job.queue.clone()));
    t.arrived(&job);
    t.passed(&job, Passed::Enqueued, None, None);
    t.state.jobs.insert(job.id, Arc::new(job));
    Ok(None)
}

/// When a job is due. A job to be debounced waits for others from the start.
fn due(t: &Transition<'_>, asked: &NewJob) -> Option<Instant> {
    match (asked.run, asked.unique.as_ref().map(|unique| unique.conflict)) {
        (RunAt::Now, Some(OnConflict::Debounce { wait, .. })) => Some(later(t.now, wait)),
        (RunAt::Now, _) => None,
        (RunAt::In(wait), _) => Some(later(t.now, wait)),
        (RunAt::At(at), _) => Some(at),
    }
}

/// Creates the requested jobs, and returns what is in each one's place.
pub(super) fn new_jobs(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<Vec<Enqueued>> {
    let mut places: BTreeMap<JobId, JobId> = BTreeMap::new();
    let mut enqueued = Vec::with_capacity(asked.len());
    for one in asked {
        // The same id twice in one group is one job: the first one counts, whatever the others say.
        if let Some(id) = places.get(&one.id) {
            enqueued.push(Enqueued::by(*id, EnqueueOutcome::Existing));
            continue;
        }
        let made = job_of(t, one)?;
        let unique = if first(t, &made).is_none() { holder(t, &made) } else { None };
        let place = match unique {
            Some(holder) => take_over(t, one, &made, holder)?,
            None => match job(t, made)? {
                Some(id) => Enqueued::by(id, EnqueueOutcome::Existing),
                None => Enqueued::created(one.id),
            },
        };
        places.insert(one.id, place.id);
        enqueued.push(place);
    }
    Ok(enqueued)
}

/// Gives another job's request to a holder of a unique key that has not begun.
fn take_over(t: &mut Transition<'_>, asked: &NewJob, made: &Job, id: JobId) -> Result<Enqueued> {
    let Some(holder) = t.state.jobs.get(&id).map(Arc::clone) else { return Ok(Enqueued::created(id)) };
    let waits = holder.started_at.is_none() && matches!(holder.state, JobState::Scheduled | JobState::Queued);
    let conflict = asked.unique.as_ref().map_or(OnConflict::Keep, |unique| unique.conflict);
    let run_at = match conflict {
        OnConflict::Replace if waits => due(t, asked),
        OnConflict::Debounce { wait, cap } if waits => Some(later(t.now, wait).min(later(holder.created_at, cap))),
        OnConflict::Keep | OnConflict::Refuse | OnConflict::Replace | OnConflict::Debounce { .. } => {
            return Ok(Enqueued::by(id, EnqueueOutcome::Existing));
        }
    };
    check::same_work(asked, id, &holder.kind, &holder.queue)?;
    let run_at = run_at.filter(|run_at| *run_at > t.now);
    let all = matches!(conflict, OnConflict::Replace);
    let mut next = Job::clone(&holder);
    next.payload = made.payload.clone();
    next.version = made.version;
    next.trace.clone_from(&made.trace);
    if all {
        next.priority = made.priority;
        next.max_attempts = made.max_attempts;
        next.granted = made.granted;
        next.timeout = made.timeout;
        next.retry = made.retry.clone();
    }
    next.run_at = run_at;
    next.state = if run_at.is_some() { JobState::Scheduled } else { JobState::Queued };
    next.queued_at = match (holder.state, next.state) {
        (JobState::Queued, JobState::Queued) => holder.queued_at,
        (_, JobState::Queued) => Some(t.now),
        _ => None,
    };
    if next.state != holder.state {
        t.arrived(&next);
    } else if next.state == JobState::Queued && next.priority != holder.priority {
        t.ready(Purpose::Dispatch, &next);
    }
    t.state.jobs.insert(id, Arc::new(next));
    Ok(Enqueued::by(id, if all { EnqueueOutcome::Replaced } else { EnqueueOutcome::Debounced }))
}

/// The job that permanently takes the place of another: the same id first, since the same call has been made before;
/// then the idempotency key, which may have outlived its job, then the number among the chunks.
fn first(t: &Transition<'_>, job: &Job) -> Option<JobId> {
    let state = &t.state;
    if state.jobs.contains_key(&job.id) {
        return Some(job.id);
    }
    let mut jobs = state.jobs.values();
    let idempotent = |other: &&Arc<Job>| {
        job.idempotency_key.is_some() && other.tenant == job.tenant && other.idempotency_key == job.idempotency_key
    };
    let number = |other: &&Arc<Job>| job.chunk_of().is_some() && other.batch == job.batch && other.seq == job.seq;
    let there = state.jobs.values().find(idempotent).map(|other| other.id);
    let gone = || state.kept_key(&job.tenant, "job", job.idempotency_key.as_deref(), t.now).map(JobId);
    there.or_else(gone).or_else(|| jobs.find(number).map(|other| other.id))
}

/// The job that currently holds the unique key of another.
fn holder(t: &Transition<'_>, job: &Job) -> Option<JobId> {
    let key = job.unique.as_ref().map(|unique| unique.key.as_str())?;
    let holds = |other: &&Arc<Job>| other.tenant == job.tenant && other.holds(t.now) == Some(key);
    t.state.jobs.values().find(holds).map(|other| other.id)
}
