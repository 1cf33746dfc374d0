//! Views: what people and handlers read. Each reads one snapshot, pages by key, and has a time limit.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::batch::Counts;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::JobState;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::PostgresStore;
use super::chunks;
use super::connect::look;
use super::fault::Outcome;
use super::job_list::{self, JobRow};
use super::values::{count, from_any_json, from_json, plain, seconds, small, state_of};
use crate::error::{Result, StoreError};
use crate::row;
use crate::sql::conditions::conditions;
use crate::views::{self, UNHANDLED_LOOKED_AT};
use crate::{
    AttemptView, BatchFilter, BatchPlan, BatchView, ChunkBrief, ChunkRanges, JobFilter, JobView, Page, PauseView,
    QuarantineFilter, QuarantineView, QueueView, StoredParts, StoredResult, UnhandledView, Views,
};

pub(super) const BATCHES: &str = "
SELECT id, tenant, name, state, paused, paused_at, paused_by, paused_reason, generation, tolerate, chunks, remaining, chunks_dead, retries, input, ok,
       skipped, quarantined, cancelled, result, reason, aggregate_error, created_at, finished_at
FROM batch WHERE tenant = ";

const BATCH_PLAN: &str = "SELECT tenant, name, definition, stamp, params, trace FROM batch WHERE id = $1";

const CHUNK_RESULTS: &str = "
SELECT seq, generation, result FROM result WHERE batch_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";

// Partial results may be large: only the parts leave the database.
const OUTPUT_PARTS: &str = "
SELECT seq, (result.result::json -> 'parts')::text FROM result
WHERE batch_id = $1 AND seq > $2 AND json_array_length(result.result::json -> 'parts') > 0 ORDER BY seq LIMIT $3";

const JOB: &str = "
SELECT id, tenant, queue, lane, key, kind, version, state, attempt, max_attempts, snoozes, batch_id, seq, generation, items,
       payload, output, error, worker_id, created_at, run_at, started_at, finished_at
FROM job WHERE tenant = $1 AND id = $2";

const ATTEMPTS: &str = "
SELECT attempt, worker_id, started_at, ended_at, ending, error FROM attempt WHERE job_id = $1 ORDER BY attempt, number";

/// The oldest of each kind of a queue is close enough to the oldest: found in as many steps as there are kinds.
pub(super) const QUEUES: &str = "
WITH counted AS MATERIALIZED (
    SELECT queue, state, sum(jobs)::bigint AS jobs FROM queue_count WHERE tenant = $1 GROUP BY queue, state
)
SELECT n.name, COALESCE(bool_or(q.paused), FALSE), max(q.paused_at), max(q.paused_by), max(q.paused_reason),
       COALESCE(array_agg(c.state) FILTER (WHERE c.state IS NOT NULL), '{}'),
       COALESCE(array_agg(c.jobs) FILTER (WHERE c.state IS NOT NULL), '{}'),
       (WITH RECURSIVE head (kind, queued_at) AS (
            (SELECT j.kind, j.queued_at FROM job j
             WHERE j.tenant = $1 AND j.state = 'queued' AND j.state <> 'running' AND j.queue = n.name
             ORDER BY j.kind, j.id LIMIT 1)
            UNION ALL
            SELECT x.kind, x.queued_at FROM head h CROSS JOIN LATERAL (
                SELECT j.kind, j.queued_at FROM job j
                WHERE j.tenant = $1 AND j.state = 'queued' AND j.state <> 'running' AND j.queue = n.name
                  AND j.kind > h.kind
                ORDER BY j.kind, j.id LIMIT 1) AS x)
        SELECT min(queued_at) FROM head)
FROM (SELECT queue AS name FROM counted UNION SELECT name FROM queue WHERE tenant = $1) AS n
LEFT JOIN counted c ON c.queue = n.name
LEFT JOIN queue q ON q.tenant = $1 AND q.name = n.name
GROUP BY n.name ORDER BY n.name";

/// The oldest of each kind of all queues, found by walking the index from kind to kind.
pub(super) const WAITING_KINDS: &str = "
WITH RECURSIVE stream (queue, kind) AS (
    (SELECT j.queue, j.kind FROM job j WHERE j.tenant = $1 AND j.state = 'queued' AND j.state <> 'running'
     ORDER BY j.queue, j.kind LIMIT 1)
    UNION ALL
    SELECT n.queue, n.kind FROM stream s CROSS JOIN LATERAL (
        SELECT j.queue, j.kind FROM job j WHERE j.tenant = $1 AND j.state = 'queued' AND j.state <> 'running'
          AND (j.queue, j.kind) > (s.queue, s.kind)
        ORDER BY j.queue, j.kind LIMIT 1) AS n
)
SELECT head.queue, head.kind, head.version, count(*) FROM stream s CROSS JOIN LATERAL (
    SELECT j.queue, j.kind, j.version FROM job j
    WHERE j.tenant = $1 AND j.state = 'queued' AND j.state <> 'running' AND j.queue = s.queue AND j.kind = s.kind
    ORDER BY j.id LIMIT $2) AS head
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

const SERVING: &str = "SELECT queues, kinds FROM worker WHERE state = 'alive' AND lease_until >= now()";

const QUARANTINED: &str = "
SELECT id, batch_id, seq, generation, position, line, stage, reason, item, state, created_at
FROM quarantine WHERE tenant = ";

row! {
    pub(super) struct BatchRow {
        id: Uuid,
        tenant: String,
        name: String,
        state: String,
        paused: bool,
        paused_at: Option<Instant>,
        paused_by: Option<String>,
        paused_reason: Option<String>,
        generation: i32,
        tolerate: String,
        chunks: i64,
        remaining: i64,
        chunks_dead: i64,
        retries: i64,
        input: i64,
        ok: i64,
        skipped: i64,
        quarantined: i64,
        cancelled: i64,
        result: Option<String>,
        reason: Option<String>,
        aggregate_error: Option<String>,
        created_at: Instant,
        finished_at: Option<Instant>,
    }
}

impl BatchRow {
    pub(super) fn view(self) -> Result<BatchView, StoreError> {
        let what = format!("the result of batch {}", self.id);
        Ok(BatchView {
            id: BatchId(self.id),
            state: self.state.parse().map_err(|e| StoreError::Database(format!("batch {}: {e}", self.id)))?,
            counts: Counts {
                input: count(self.input),
                ok: count(self.ok),
                skipped: count(self.skipped),
                quarantined: count(self.quarantined),
                cancelled: count(self.cancelled),
            },
            result: self.result.map(|text| from_any_json(&text, &what)).transpose()?,
            tenant: self.tenant,
            name: self.name,
            paused: self.paused,
            pause: pause_view(self.paused, self.paused_at, self.paused_by, self.paused_reason),
            generation: small(self.generation),
            chunks: count(self.chunks),
            remaining: count(self.remaining),
            chunks_dead: count(self.chunks_dead),
            retries: count(self.retries),
            failure_budget: self.tolerate,
            reason: views::reason(self.reason, self.aggregate_error.as_deref()),
            created_at: self.created_at,
            finished_at: self.finished_at,
        })
    }
}

row! {
    struct QuarantineRow {
        id: i64,
        batch_id: Uuid,
        seq: i64,
        generation: i32,
        position: i64,
        line: Option<i64>,
        stage: String,
        reason: String,
        item: String,
        state: String,
        created_at: Instant,
    }
}

#[async_trait]
impl Views for PostgresStore {
    async fn batch(&self, tenant: &str, batch: BatchId) -> Result<Option<BatchView>> {
        look!(self, super::view::batch, tenant, batch)
    }

    async fn batch_plan(&self, batch: BatchId) -> Result<Option<BatchPlan>> {
        look!(self, batch_plan, batch)
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        look!(self, batches, filter, page)
    }

    async fn chunk_results(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        look!(self, chunk_results, batch, after_seq, limit)
    }

    async fn output_parts(&self, batch: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredParts>> {
        look!(self, output_parts, batch, after_seq, limit)
    }

    async fn chunk_briefs(&self, batch: BatchId, first: i64, limit: u32) -> Result<Vec<ChunkBrief>> {
        look!(self, chunks::briefs, batch, first, limit)
    }

    async fn first_chunks(&self, batch: BatchId, states: &[JobState], each: u32) -> Result<Vec<JobView>> {
        look!(self, job_list::first_chunks, batch, states, each)
    }

    async fn chunk_ranges(&self, batch: BatchId, width: u32) -> Result<ChunkRanges> {
        look!(self, chunks::ranges, batch, width)
    }

    async fn job(&self, tenant: &str, job: JobId) -> Result<Option<JobView>> {
        look!(self, super::view::job, tenant, job)
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        look!(self, job_list::jobs, filter, page)
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        look!(self, tenants)
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        look!(self, queue_names)
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        look!(self, queues, tenant)
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        look!(self, unhandled, tenant)
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        look!(self, quarantine, filter, page)
    }
}

/// One batch.
pub(super) async fn batch(conn: &mut PgConnection, tenant: &str, batch: BatchId) -> Outcome<Option<BatchView>> {
    let mut query = QueryBuilder::<Postgres>::new(BATCHES);
    query.push_bind(plain(tenant)).push(" AND id = ").push_bind(batch.0);
    let row: Option<BatchRow> = query.build_query_as().fetch_optional(conn).await?;
    Ok(row.map(BatchRow::view).transpose()?)
}

/// What a chunk's handler needs.
pub(super) async fn stalled_plans(
    conn: &mut PgConnection,
    older_than: Duration,
    limit: u32,
) -> Outcome<Vec<(String, BatchId)>> {
    let statement = "SELECT tenant, id FROM batch WHERE state = 'open' \
                     AND planned_at <= now() - make_interval(secs => $1) ORDER BY id LIMIT $2";
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as(statement).bind(seconds(older_than)).bind(i64::from(limit)).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|(tenant, id)| (tenant, BatchId(id))).collect())
}

pub(super) async fn batch_plan(conn: &mut PgConnection, batch: BatchId) -> Outcome<Option<BatchPlan>> {
    type Row = (String, String, String, String, String, Option<String>);
    let row: Option<Row> = sqlx::query_as(BATCH_PLAN).bind(batch.0).fetch_optional(conn).await?;
    let Some((tenant, name, definition, stamp, params, trace)) = row else { return Ok(None) };
    let what = format!("the plan of batch {batch}");
    Ok(Some(BatchPlan {
        id: batch,
        tenant,
        name,
        definition: from_json(&definition, &what)?,
        fingerprint: from_json(&stamp, &what)?,
        params: from_any_json(&params, &what)?,
        trace,
    }))
}

/// Batches, newest first.
pub(super) async fn batches(conn: &mut PgConnection, filter: &BatchFilter, page: &Page) -> Outcome<Vec<BatchView>> {
    let mut query = QueryBuilder::<Postgres>::new(BATCHES);
    query.push_bind(plain(&filter.tenant));
    if let Some(name) = &filter.name {
        query.push(" AND name = ").push_bind(plain(name));
    }
    if let Some(state) = filter.state {
        query.push(" AND state = ").push_bind(state.as_str());
    }
    job_list::asked(&mut query, conditions(&filter.query, "batch", "strpos", &[]));
    newest_first(&mut query, page)?;
    let rows: Vec<BatchRow> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(BatchRow::view).collect::<Result<_, _>>()?)
}

/// Results by chunk number.
pub(super) async fn chunk_results(
    conn: &mut PgConnection,
    batch: BatchId,
    after_seq: i64,
    limit: u32,
) -> Outcome<Vec<StoredResult>> {
    let rows: Vec<(i64, i32, String)> =
        sqlx::query_as(CHUNK_RESULTS).bind(batch.0).bind(after_seq).bind(i64::from(limit)).fetch_all(conn).await?;
    let read = |(seq, generation, result): (i64, i32, String)| {
        let result = from_json(&result, &format!("the result of chunk {seq} of batch {batch}"))?;
        Ok(StoredResult { seq, generation: small(generation), result })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
}

async fn output_parts(
    conn: &mut PgConnection,
    batch: BatchId,
    after_seq: i64,
    limit: u32,
) -> Outcome<Vec<StoredParts>> {
    let rows: Vec<(i64, String)> =
        sqlx::query_as(OUTPUT_PARTS).bind(batch.0).bind(after_seq).bind(i64::from(limit)).fetch_all(conn).await?;
    let read = |(seq, parts): (i64, String)| {
        let parts = from_json(&parts, &format!("the parts of chunk {seq} of batch {batch}"))?;
        Ok(StoredParts { seq, parts })
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
}

/// One job with its attempts.
pub(super) async fn job(conn: &mut PgConnection, tenant: &str, job: JobId) -> Outcome<Option<JobView>> {
    let row: Option<JobRow> = sqlx::query_as(JOB).bind(plain(tenant)).bind(job.0).fetch_optional(&mut *conn).await?;
    let Some(row) = row else { return Ok(None) };
    type Row = (i32, Option<Uuid>, Option<Instant>, Instant, String, Option<String>);
    let attempts: Vec<Row> = sqlx::query_as(ATTEMPTS).bind(job.0).fetch_all(conn).await?;
    let attempts = attempts
        .into_iter()
        .map(|(attempt, worker, started_at, ended_at, ending, error)| AttemptView {
            attempt: small(attempt),
            worker: worker.map(WorkerId),
            started_at,
            ended_at,
            ending,
            error,
        })
        .collect();
    Ok(Some(JobView { attempts, ..row.view()? }))
}

/// Every tenant that has a queue.
pub(super) async fn tenants(conn: &mut PgConnection) -> Outcome<Vec<String>> {
    let all = "
SELECT tenant FROM (SELECT tenant FROM queue_count UNION SELECT tenant FROM queue) AS known
ORDER BY tenant COLLATE \"C\"";
    Ok(sqlx::query_scalar(all).fetch_all(conn).await?)
}

/// The names of all queues.
pub(super) async fn queue_names(conn: &mut PgConnection) -> Outcome<Vec<String>> {
    let all = "
SELECT name FROM (SELECT queue AS name FROM queue_count UNION SELECT name FROM queue) AS known ORDER BY name COLLATE \"C\"";
    Ok(sqlx::query_scalar(all).fetch_all(conn).await?)
}

/// Every queue with its counters.
pub(super) async fn queues(conn: &mut PgConnection, tenant: &str) -> Outcome<Vec<QueueView>> {
    type Said = Option<String>;
    type Row = (String, bool, Option<Instant>, Said, Said, Vec<String>, Vec<i64>, Option<Instant>);
    let rows: Vec<Row> = sqlx::query_as(QUEUES).bind(plain(tenant)).fetch_all(conn).await?;
    let mut views = Vec::with_capacity(rows.len());
    for (name, paused, since, by, reason, states, jobs, oldest_queued_at) in rows {
        let pause = pause_view(paused, since, by, reason);
        let mut view = QueueView { name, paused, pause, oldest_queued_at, ..QueueView::default() };
        for (state, jobs) in states.iter().zip(jobs) {
            *view.counter(state_of(state)?) = count(jobs);
        }
        views.push(view);
    }
    Ok(views)
}

/// The details of a pause count only while it lasts.
fn pause_view(paused: bool, since: Option<Instant>, by: Option<String>, reason: Option<String>) -> Option<PauseView> {
    since.filter(|_| paused).map(|since| PauseView { since, by, reason })
}

/// Jobs that wait although no live worker can run them.
pub(super) async fn unhandled(conn: &mut PgConnection, tenant: &str) -> Outcome<Vec<UnhandledView>> {
    let waiting: Vec<(String, String, i32, i64)> =
        sqlx::query_as(WAITING_KINDS).bind(plain(tenant)).bind(UNHANDLED_LOOKED_AT).fetch_all(&mut *conn).await?;
    let waiting = waiting.into_iter().map(|(queue, kind, version, jobs)| UnhandledView {
        queue,
        kind,
        version: small(version),
        jobs: count(jobs),
    });
    let workers: Vec<(String, String)> = sqlx::query_as(SERVING).fetch_all(conn).await?;
    let serving = workers
        .iter()
        .map(|(queues, kinds)| Ok((from_json(queues, "a worker")?, from_json(kinds, "a worker")?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(views::unhandled(waiting.collect(), &serving))
}

/// Quarantined items, oldest first.
pub(super) async fn quarantine(
    conn: &mut PgConnection,
    filter: &QuarantineFilter,
    page: &Page,
) -> Outcome<Vec<QuarantineView>> {
    let mut query = QueryBuilder::<Postgres>::new(QUARANTINED);
    query.push_bind(plain(&filter.tenant));
    if let Some(batch) = filter.only_batch() {
        query.push(" AND batch_id = ").push_bind(batch.0);
    }
    if filter.open_only {
        query.push(" AND state = 'open'");
    }
    if let Some(after) = page.after_number()? {
        query.push(" AND id > ").push_bind(after);
    }
    job_list::asked(&mut query, conditions(&filter.query, "quarantine", "strpos", &[]));
    query.push(" ORDER BY id LIMIT ").push_bind(i64::from(page.rows()));
    let rows: Vec<QuarantineRow> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(quarantine_view).collect::<Result<_, _>>()?)
}

fn quarantine_view(row: QuarantineRow) -> Result<QuarantineView, StoreError> {
    Ok(QuarantineView {
        item: from_any_json(&row.item, &format!("quarantined item {}", row.id))?,
        id: row.id,
        batch: BatchId(row.batch_id),
        seq: row.seq,
        generation: small(row.generation),
        position: count(row.position),
        line: row.line.map(count),
        stage: row.stage,
        reason: row.reason,
        state: row.state,
        created_at: row.created_at,
    })
}

fn newest_first(query: &mut QueryBuilder<Postgres>, page: &Page) -> Result<(), StoreError> {
    if let Some(after) = page.after_id()? {
        query.push(" AND id < ").push_bind(after);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(page.rows()));
    Ok(())
}
