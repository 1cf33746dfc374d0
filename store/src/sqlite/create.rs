//! Create and seal: jobs and batches are created.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};
use gristmill_core::settle::SNOOZES_MAX;

use super::SqliteStore;
use super::error::database;
use super::insert;
use super::job_row::{self, JobRow};
use super::row::{self, moved_columns};
use super::transition::{Transition, later};
use crate::check;
use crate::error::{Result, StoreError};
use crate::sql;
use crate::{Batches, CreatedBatch, Dispatched, EnqueueReport, Jobs, NewBatch, NewChunk};

/// Refuses a batch that was inserted when it does not fit into a quota, where it is held to one.
pub(super) async fn hold_to_quota(t: &mut Transition<'_>, batch: &NewBatch) -> Result<()> {
    if t.is_metered() { sql::quota::hold_batch(t, batch).await } else { Ok(()) }
}

#[async_trait]
impl Jobs for SqliteStore {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<EnqueueReport> {
        check::jobs(jobs)?;
        if jobs.is_empty() {
            return Ok(EnqueueReport::default());
        }
        let mut t = Transition::begin_short(self).await?;
        let enqueued = insert::new_jobs(&mut t, jobs).await?;
        check::not_refused(jobs, &enqueued)?;
        let report = EnqueueReport { jobs: enqueued, ..EnqueueReport::default() };
        t.tell(&report);
        Ok(EnqueueReport { dispatched: t.commit().await?.dispatched, ..report })
    }
}

#[async_trait]
impl Batches for SqliteStore {
    async fn create_batch(&self, batch: &NewBatch) -> Result<CreatedBatch> {
        let mut t = Transition::begin(self).await?;
        if insert_batch(&mut t, batch).await? {
            t.tell(batch);
            hold_to_quota(&mut t, batch).await?;
            t.commit().await?;
            return Ok(CreatedBatch { id: batch.id, created: true });
        }
        let statement = "
            SELECT id FROM batch WHERE id = ?1
            UNION ALL SELECT id FROM batch WHERE tenant = ?2 AND idempotency_key = ?3 AND idempotency_key IS NOT NULL
            UNION ALL SELECT id FROM idempotency WHERE tenant = ?2 AND scope = 'batch' AND key = ?3 AND until > ?4
            LIMIT 1";
        let query = sqlx::query(statement).bind(batch.id.0).bind(batch.tenant.clone());
        let query = query.bind(batch.idempotency_key.clone()).bind(t.now);
        let row =
            t.row(query).await?.ok_or_else(|| StoreError::Database("a batch was refused by no other".to_owned()))?;
        Ok(CreatedBatch { id: row::id(&row, "id")?, created: false })
    }

    async fn add_chunks(&self, batch: BatchId, chunks: &[NewChunk]) -> Result<Dispatched> {
        check::chunks(chunks)?;
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE batch SET planned_at = ?2 WHERE id = ?1
            RETURNING tenant, state, halting, generation, definition, trace";
        let found = t.row(sqlx::query(statement).bind(batch.0).bind(t.now)).await?;
        let found = found.ok_or_else(|| no_batch(batch))?;
        let state: BatchState = row::word(&found, "state")?;
        if state != BatchState::Open {
            return Err(StoreError::Conflict(format!(
                "batch {batch} is {state}; chunks can be added while it is open only"
            )));
        }
        // The planner of a batch that halts meanwhile need not know: late chunks are cancelled at once.
        let state = if row::flag(&found, "halting")? { JobState::Cancelled } else { JobState::Queued };
        let definition: BatchDefinition = row::json(&found, "definition")?;
        let common = Common {
            batch,
            tenant: row::get(&found, "tenant")?,
            trace: row::get(&found, "trace")?,
            generation: row::number(&found, "generation")?,
            state,
        };
        let rows: Vec<JobRow> =
            chunks.iter().map(|chunk| chunk_row(&common, &definition, chunk)).collect::<Result<_>>()?;
        insert_chunks(&mut t, batch, &rows).await?;
        Ok(t.commit().await?.dispatched)
    }

    async fn seal(&self, batch: BatchId) -> Result<Dispatched> {
        let mut t = Transition::begin(self).await?;
        let statement =
            "UPDATE batch SET state = 'sealed', planned_at = ?2, sealed_at = ?2 WHERE id = ?1 AND state = 'open'";
        if t.run(sqlx::query(statement).bind(batch.0).bind(t.now)).await? == 1 {
            // An empty change is enough: the fan-in fires if nothing remains.
            t.delta(batch);
            return Ok(t.commit().await?.dispatched);
        }
        match state(&mut t, batch).await? {
            None => Err(no_batch(batch)),
            Some(BatchState::Cancelled) => Err(StoreError::Conflict(format!("batch {batch} is cancelled already"))),
            Some(_) => Ok(Dispatched::default()),
        }
    }

    async fn discard_batch(&self, batch: BatchId) -> Result<()> {
        let mut t = Transition::begin(self).await?;
        match state(&mut t, batch).await? {
            None => return Ok(()),
            Some(BatchState::Open) => {}
            Some(state) => {
                let what = format!("batch {batch} is {state}; only an open one can be taken back: cancel it instead");
                return Err(StoreError::Conflict(what));
            }
        }
        let begun = "SELECT id FROM job WHERE batch_id = ?1 AND started_at IS NOT NULL LIMIT 1";
        if t.row(sqlx::query(begun).bind(batch.0)).await?.is_some() {
            let what = format!("a chunk of batch {batch} has been claimed already; cancel the batch instead");
            return Err(StoreError::Conflict(what));
        }
        sql::poison::remember_discarded(&mut t, batch).await?;
        let statement = concat!("DELETE FROM job WHERE batch_id = ?1 RETURNING state, ", moved_columns!());
        for row in &t.rows(sqlx::query(statement).bind(batch.0)).await? {
            let job = row::moved(row)?;
            t.count(&job.tenant, &job.queue, row::word(row, "state")?, -1);
        }
        t.run(sqlx::query("DELETE FROM batch WHERE id = ?1").bind(batch.0)).await?;
        t.commit().await?;
        Ok(())
    }

    async fn stalled_plans(&self, older_than: Duration, limit: u32) -> Result<Vec<(String, BatchId)>> {
        let before = self.now_micros().await?.saturating_sub(i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX));
        let statement = "SELECT tenant, id FROM batch WHERE state = 'open' AND planned_at <= ?1 ORDER BY id LIMIT ?2";
        let query = sqlx::query(statement).bind(before).bind(i64::from(limit));
        let rows = query.fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(|row| Ok((row::get(row, "tenant")?, row::id(row, "id")?))).collect()
    }
}

/// Inserts a batch whose keys are all free. Returns whether it was created.
pub(super) async fn insert_batch(t: &mut Transition<'_>, batch: &NewBatch) -> Result<bool> {
    check::tenant(&batch.tenant)?;
    check::name("batch name", &batch.name)?;
    batch.idempotency_key.iter().try_for_each(|key| check::name("idempotency key", key))?;
    let kept = "SELECT id FROM idempotency WHERE tenant = ?1 AND scope = 'batch' AND key = ?2 AND until > ?3";
    if let Some(key) = &batch.idempotency_key {
        let query = sqlx::query(kept).bind(batch.tenant.clone()).bind(key.clone()).bind(t.now);
        if t.row(query).await?.is_some() {
            return Ok(false);
        }
    }
    let statement = "
        INSERT INTO batch (id, tenant, name, definition, stamp, params, tolerate, idempotency_key, trace,
                           created_at, planned_at, late_at, spool, spooled)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13)
        ON CONFLICT DO NOTHING";
    let query = sqlx::query(statement)
        .bind(batch.id.0)
        .bind(batch.tenant.clone())
        .bind(batch.name.clone())
        .bind(check::json(&batch.definition)?)
        .bind(check::json(&batch.fingerprint)?)
        .bind(check::json(&batch.params)?)
        .bind(batch.definition.failure_budget.to_string())
        .bind(batch.idempotency_key.clone())
        .bind(batch.trace.as_deref().map(|trace| check::plain(trace, check::REASON_CHARS_MAX)))
        .bind(t.now)
        .bind(batch.definition.late_after.map(|span| later(t.now, span.0)))
        .bind(batch.fingerprint.has_copies().then_some("kept"))
        .bind(sql::quota::spooled(batch));
    let created = t.run(query).await? == 1;
    if created {
        sql::events::own::batch(t, batch.id, OwnType::BatchCreated).await?;
    }
    Ok(created)
}

/// What all chunks of one call share.
pub(super) struct Common {
    pub(super) batch: BatchId,
    pub(super) tenant: String,
    pub(super) trace: Option<String>,
    pub(super) generation: u32,
    pub(super) state: JobState,
}

/// The job of a chunk.
pub(super) fn chunk_row(common: &Common, definition: &BatchDefinition, chunk: &NewChunk) -> Result<JobRow> {
    Ok(JobRow {
        id: chunk.id,
        tenant: common.tenant.clone(),
        queue: definition.queue.clone(),
        priority: definition.priority,
        key: definition.key.clone(),
        kind: "chunk".to_owned(),
        state: common.state,
        max_attempts: definition.max_attempts.max(1),
        max_snoozes: SNOOZES_MAX,
        version: 1,
        timeout_ms: job_row::millis(definition.timeout.0),
        retry: check::json(&definition.retry)?,
        payload: check::json(&chunk.payload)?,
        batch: Some(common.batch),
        seq: Some(chunk.seq),
        items: chunk.payload.items,
        generation: Some(common.generation),
        idempotency_key: None,
        unique: None,
        trace: common.trace.clone(),
        run_at: None,
    })
}

/// Inserts chunks and notes by how much the batch grows.
pub(super) async fn insert_chunks(t: &mut Transition<'_>, batch: BatchId, rows: &[JobRow]) -> Result<()> {
    let made = insert::jobs(t, rows).await?;
    let delta = t.delta(batch);
    for row in rows.iter().filter(|row| made.contains(&row.id)) {
        let items = i64::try_from(row.items).unwrap_or(i64::MAX);
        delta.chunks += 1;
        delta.input += items;
        if row.state == JobState::Cancelled {
            delta.cancelled += items;
        } else {
            delta.remaining += 1;
        }
    }
    Ok(())
}

/// The state of a batch.
pub(super) async fn state(t: &mut Transition<'_>, batch: BatchId) -> Result<Option<BatchState>> {
    let found = t.row(sqlx::query("SELECT state FROM batch WHERE id = ?1").bind(batch.0)).await?;
    found.as_ref().map(|row| row::word(row, "state")).transpose()
}

/// The error for a batch that does not exist.
pub(super) fn no_batch(batch: BatchId) -> StoreError {
    StoreError::NotFound(format!("there is no batch {batch}; `gristmill batch list` shows those that are there"))
}
