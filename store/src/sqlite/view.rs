//! What people and pages are shown; only readers, so that nothing here waits for the writer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::chunks;
use super::error::database;
use super::job_list::{self, job_view};
use super::{SqliteStore, row};
use crate::error::{Result, StoreError};
use crate::sql::conditions::conditions;
use crate::views;
use crate::{
    AttemptView, BatchFilter, BatchPlan, BatchView, ChunkBrief, ChunkRanges, JobFilter, JobView, Page, PauseView,
    QuarantineFilter, QuarantineView, QueueView, StoredParts, StoredResult, UnhandledView, Views,
};

/// The oldest of each kind of a queue is close enough to the oldest: found in as many steps as there are kinds.
pub(super) const QUEUES: &str = "
    WITH RECURSIVE known (name) AS (
        SELECT queue FROM queue_count WHERE tenant = ?1 UNION SELECT name FROM queue WHERE tenant = ?1),
    head (queue, kind, queued_at) AS (
        SELECT n.queue, n.kind, n.queued_at FROM known k CROSS JOIN job n ON n.id = (
            SELECT i.id FROM job i INDEXED BY job_listed
            WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running' AND i.queue = k.name
            ORDER BY i.kind, i.id LIMIT 1)
        UNION ALL
        SELECT n.queue, n.kind, n.queued_at FROM head h CROSS JOIN job n ON n.id = (
            SELECT i.id FROM job i INDEXED BY job_listed
            WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running' AND i.queue = h.queue AND i.kind > h.kind
            ORDER BY i.kind, i.id LIMIT 1)),
    oldest (queue, since) AS MATERIALIZED (SELECT queue, min(queued_at) FROM head GROUP BY queue)
    SELECT k.name, c.state, sum(c.jobs) AS jobs,
           coalesce(p.paused, 0) AS paused, p.paused_at, p.paused_by, p.paused_reason, o.since AS oldest
    FROM known k LEFT JOIN queue_count c ON c.tenant = ?1 AND c.queue = k.name
    LEFT JOIN queue p ON p.tenant = ?1 AND p.name = k.name
    LEFT JOIN oldest o ON o.queue = k.name
    GROUP BY k.name, c.state ORDER BY k.name";

/// The oldest of each kind of all queues.
pub(super) const WAITING_KINDS: &str = "
    WITH RECURSIVE stream (queue, kind) AS (
        SELECT * FROM (SELECT i.queue, i.kind FROM job i INDEXED BY job_listed
                       WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running'
                       ORDER BY i.queue, i.kind LIMIT 1)
        UNION ALL
        SELECT n.queue, n.kind FROM stream s CROSS JOIN job n ON n.id = coalesce((
            SELECT i.id FROM job i INDEXED BY job_listed
            WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running' AND i.queue = s.queue AND i.kind > s.kind
            ORDER BY i.queue, i.kind LIMIT 1), (
            SELECT i.id FROM job i INDEXED BY job_listed
            WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running' AND i.queue > s.queue
            ORDER BY i.queue, i.kind LIMIT 1)))
    SELECT h.queue, h.kind, h.version, count(*) AS jobs
    FROM stream s CROSS JOIN job h ON h.id IN (
        SELECT i.id FROM job i INDEXED BY job_listed
        WHERE i.tenant = ?1 AND i.state = 'queued' AND i.state <> 'running' AND i.queue = s.queue AND i.kind = s.kind
        ORDER BY i.id LIMIT ?2)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

#[async_trait]
impl Views for SqliteStore {
    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>> {
        let statement = "SELECT * FROM batch WHERE id = ?1 AND tenant = ?2";
        let found = sqlx::query(statement).bind(batch.0).bind(tenant.to_owned()).fetch_optional(&self.readers).await;
        found.map_err(database)?.as_ref().map(batch_view).transpose()
    }

    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>> {
        let statement = "SELECT id, tenant, name, definition, stamp, params, trace FROM batch WHERE id = ?1";
        let found = sqlx::query(statement).bind(batch.0).fetch_optional(&self.readers).await.map_err(database)?;
        let Some(row) = found else { return Ok(None) };
        Ok(Some(BatchPlan {
            id: row::id(&row, "id")?,
            tenant: row::get(&row, "tenant")?,
            name: row::get(&row, "name")?,
            definition: row::json(&row, "definition")?,
            fingerprint: row::json(&row, "stamp")?,
            params: row::any_json(&row, "params")?,
            trace: row::get(&row, "trace")?,
        }))
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM batch WHERE tenant = ");
        query.push_bind(filter.tenant.clone());
        if let Some(name) = &filter.name {
            query.push(" AND name = ").push_bind(name.clone());
        }
        if let Some(state) = filter.state {
            query.push(" AND state = ").push_bind(state.as_str());
        }
        job_list::asked(&mut query, conditions(&filter.query, "batch", "instr", &[]));
        if let Some(after) = page.after_id()? {
            query.push(" AND id < ").push_bind(after);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(page.rows());
        let rows = query.build().fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(batch_view).collect()
    }

    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        let statement =
            "SELECT seq, generation, result FROM result WHERE batch_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let query = sqlx::query(statement).bind(batch.0).bind(after_seq).bind(limit);
        let rows = query.fetch_all(&self.readers).await.map_err(database)?;
        rows.iter()
            .map(|row| {
                Ok(StoredResult {
                    seq: row::get(row, "seq")?,
                    generation: row::number(row, "generation")?,
                    result: row::json(row, "result")?,
                })
            })
            .collect()
    }

    async fn output_parts(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredParts>> {
        // Partial results may be large: only the parts leave the database.
        let statement = "SELECT seq, result -> '$.parts' AS parts FROM result \
                         WHERE batch_id = ?1 AND seq > ?2 AND json_array_length(result, '$.parts') > 0 \
                         ORDER BY seq LIMIT ?3";
        let query = sqlx::query(statement).bind(batch.0).bind(after_seq).bind(limit);
        let rows = query.fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(|row| Ok(StoredParts { seq: row::get(row, "seq")?, parts: row::json(row, "parts")? })).collect()
    }

    async fn chunk_briefs(&self, batch: BatchId, first: i64, limit: u32) -> Result<Vec<ChunkBrief>> {
        chunks::briefs(self, batch, first, limit).await
    }

    async fn first_chunks(&self, batch: BatchId, states: &[JobState], each: u32) -> Result<Vec<JobView>> {
        job_list::first_chunks(self, batch, states, each).await
    }

    async fn chunk_ranges(&self, batch: BatchId, width: u32) -> Result<ChunkRanges> {
        chunks::ranges(self, batch, width).await
    }

    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>> {
        let statement = "SELECT * FROM job WHERE id = ?1 AND tenant = ?2";
        let found = sqlx::query(statement).bind(job.0).bind(tenant.to_owned()).fetch_optional(&self.readers).await;
        let Some(row) = found.map_err(database)? else { return Ok(None) };
        let statement = "SELECT * FROM attempt WHERE job_id = ?1 ORDER BY attempt, number";
        let attempts = sqlx::query(statement).bind(job.0).fetch_all(&self.readers).await.map_err(database)?;
        let mut view = job_view(&row)?;
        view.payload = views::shown(row::get(&row, "payload")?);
        view.attempts = attempts.iter().map(attempt_view).collect::<Result<_>>()?;
        Ok(Some(view))
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        job_list::jobs(self, filter, page).await
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        let all = "SELECT tenant FROM queue_count UNION SELECT tenant FROM queue ORDER BY tenant";
        sqlx::query_scalar(all).fetch_all(&self.readers).await.map_err(database)
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        let all = "SELECT queue AS name FROM queue_count UNION SELECT name FROM queue ORDER BY name";
        sqlx::query_scalar(all).fetch_all(&self.readers).await.map_err(database)
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        let rows = sqlx::query(QUEUES).bind(tenant.to_owned()).fetch_all(&self.readers).await.map_err(database)?;
        let mut views: BTreeMap<String, QueueView> = BTreeMap::new();
        for row in &rows {
            let name: String = row::get(row, "name")?;
            let view = views.entry(name.clone()).or_default();
            view.name = name;
            view.paused = row::flag(row, "paused")?;
            view.pause = pause_view(row)?;
            view.oldest_queued_at = row::maybe_instant(row, "oldest")?;
            let state: Option<String> = row::get(row, "state")?;
            if let Some(state) = state {
                let state: JobState =
                    state.parse().map_err(|_| StoreError::Database(format!("unknown state `{state}`")))?;
                *counter(view, state) = row::number(row, "jobs")?;
            }
        }
        Ok(views.into_values().collect())
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        let query = sqlx::query(WAITING_KINDS).bind(tenant.to_owned()).bind(views::UNHANDLED_LOOKED_AT);
        let rows = query.fetch_all(&self.readers).await.map_err(database)?;
        let waiting = rows.iter().map(|row| {
            let (queue, kind) = (row::get(row, "queue")?, row::get(row, "kind")?);
            Ok(UnhandledView { queue, kind, version: row::number(row, "version")?, jobs: row::number(row, "jobs")? })
        });
        let waiting = waiting.collect::<Result<Vec<_>>>()?;
        let alive = "SELECT queues, kinds FROM worker WHERE state = 'alive' AND lease_until >= ?1";
        let now = self.now_micros().await?;
        let workers = sqlx::query(alive).bind(now).fetch_all(&self.readers).await.map_err(database)?;
        let serving = workers.iter().map(|row| Ok((row::json(row, "queues")?, row::json(row, "kinds")?)));
        Ok(views::unhandled(waiting, &serving.collect::<Result<Vec<_>>>()?))
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM quarantine WHERE tenant = ");
        query.push_bind(filter.tenant.clone());
        if let Some(batch) = filter.only_batch() {
            query.push(" AND batch_id = ").push_bind(batch.0);
        }
        if filter.open_only {
            query.push(" AND state = 'open'");
        }
        if let Some(after) = page.after_number()? {
            query.push(" AND id > ").push_bind(after);
        }
        job_list::asked(&mut query, conditions(&filter.query, "quarantine", "instr", &[]));
        query.push(" ORDER BY id LIMIT ").push_bind(page.rows());
        let rows = query.build().fetch_all(&self.readers).await.map_err(database)?;
        rows.iter().map(quarantine_view).collect()
    }
}

fn counter(view: &mut QueueView, state: JobState) -> &mut u64 {
    match state {
        JobState::Scheduled => &mut view.scheduled,
        JobState::Queued => &mut view.queued,
        JobState::Running => &mut view.running,
        JobState::Retry => &mut view.retry,
        JobState::Done => &mut view.done,
        JobState::Dead => &mut view.dead,
        JobState::Cancelled => &mut view.cancelled,
    }
}

pub(super) fn batch_view(row: &SqliteRow) -> Result<BatchView> {
    Ok(BatchView {
        id: row::id(row, "id")?,
        tenant: row::get(row, "tenant")?,
        name: row::get(row, "name")?,
        state: row::word(row, "state")?,
        paused: row::flag(row, "paused")?,
        pause: pause_view(row)?,
        generation: row::number(row, "generation")?,
        counts: row::counts(row)?,
        chunks: row::number(row, "chunks")?,
        remaining: row::number(row, "remaining")?,
        chunks_dead: row::number(row, "chunks_dead")?,
        retries: row::number(row, "retries")?,
        failure_budget: row::get(row, "tolerate")?,
        result: row::maybe_any_json(row, "result")?,
        reason: views::reason(row::get(row, "reason")?, row::get::<Option<String>>(row, "aggregate_error")?.as_deref()),
        created_at: row::instant(row, "created_at")?,
        finished_at: row::maybe_instant(row, "finished_at")?,
    })
}

/// The details of a pause count only while it lasts.
fn pause_view(row: &SqliteRow) -> Result<Option<PauseView>> {
    let Some(since) = row::maybe_instant(row, "paused_at")?.filter(|_| row::flag(row, "paused").unwrap_or(false))
    else {
        return Ok(None);
    };
    Ok(Some(PauseView { since, by: row::get(row, "paused_by")?, reason: row::get(row, "paused_reason")? }))
}

fn attempt_view(row: &SqliteRow) -> Result<AttemptView> {
    Ok(AttemptView {
        attempt: row::number(row, "attempt")?,
        worker: row::maybe_id(row, "worker_id")?,
        started_at: row::maybe_instant(row, "started_at")?,
        ended_at: row::instant(row, "ended_at")?,
        ending: row::get(row, "ending")?,
        error: row::get(row, "error")?,
    })
}

fn quarantine_view(row: &SqliteRow) -> Result<QuarantineView> {
    let line: Option<i64> = row::get(row, "line")?;
    Ok(QuarantineView {
        id: row::get(row, "id")?,
        batch: row::id(row, "batch_id")?,
        seq: row::get(row, "seq")?,
        generation: row::number(row, "generation")?,
        position: row::number(row, "position")?,
        line: line.and_then(|line| u64::try_from(line).ok()),
        stage: row::get(row, "stage")?,
        reason: row::get(row, "reason")?,
        item: row::any_json(row, "item")?,
        state: row::get(row, "state")?,
        created_at: row::instant(row, "created_at")?,
    })
}
