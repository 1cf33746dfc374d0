//! New jobs, one after the other.

use std::sync::Arc;
use std::time::Duration;

use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, NewJob, RunAt};

use super::state::{Job, State, kept, later};
use super::transition::Transition;
use crate::Enqueued;
use crate::check;
use crate::error::{Result, StoreError};

/// The longest timeout that is kept: a hundred years, in milliseconds.
const TIMEOUT_MILLIS_MAX: u128 = 100 * 366 * 86_400_000;

/// A job that somebody asks for, as it will be.
pub(super) fn job_of(t: &Transition<'_>, asked: &NewJob) -> Result<Job> {
    check::payload(&asked.payload)?;
    let run_at = match asked.run {
        RunAt::Now => None,
        RunAt::In(wait) => Some(later(t.now, wait)),
        RunAt::At(at) => Some(at),
    }
    .filter(|run_at| *run_at > t.now);
    let state = if run_at.is_some() { JobState::Scheduled } else { JobState::Queued };
    let generation = asked.batch.and_then(|id| t.state.batches.get(&id)).map_or(0, |batch| batch.generation);
    Ok(Job {
        id: asked.id,
        tenant: asked.tenant.clone(),
        queue: asked.queue.clone(),
        lane: asked.lane,
        kind: asked.kind.clone(),
        state,
        attempt: 0,
        max_attempts: asked.max_attempts,
        granted: asked.max_attempts,
        snoozes: 0,
        max_snoozes: asked.max_snoozes,
        timeout: timeout(asked.timeout),
        retry: asked.retry.clone(),
        payload: kept(&asked.payload)?,
        batch: asked.batch,
        seq: None,
        items: 0,
        generation,
        worker: None,
        idempotency_key: asked.idempotency_key.clone(),
        unique_key: asked.unique_key.clone(),
        trace: asked.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
        output: None,
        error: None,
        created_at: t.now,
        run_at,
        queued_at: (state == JobState::Queued).then_some(t.now),
        started_at: None,
        deadline: None,
        finished_at: None,
        attempts: Vec::new(),
    })
}

/// A timeout as it is kept: whole milliseconds.
pub(super) fn timeout(asked: Duration) -> Duration {
    Duration::from_millis(u64::try_from(asked.as_millis().clamp(1, TIMEOUT_MILLIS_MAX)).unwrap_or(u64::MAX))
}

/// Makes a job, or gives the one that stands in its way.
pub(super) fn job(t: &mut Transition<'_>, job: Job) -> Result<Option<JobId>> {
    if let Some(holder) = holder(&t.state, &job) {
        return Ok(Some(holder));
    }
    if job.batch.is_some_and(|batch| !t.state.batches.contains_key(&batch)) {
        return Err(StoreError::NotFound("the batch that a job names does not exist; create it first".to_owned()));
    }
    t.state.queues.insert((job.tenant.clone(), job.queue.clone()));
    t.arrived(&job);
    t.state.jobs.insert(job.id, Arc::new(job));
    Ok(None)
}

/// Makes what was asked for, and says what stands in each one's place.
pub(super) fn new_jobs(t: &mut Transition<'_>, asked: &[NewJob]) -> Result<Vec<Enqueued>> {
    let mut enqueued = Vec::with_capacity(asked.len());
    for one in asked {
        let made = job_of(t, one)?;
        let holder = job(t, made)?;
        enqueued.push(Enqueued { id: holder.unwrap_or(one.id), created: holder.is_none() });
    }
    Ok(enqueued)
}

/// The job that stands in the way of another: the same id first, for the same call has been made before; then the
/// key that lasts for ever, then the one that lasts until its holder is final, then the number among the chunks.
fn holder(state: &State, job: &Job) -> Option<JobId> {
    if state.jobs.contains_key(&job.id) {
        return Some(job.id);
    }
    let of_tenant = |other: &&Arc<Job>| other.tenant == job.tenant;
    let same = |mine: &Option<String>, theirs: &Option<String>| mine.is_some() && mine == theirs;
    let idempotent = || {
        job.idempotency_key.as_ref()?;
        state.jobs.values().filter(of_tenant).find(|other| same(&job.idempotency_key, &other.idempotency_key))
    };
    let unique = || {
        job.unique_key.as_ref()?;
        let mut others = state.jobs.values().filter(of_tenant);
        others.find(|other| same(&job.unique_key, &other.unique_key) && !other.state.is_final())
    };
    let number = || {
        let batch = job.chunk_of()?;
        state.jobs.values().find(|other| other.batch == Some(batch) && other.seq == job.seq)
    };
    idempotent().or_else(unique).or_else(number).map(|other| other.id)
}
