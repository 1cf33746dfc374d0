//! Create and seal: jobs, batches and chunks are created; a batch is sealed or discarded.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob, RunAt};
use uuid::Uuid;

use super::connect::{alone, look, transact};
use super::fault::{Fault, Outcome};
use super::rows::{JobRows, Place};
use super::values::{big, from_json, plain, seconds, state_of};
use super::work::Work;
use super::{PostgresStore, fan_in, unique, view};
use crate::check;
use crate::error::{Result, StoreError};
use crate::row;
use crate::sql;
use crate::sql::{events, quota};
use crate::{
    Batches, CreatedBatch, Dispatched, EnqueueOutcome, EnqueueReport, Enqueued, GROUP_JOBS_MAX, Jobs, NewBatch,
    NewChunk,
};

const CREATE_BATCH: &str = "
INSERT INTO batch (id, tenant, name, definition, stamp, params, tolerate, idempotency_key, trace,
                   created_at, planned_at, late_at, spool, spooled)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now(), now(), now() + make_interval(secs => $10), $11, $12)
ON CONFLICT DO NOTHING
RETURNING id";

const KNOWN_BATCH: &str = "
SELECT id FROM batch WHERE id = $1 OR (tenant = $2 AND idempotency_key = $3) ORDER BY id = $1 DESC LIMIT 1";

/// When its idempotency key has outlived another batch; see `JobRows::take_back`.
const TAKE_BACK: &str = "
DELETE FROM batch b USING idempotency i
WHERE b.id = $1 AND i.tenant = b.tenant AND i.scope = 'batch' AND i.key = b.idempotency_key AND i.until > now()
RETURNING i.id";

const PLAN: &str = "SELECT tenant, state, halting, definition, generation, trace FROM batch WHERE id = $1";

const ADD_CHUNKS: &str = "
UPDATE batch SET chunks = chunks + $2, input = input + $3, planned_at = now(),
    remaining = remaining + CASE WHEN $4 THEN 0 ELSE $2 END, cancelled = cancelled + CASE WHEN $4 THEN $3 ELSE 0 END
WHERE id = $1 AND state = 'open' AND halting = $4";

const SEAL: &str = "
UPDATE batch SET state = CASE WHEN remaining = 0 THEN 'aggregating' ELSE 'sealed' END, planned_at = now(), sealed_at = now()
WHERE id = $1 AND state = 'open'
RETURNING state";

const JOBS_TO_DISCARD: &str = "
SELECT tenant, queue, state, started_at IS NOT NULL, seq IS NOT NULL FROM job WHERE batch_id = $1 ORDER BY id FOR UPDATE";

#[async_trait]
impl Jobs for PostgresStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        // A key may be held, and what follows then is decided in the same transaction; so is what a broker is to carry.
        // So is what has to fit into a quota.
        if !self.with_outbox()
            && !self.is_metered()
            && jobs.iter().all(|job| job.idempotency_key.is_none() && job.unique.is_none())
        {
            return alone!(self, enqueue_alone, jobs).await;
        }
        transact!(self, enqueue, jobs).await
    }
}

#[async_trait]
impl Batches for PostgresStore {
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        transact!(self, create_batch, batch).await
    }

    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        transact!(self, add_chunks, (batch, chunks)).await
    }

    async fn seal(&self, batch: BatchId) -> Result<Dispatched> {
        transact!(self, seal, batch).await
    }

    async fn discard_batch(&self, batch: BatchId) -> Result<()> {
        // It deletes all chunks of a plan that was cut short, possibly a million.
        self.attempt("discard_batch", &batch, false, |work, batch| Box::pin(discard_batch(work, batch))).await
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        look!(self, view::stalled_plans, older_than, limit)
    }
}

/// Creates jobs.
pub(super) async fn enqueue(work: &mut Work<'_>, jobs: &[NewJob]) -> Outcome<EnqueueReport> {
    check::jobs(jobs)?;
    if jobs.is_empty() {
        return Ok(EnqueueReport::default());
    }
    let enqueued = insert(work, jobs).await?;
    check::not_refused(jobs, &enqueued)?;
    let report = EnqueueReport { jobs: enqueued, ..EnqueueReport::default() };
    work.tell(&report);
    Ok(EnqueueReport { dispatched: work.close().await?, ..report })
}

/// Creates jobs without any key in one statement. One that is not inserted exists already, from the same call.
async fn enqueue_alone(work: &mut Work<'_>, jobs: &&[NewJob]) -> Outcome<EnqueueReport> {
    check::jobs(jobs)?;
    if jobs.is_empty() {
        return Ok(EnqueueReport::default());
    }
    let first: Vec<&NewJob> = check::first_of_each_id(jobs).collect();
    let mut inserted = JobRows::of(first)?.insert_alone(work).await?;
    let place = |job: &NewJob| match inserted.remove(&job.id.0) {
        Some(_) => Enqueued::created(job.id),
        None => Enqueued::by(job.id, EnqueueOutcome::Existing),
    };
    let jobs = jobs.iter().map(place).collect();
    let report = EnqueueReport { jobs, ..EnqueueReport::default() };
    work.tell(&report);
    Ok(EnqueueReport { dispatched: work.close().await?, ..report })
}

/// Inserts jobs, or finds the existing ones in their place. Any number, in groups.
pub(super) async fn insert(work: &mut Work<'_>, jobs: &[NewJob]) -> Outcome<Vec<Enqueued>> {
    let first: Vec<NewJob> = check::first_of_each_id(jobs).cloned().collect();
    let mut places = HashMap::with_capacity(first.len());
    for group in first.chunks(GROUP_JOBS_MAX) {
        let enqueued = unique::insert_group(work, group).await?;
        places.extend(group.iter().map(|job| job.id).zip(enqueued));
    }
    let mut mentioned = HashSet::with_capacity(first.len());
    let mut place = |job: &NewJob| {
        let place = places.get(&job.id)?;
        Some(if mentioned.insert(job.id) { *place } else { Enqueued::by(place.id, EnqueueOutcome::Existing) })
    };
    Ok(jobs.iter().filter_map(&mut place).collect())
}

/// Creates a batch, or finds the existing one in its place.
pub(super) async fn create_batch(work: &mut Work<'_>, batch: &NewBatch) -> Outcome<CreatedBatch> {
    check::tenant(&batch.tenant)?;
    check::name("batch name", &batch.name)?;
    batch.idempotency_key.iter().try_for_each(|key| check::name("idempotency key", key))?;
    let created: Option<Uuid> = sqlx::query_scalar(CREATE_BATCH)
        .bind(batch.id.0)
        .bind(plain(&batch.tenant))
        .bind(plain(&batch.name))
        .bind(check::json(&batch.definition)?)
        .bind(check::json(&batch.fingerprint)?)
        .bind(check::json(&batch.params)?)
        .bind(batch.definition.failure_budget.to_string())
        .bind(batch.idempotency_key.as_deref().map(plain))
        .bind(batch.trace.as_deref().map(plain))
        .bind(batch.definition.late_after.map(|span| seconds(span.0)))
        .bind(batch.fingerprint.has_copies().then_some("kept"))
        .bind(quota::spooled(batch))
        .fetch_optional(&mut *work.conn)
        .await?;
    if let Some(id) = created {
        let kept: Option<Uuid> = match &batch.idempotency_key {
            Some(_) => sqlx::query_scalar(TAKE_BACK).bind(id).fetch_optional(&mut *work.conn).await?,
            None => None,
        };
        let created = kept.is_none();
        if created {
            work.tell(batch);
            if work.is_metered() {
                quota::hold_batch(work, batch).await?;
            }
            events::own::batch(work, BatchId(id), OwnType::BatchCreated).await?;
        }
        return Ok(CreatedBatch { id: BatchId(kept.unwrap_or(id)), created });
    }
    let known: Option<Uuid> = sqlx::query_scalar(KNOWN_BATCH)
        .bind(batch.id.0)
        .bind(plain(&batch.tenant))
        .bind(batch.idempotency_key.as_deref().map(plain))
        .fetch_optional(&mut *work.conn)
        .await?;
    // It may have been deleted in between.
    Ok(CreatedBatch { id: BatchId(known.ok_or(Fault::Changed)?), created: false })
}

row! {
    /// The parts of a batch from which its chunks and its aggregate are made.
    pub(super) struct PlanRow {
        pub(super) tenant: String,
        pub(super) state: String,
        pub(super) halting: bool,
        pub(super) definition: String,
        pub(super) generation: i32,
        pub(super) trace: Option<String>,
    }
}

impl PlanRow {
    /// The plan of a batch.
    pub(super) async fn read(work: &mut Work<'_>, batch: BatchId) -> Outcome<Self> {
        let row = sqlx::query_as(PLAN).bind(batch.0).fetch_optional(&mut *work.conn).await?;
        Ok(row.ok_or_else(|| no_batch(batch))?)
    }

    /// A job of the batch, with the definition's queue, priority, attempts and waits.
    pub(super) fn job(&self, id: JobId, kind: &str, batch: BatchId, definition: &BatchDefinition) -> NewJob {
        NewJob {
            tenant: self.tenant.clone(),
            queue: definition.queue.clone(),
            priority: definition.priority,
            key: definition.key.clone(),
            run: RunAt::Now,
            max_attempts: definition.max_attempts.max(1),
            timeout: definition.timeout.0,
            retry: definition.retry.clone(),
            trace: self.trace.clone(),
            batch: Some(batch),
            ..NewJob::new(id, kind, serde_json::Value::Null)
        }
    }

    /// The definition as it was at creation.
    pub(super) fn definition(&self) -> Result<BatchDefinition, StoreError> {
        from_json(&self.definition, "the definition of the batch")
    }
}

/// Creates chunks.
pub(super) async fn add_chunks(work: &mut Work<'_>, (batch, chunks): &(BatchId, &[NewChunk])) -> Outcome<Dispatched> {
    check::chunks(chunks)?;
    let plan = PlanRow::read(work, *batch).await?;
    if plan.state != BatchState::Open.as_str() {
        return Err(not_open(*batch, &plan.state).into());
    }
    let inserted = insert_chunks(work, *batch, &plan, chunks).await?;
    let items: u64 = chunks.iter().filter(|c| inserted.contains_key(&c.id.0)).map(|c| c.payload.items).sum();
    // The guard again, now with the row locked: another process may have sealed, halted or cancelled it meanwhile.
    // Locking it first would make every completion wait for the whole insert.
    let updated = sqlx::query(ADD_CHUNKS)
        .bind(batch.0)
        .bind(big(inserted.len() as u64))
        .bind(big(items))
        .bind(plan.halting)
        .execute(&mut *work.conn)
        .await?;
    if updated.rows_affected() == 0 {
        return Err(Fault::Changed);
    }
    work.close().await
}

/// Inserts chunks with the batch's own settings. A number that exists is left as it is. The planner of a batch that
/// halts meanwhile need not know: late chunks are cancelled at once.
pub(super) async fn insert_chunks(
    work: &mut Work<'_>,
    batch: BatchId,
    plan: &PlanRow,
    chunks: &[NewChunk],
) -> Outcome<HashMap<Uuid, JobState>> {
    let definition = plan.definition()?;
    let jobs: Vec<NewJob> = chunks.iter().map(|chunk| plan.job(chunk.id, "chunk", batch, &definition)).collect();
    let mut rows = JobRows::default();
    for (job, chunk) in jobs.iter().zip(chunks) {
        let place = Place {
            seq: Some(chunk.seq),
            items: big(chunk.payload.items),
            generation: Some(plan.generation),
            cancelled: plan.halting,
        };
        rows.push(job, check::json(&chunk.payload)?, place)?;
    }
    rows.insert(work).await
}

/// Seals a batch.
pub(super) async fn seal(work: &mut Work<'_>, batch: &BatchId) -> Outcome<Dispatched> {
    let sealed: Option<String> = sqlx::query_scalar(SEAL).bind(batch.0).fetch_optional(&mut *work.conn).await?;
    let Some(state) = sealed else {
        let plan = PlanRow::read(work, *batch).await?;
        if plan.state == BatchState::Cancelled.as_str() {
            return Err(StoreError::Conflict(format!("batch {batch} is cancelled; it cannot be sealed")).into());
        }
        return Ok(Dispatched::default());
    };
    if state == BatchState::Aggregating.as_str() {
        fan_in::fire(work, &[batch.0]).await?;
    }
    work.close().await
}

/// Discards an open batch.
pub(super) async fn discard_batch(work: &mut Work<'_>, batch: &BatchId) -> Outcome<()> {
    let jobs: Vec<(String, String, String, bool, bool)> =
        sqlx::query_as(JOBS_TO_DISCARD).bind(batch.0).fetch_all(&mut *work.conn).await?;
    let state: Option<String> = sqlx::query_scalar("SELECT state FROM batch WHERE id = $1")
        .bind(batch.0)
        .fetch_optional(&mut *work.conn)
        .await?;
    match state {
        // Gone already: the caller did not learn that it was done.
        None => return Ok(()),
        Some(state) if state != BatchState::Open.as_str() => return Err(not_open(*batch, &state).into()),
        Some(_) => {}
    }
    for (tenant, queue, state, begun, _) in &jobs {
        let state = state_of(state)?;
        if *begun || !matches!(state, JobState::Queued | JobState::Scheduled | JobState::Cancelled) {
            let text = format!("a chunk of batch {batch} has been claimed already; cancel the batch instead");
            return Err(StoreError::Conflict(text).into());
        }
        work.entered(tenant, queue, state, -1);
    }
    sql::poison::remember_discarded(work, *batch).await?;
    // Jobs of the batch that are not chunks are deleted with it, and are not counted among its chunks.
    let chunks = jobs.iter().filter(|(.., chunk)| *chunk).count();
    let gone = sqlx::query("DELETE FROM batch WHERE id = $1 AND state = 'open' AND chunks = $2")
        .bind(batch.0)
        .bind(big(chunks as u64))
        .execute(&mut *work.conn)
        .await?;
    if gone.rows_affected() == 0 {
        return Err(Fault::Changed);
    }
    work.changed();
    work.close().await?;
    Ok(())
}

/// The error for a batch that does not exist.
pub(super) fn no_batch(batch: BatchId) -> StoreError {
    StoreError::NotFound(format!("there is no batch {batch}; `gristmill batch list` shows those that are there"))
}

fn not_open(batch: BatchId, state: &str) -> StoreError {
    StoreError::Conflict(format!("batch {batch} is {state}; chunks can only be added or taken back while it is open"))
}
