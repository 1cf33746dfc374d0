//! Create and seal: jobs and batches are created.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob};
use serde_json::Value;

use super::state::most;
use super::state::{Batch, Job, Spools, Tally, ago, kept, kept_json, later};
use super::transition::{Transition, report_batch};
use super::{ReferenceStore, insert};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{Batches, CreatedBatch, Dispatched, EnqueueReport, Jobs, NewBatch, NewChunk};

#[async_trait]
impl Jobs for ReferenceStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        check::jobs(jobs)?;
        let mut t = Transition::begin(self);
        let enqueued = insert::new_jobs(&mut t, jobs)?;
        check::not_refused(jobs, &enqueued)?;
        Ok(EnqueueReport { jobs: enqueued, dispatched: t.commit()?.dispatched })
    }
}

#[async_trait]
impl Batches for ReferenceStore {
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        let mut t = Transition::begin(self);
        let created = insert_batch(&mut t, batch)?;
        if created.created {
            t.commit()?;
        }
        Ok(created)
    }

    async fn add_chunks(&self, id: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        check::chunks(chunks)?;
        let mut t = Transition::begin(self);
        let now = t.now;
        let batch = t.state.batch_mut(id).ok_or_else(|| no_batch(id))?;
        if batch.state != BatchState::Open {
            let what = format!("batch {id} is {}; chunks can be added while it is open only", batch.state);
            return Err(StoreError::Conflict(what));
        }
        batch.planned_at = now;
        insert_chunks(&mut t, id, chunks)?;
        Ok(t.commit()?.dispatched)
    }

    async fn seal(&self, id: BatchId) -> Result<Dispatched> {
        let mut t = Transition::begin(self);
        let now = t.now;
        let batch = t.state.batch_mut(id).ok_or_else(|| no_batch(id))?;
        match batch.state {
            BatchState::Open => {
                batch.state = BatchState::Sealed;
                batch.planned = true;
                batch.planned_at = now;
                // An empty change is enough: the fan-in fires if nothing remains.
                t.delta(id);
                Ok(t.commit()?.dispatched)
            }
            BatchState::Cancelled => Err(StoreError::Conflict(format!("batch {id} is cancelled already"))),
            BatchState::Sealed | BatchState::Aggregating | BatchState::Complete | BatchState::Halted => {
                Ok(Dispatched::default())
            }
        }
    }

    async fn discard_batch(&self, id: BatchId) -> Result<()> {
        let mut t = Transition::begin(self);
        let Some(batch) = t.state.batches.get(&id) else { return Ok(()) };
        if batch.state != BatchState::Open {
            let what = format!("batch {id} is {}; only an open one can be taken back: cancel it instead", batch.state);
            return Err(StoreError::Conflict(what));
        }
        let jobs: Vec<Arc<Job>> = t.state.jobs.values().filter(|job| job.batch == Some(id)).cloned().collect();
        if jobs.iter().any(|job| job.started_at.is_some()) {
            let what = format!("a chunk of batch {id} has been claimed already; cancel the batch instead");
            return Err(StoreError::Conflict(what));
        }
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        super::poison::remember_discarded(&mut t.state, id, &ids, t.now);
        for job in ids {
            t.state.remove_job(job);
        }
        t.state.batches.remove(&id);
        t.state.results.retain(|(batch, _), _| *batch != id);
        t.state.quarantine.retain(|_, item| item.view.batch != id);
        t.commit()?;
        Ok(())
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        let t = Transition::begin(self);
        let before = ago(t.now, older_than);
        let open =
            t.state.batches.values().filter(|batch| batch.state == BatchState::Open && batch.planned_at <= before);
        Ok(open.map(|batch| (batch.tenant.clone(), batch.id)).take(most(limit)).collect())
    }
}

/// Creates a batch whose keys are all free.
pub(super) fn insert_batch(t: &mut Transition<'_>, batch: &NewBatch) -> Result<CreatedBatch> {
    check::tenant(&batch.tenant)?;
    check::name("batch name", &batch.name)?;
    batch.idempotency_key.iter().try_for_each(|key| check::name("idempotency key", key))?;
    if t.state.batches.contains_key(&batch.id) {
        return Ok(CreatedBatch { id: batch.id, created: false });
    }
    let same_key = |other: &&Arc<Batch>| {
        batch.idempotency_key.is_some()
            && other.tenant == batch.tenant
            && other.idempotency_key == batch.idempotency_key
    };
    if let Some(first) = t.state.batches.values().find(same_key) {
        return Ok(CreatedBatch { id: first.id, created: false });
    }
    if let Some(id) = t.state.kept_key(&batch.tenant, "batch", batch.idempotency_key.as_deref(), t.now) {
        return Ok(CreatedBatch { id: BatchId(id), created: false });
    }
    let made = Batch {
        id: batch.id,
        tenant: batch.tenant.clone(),
        name: batch.name.clone(),
        state: BatchState::Open,
        pause: None,
        halting: false,
        generation: 0,
        definition: Arc::new(kept(&batch.definition)?),
        fingerprint: Arc::new(kept(&batch.fingerprint)?),
        params: kept_json(&batch.params)?,
        idempotency_key: batch.idempotency_key.clone(),
        trace: batch.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)),
        tally: Tally::default(),
        result: None,
        reason: None,
        aggregate_error: None,
        created_at: t.now,
        planned_at: t.now,
        finished_at: None,
        failure_budget: batch.definition.failure_budget,
        planned: false,
        told_failure: None,
        late_at: batch.definition.late_after.map(|span| later(t.now, span.0)),
        spools: batch.fingerprint.has_copies().then_some(Spools::Kept),
        deleting: false,
    };
    t.state.batches.insert(batch.id, Arc::new(made));
    report_batch(t, batch.id, OwnType::BatchCreated);
    Ok(CreatedBatch { id: batch.id, created: true })
}

/// Creates chunks whose number is free, and notes by how much the batch grows. The planner of a batch that halts
/// meanwhile need not know: late chunks are cancelled at once.
pub(super) fn insert_chunks(t: &mut Transition<'_>, id: BatchId, chunks: &[NewChunk]) -> Result<()> {
    let batch = Arc::clone(t.state.batches.get(&id).ok_or_else(|| no_batch(id))?);
    let cancelled = batch.halting && batch.state == BatchState::Open;
    t.delta(id);
    for chunk in chunks {
        let mut job = chunk_job(t, &batch, chunk)?;
        let items = job.weight();
        if cancelled {
            job.state = JobState::Cancelled;
            job.queued_at = None;
            job.finished_at = Some(t.now);
        }
        if insert::job(t, job)?.is_some() {
            continue;
        }
        let delta = t.delta(id);
        delta.chunks += 1;
        delta.input += items;
        if cancelled {
            delta.cancelled += items;
        } else {
            delta.remaining += 1;
        }
    }
    Ok(())
}

/// The job of a chunk.
pub(super) fn chunk_job(t: &Transition<'_>, batch: &Batch, chunk: &NewChunk) -> Result<Job> {
    let definition = &batch.definition;
    let asked = NewJob {
        tenant: batch.tenant.clone(),
        queue: definition.queue.clone(),
        priority: definition.priority,
        key: definition.key.clone(),
        max_attempts: definition.max_attempts.max(1),
        timeout: definition.timeout.0,
        retry: definition.retry.clone(),
        trace: batch.trace.clone(),
        batch: Some(batch.id),
        ..NewJob::new(chunk.id, "chunk", Value::Null)
    };
    let payload = serde_json::to_value(&chunk.payload).map_err(|error| StoreError::Invalid(error.to_string()))?;
    // The payload of a chunk is the store's own: its size is limited where it is made.
    Ok(Job { payload, seq: Some(chunk.seq), items: chunk.payload.items, ..insert::job_of(t, &asked)? })
}

/// The error for a batch that does not exist.
pub(super) fn no_batch(batch: BatchId) -> StoreError {
    StoreError::NotFound(format!("there is no batch {batch}; `gristmill batch list` shows those that are there"))
}
