//! Lists of jobs, newest first: whatever is asked for, an index has it in order. The mirror of PostgreSQL's, which says
//! how.

use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use gristmill_core::query::Key;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};
use uuid::Uuid;

use super::error::database;
use super::{SqliteStore, row};
use crate::check;
use crate::error::Result;
use crate::sql::conditions::{Piece, conditions};
use crate::views::{RECENT_MAX, shown};
use crate::{JobFilter, JobView, Page};

/// What a list shows of a job: everything but the payload, which may be large.
const COLUMNS: &str = "
    SELECT id, tenant, queue, lane, key, kind, version, state, attempt, max_attempts, snoozes, batch_id, seq, generation,
           items, output, error, worker_id, created_at, run_at, started_at, finished_at
    FROM job WHERE id IN (SELECT id FROM (";

type Query = QueryBuilder<Sqlite>;

/// Jobs, newest first.
pub(super) async fn jobs(store: &SqliteStore, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
    let list = List { filter, after: page.after_id()?, rows: page.rows() };
    let recent = filter.is_recent() && few_recent(store, filter).await?;
    let mut query = if recent { list.recent() } else { list.streams()? };
    let rows = query.build().fetch_all(&store.readers).await.map_err(database)?;
    rows.iter().map(job_view).collect()
}

/// The first chunks of a batch in each state, through the index of its jobs.
const FIRST_CHUNKS: &str = "
    SELECT n.id, n.tenant, n.queue, n.lane, n.key, n.kind, n.version, n.state, n.attempt, n.max_attempts, n.snoozes, n.batch_id,
           n.seq, n.generation, n.items, NULL AS output, n.error, n.worker_id, n.created_at, n.run_at, n.started_at,
           n.finished_at
    FROM json_each(?2) s CROSS JOIN job n ON n.id IN (
        SELECT i.id FROM job i INDEXED BY job_in_batch
        WHERE i.batch_id = ?1 AND i.state = s.value AND i.kind = 'chunk' ORDER BY i.id LIMIT ?3)
    ORDER BY s.key, n.id";

/// The first chunks of a batch in each of these states.
pub(super) async fn first_chunks(
    store: &SqliteStore,
    batch: BatchId,
    states: &[JobState],
    each: u32,
) -> Result<Vec<JobView>> {
    let query = sqlx::query(FIRST_CHUNKS).bind(batch.0).bind(check::json(states)?).bind(each);
    let rows = query.fetch_all(&store.readers).await.map_err(database)?;
    rows.iter().map(job_view).collect()
}

/// Whether so few have died since the time that is asked for that all of them can be read.
async fn few_recent(store: &SqliteStore, filter: &JobFilter) -> Result<bool> {
    let statement = "
        SELECT count(*) FROM (SELECT 1 FROM job INDEXED BY job_dead_since
                              WHERE tenant = ?1 AND state = 'dead' AND finished_at >= ?2 LIMIT ?3)";
    let query = sqlx::query_scalar(statement).bind(&filter.tenant).bind(filter.since.map(|at| at.timestamp_micros()));
    let found: i64 = query.bind(RECENT_MAX).fetch_one(&store.readers).await.map_err(database)?;
    Ok(found < RECENT_MAX)
}

/// Without payload and attempts.
pub(super) fn job_view(row: &SqliteRow) -> Result<JobView> {
    Ok(JobView {
        id: row::id(row, "id")?,
        tenant: row::get(row, "tenant")?,
        queue: row::get(row, "queue")?,
        priority: row::priority(row)?,
        key: row::get(row, "key")?,
        kind: row::get(row, "kind")?,
        version: row::number(row, "version")?,
        state: row::word(row, "state")?,
        attempt: row::number(row, "attempt")?,
        max_attempts: row::number(row, "max_attempts")?,
        snoozes: row::number(row, "snoozes")?,
        batch: row::maybe_id(row, "batch_id")?,
        seq: row::get(row, "seq")?,
        generation: row::number(row, "generation")?,
        items: row::number(row, "items")?,
        payload: Value::Null,
        output: row::get::<Option<String>>(row, "output")?.map(shown),
        error: row::get(row, "error")?,
        worker: row::maybe_id(row, "worker_id")?,
        created_at: row::instant(row, "created_at")?,
        run_at: row::maybe_instant(row, "run_at")?,
        started_at: row::maybe_instant(row, "started_at")?,
        finished_at: row::maybe_instant(row, "finished_at")?,
        attempts: Vec::new(),
    })
}

/// Adds the conditions of a query.
pub(super) fn asked(query: &mut Query, conditions: Vec<Piece>) {
    for piece in conditions {
        match piece {
            Piece::Sql(text) => drop(query.push(text)),
            Piece::Text(text) => drop(query.push_bind(text)),
            Piece::Number(number) => drop(query.push_bind(number)),
            Piece::At(at) => drop(query.push_bind(at.timestamp_micros())),
            Piece::Id(id) => drop(query.push_bind(id)),
        }
    }
}

/// What is asked for.
pub(super) struct List<'a> {
    pub(super) filter: &'a JobFilter,
    pub(super) after: Option<Uuid>,
    pub(super) rows: u32,
}

impl List<'_> {
    /// Through the index of dead letters by time.
    pub(super) fn recent(&self) -> Query {
        let mut query = Query::new(COLUMNS);
        query.push("SELECT i.id FROM job i INDEXED BY job_dead_since WHERE i.tenant = ");
        query.push_bind(self.filter.tenant.clone()).push(" AND i.state = 'dead'");
        self.queue(&mut query);
        self.kind(&mut query);
        self.others(&mut query);
        self.newest(&mut query);
        query
    }

    /// Through the streams of the index that begins with what is fixed.
    pub(super) fn streams(&self) -> Result<Query> {
        let whole = self.filter.only_batch().is_none();
        let columns = if whole { "queue, kind" } else { "kind" };
        let of = |row: &str| format!("{row}.{}", columns.replace(' ', &format!(" {row}.")));
        let mut query = Query::new("WITH RECURSIVE w (state) AS (SELECT value FROM json_each(");
        query.push_bind(check::json(&self.filter.stream_states())?).push(")), stream (state, ").push(columns);
        query.push(") AS (SELECT n.state, ").push(of("n")).push(" FROM w CROSS JOIN job n ON n.id = ");
        self.first(&mut query, "i.state = w.state", &of("i"));
        query.push(" UNION ALL SELECT n.state, ").push(of("n"));
        query.push(" FROM stream s CROSS JOIN job n ON n.id = coalesce(");
        // Each column has a search of its own, as the streams of claims have.
        if whole {
            self.first(&mut query, "i.state = s.state AND i.queue = s.queue AND i.kind > s.kind", &of("i"));
            query.push(", ");
            self.first(&mut query, "i.state = s.state AND i.queue > s.queue", &of("i"));
        } else {
            self.first(&mut query, "i.state = s.state AND i.kind > s.kind", &of("i"));
            query.push(", NULL");
        }
        query.push("))").push(COLUMNS).push("SELECT n.id FROM stream s CROSS JOIN job n WHERE ");
        if let Some(kind) = self.filter.only_kind() {
            query.push("s.kind = ").push_bind(kind.to_owned()).push(" AND ");
        }
        query.push("n.id IN (SELECT i.id FROM ");
        self.fixed(&mut query);
        query.push(" AND i.state = s.state AND i.kind = s.kind");
        if whole {
            query.push(" AND i.queue = s.queue");
        } else {
            query.push(" AND i.tenant = ").push_bind(self.filter.tenant.clone());
            self.queue(&mut query);
            self.key(&mut query);
        }
        self.others(&mut query);
        query.push(" ORDER BY i.id DESC LIMIT ").push_bind(self.rows).push(")");
        self.running(&mut query);
        self.newest(&mut query);
        Ok(query)
    }

    /// The first job of the first stream that fulfils a condition.
    fn first(&self, query: &mut Query, condition: &str, order: &str) {
        query.push("(SELECT i.id FROM ");
        self.fixed(query);
        query.push(" AND ").push(condition).push(" ORDER BY ").push(order).push(" LIMIT 1)");
    }

    /// The table and what its index begins with.
    fn fixed(&self, query: &mut Query) {
        if let Some(batch) = self.filter.only_batch() {
            query.push("job i INDEXED BY job_in_batch WHERE i.batch_id = ").push_bind(batch.0);
            return;
        }
        let index = if self.filter.only_key().is_some() { "job_of_key" } else { "job_listed" };
        query.push("job i INDEXED BY ").push(index).push(" WHERE i.state <> 'running' AND i.tenant = ");
        query.push_bind(self.filter.tenant.clone());
        self.key(query);
        self.queue(query);
    }

    /// Those that run, unless they are in the streams.
    fn running(&self, query: &mut Query) {
        let asked = self.filter.wants(JobState::Running);
        if self.filter.only_batch().is_some() || !asked {
            return;
        }
        query
            .push(" UNION ALL SELECT id FROM (SELECT i.id FROM job i INDEXED BY job_running WHERE i.state = 'running'");
        query.push(" AND i.tenant = ").push_bind(self.filter.tenant.clone());
        self.key(query);
        self.queue(query);
        self.kind(query);
        self.others(query);
        query.push(" ORDER BY i.id DESC LIMIT ").push_bind(self.rows).push(")");
    }

    fn queue(&self, query: &mut Query) {
        if let Some(queue) = self.filter.only_queue() {
            query.push(" AND i.queue = ").push_bind(queue.to_owned());
        }
    }

    fn kind(&self, query: &mut Query) {
        if let Some(kind) = self.filter.only_kind() {
            query.push(" AND i.kind = ").push_bind(kind.to_owned());
        }
    }

    fn key(&self, query: &mut Query) {
        if let Some(key) = self.filter.only_key() {
            query.push(" AND i.key = ").push_bind(key.to_owned());
        }
    }

    /// What the other indexes do not know.
    fn others(&self, query: &mut Query) {
        if let Some(error) = &self.filter.error {
            query.push(" AND instr(lower(i.error), lower(").push_bind(error.clone()).push(")) > 0");
        }
        if let Some(since) = self.filter.since {
            query.push(" AND i.finished_at >= ").push_bind(since.timestamp_micros());
        }
        if let Some(after) = self.after {
            query.push(" AND i.id < ").push_bind(after);
        }
        asked(query, conditions(&self.filter.query, "i", "instr", &[Key::State]));
    }

    /// The newest of all that were found.
    fn newest(&self, query: &mut Query) {
        query.push(") ORDER BY id DESC LIMIT ").push_bind(self.rows).push(") ORDER BY id DESC");
    }
}
