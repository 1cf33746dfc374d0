//! Lists of jobs, newest first: whatever is asked for, an index has it in order.
//!
//! An index begins with what is fixed (the tenant, a key, a batch), and continues with the state, the queue and the kind
//! before the id. So it consists of streams, one for each state, queue and kind, each in the order of the ids. A list
//! steps from stream to stream, which are few whatever the number of jobs, takes the newest of each that is asked for,
//! and of those the newest. What runs is in none of these indexes, since it would have to leave them again at once; it
//! is little, and has an index of its own.

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId, WorkerId};
use gristmill_core::job::JobState;
use gristmill_core::query::Key;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::fault::Outcome;
use super::values::{count, plain, small, state_of};
use super::work::priority_of;
use crate::error::{Result, StoreError};
use crate::row;
use crate::sql::conditions::{Piece, conditions};
use crate::views::{RECENT_MAX, shown};
use crate::{JobFilter, JobView, Page};

/// The columns of a list; a single job has its payload in addition.
const COLUMNS: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.key, j.kind, j.version, j.state, j.attempt, j.max_attempts, j.snoozes, j.batch_id,
       j.seq, j.generation, j.items, NULL::text AS payload, j.output, j.error, j.worker_id, j.created_at, j.run_at,
       j.started_at, j.finished_at
FROM job j WHERE j.id = ANY(ARRAY(SELECT id FROM (";

row! {
    pub(super) struct JobRow {
        id: Uuid,
        tenant: String,
        queue: String,
        lane: i16,
        key: Option<String>,
        kind: String,
        version: i32,
        state: String,
        attempt: i32,
        max_attempts: i32,
        snoozes: i32,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        generation: i32,
        items: i64,
        payload: Option<String>,
        output: Option<String>,
        error: Option<String>,
        worker_id: Option<Uuid>,
        created_at: Instant,
        run_at: Option<Instant>,
        started_at: Option<Instant>,
        finished_at: Option<Instant>,
    }
}

impl JobRow {
    pub(super) fn view(self) -> Result<JobView, StoreError> {
        Ok(JobView {
            id: JobId(self.id),
            priority: priority_of(self.lane)?,
            state: state_of(&self.state)?,
            payload: self.payload.map(shown).unwrap_or_default(),
            output: self.output.map(shown),
            tenant: self.tenant,
            queue: self.queue,
            key: self.key,
            kind: self.kind,
            version: small(self.version),
            attempt: small(self.attempt),
            max_attempts: small(self.max_attempts),
            snoozes: small(self.snoozes),
            batch: self.batch_id.map(BatchId),
            seq: self.seq,
            generation: small(self.generation),
            items: count(self.items),
            error: self.error,
            worker: self.worker_id.map(WorkerId),
            created_at: self.created_at,
            run_at: self.run_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            attempts: Vec::new(),
        })
    }
}

type Query = QueryBuilder<Postgres>;

/// Jobs, newest first.
pub(super) async fn jobs(conn: &mut PgConnection, filter: &JobFilter, page: &Page) -> Outcome<Vec<JobView>> {
    let after = page.after_id()?;
    let list = List { filter, after, rows: i64::from(page.rows()) };
    let mut query = if filter.is_recent() && few_recent(conn, filter).await? { list.recent() } else { list.streams() };
    let rows: Vec<JobRow> = query.build_query_as().fetch_all(conn).await?;
    Ok(rows.into_iter().map(JobRow::view).collect::<Result<_, StoreError>>()?)
}

/// The first chunks of a batch in each state, through the index of its jobs.
const FIRST_CHUNKS: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.key, j.kind, j.version, j.state, j.attempt, j.max_attempts, j.snoozes, j.batch_id,
       j.seq, j.generation, j.items, NULL::text AS payload, NULL::text AS output, j.error, j.worker_id, j.created_at, j.run_at,
       j.started_at, j.finished_at
FROM unnest($2::text[]) AS s (state) CROSS JOIN LATERAL (
    SELECT i.* FROM job i WHERE i.batch_id = $1 AND i.state = s.state AND i.kind = 'chunk' ORDER BY i.id LIMIT $3) AS j";

/// The first chunks of a batch in each of these states.
pub(super) async fn first_chunks(
    conn: &mut PgConnection,
    batch: BatchId,
    states: &[JobState],
    each: u32,
) -> Outcome<Vec<JobView>> {
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let query = sqlx::query_as(FIRST_CHUNKS).bind(batch.0).bind(states).bind(i64::from(each));
    let rows: Vec<JobRow> = query.fetch_all(conn).await?;
    Ok(rows.into_iter().map(JobRow::view).collect::<Result<_, StoreError>>()?)
}

/// Whether so few have died since the time that is asked for that all of them can be read.
async fn few_recent(conn: &mut PgConnection, filter: &JobFilter) -> Outcome<bool> {
    let mut query = Query::new("SELECT count(*) FROM (SELECT 1 FROM job j WHERE j.tenant = ");
    query.push_bind(plain(&filter.tenant).into_owned()).push(" AND j.state = 'dead' AND j.finished_at >= ");
    query.push_bind(filter.since).push(" LIMIT ").push_bind(RECENT_MAX).push(") AS recent");
    let found: i64 = query.build_query_scalar().fetch_one(conn).await?;
    Ok(found < RECENT_MAX)
}

/// Adds the conditions of a query.
pub(super) fn asked(query: &mut Query, conditions: Vec<Piece>) {
    for piece in conditions {
        match piece {
            Piece::Sql(text) => drop(query.push(text)),
            Piece::Text(text) => drop(query.push_bind(plain(&text).into_owned())),
            Piece::Number(number) => drop(query.push_bind(number)),
            Piece::At(at) => drop(query.push_bind(at)),
            Piece::Id(id) => drop(query.push_bind(id)),
        }
    }
}

/// What is asked for.
pub(super) struct List<'a> {
    pub(super) filter: &'a JobFilter,
    pub(super) after: Option<Uuid>,
    pub(super) rows: i64,
}

impl List<'_> {
    /// Through the index of dead letters by time.
    pub(super) fn recent(&self) -> Query {
        let mut query = Query::new(COLUMNS);
        query.push("SELECT j.id FROM job j WHERE j.tenant = ").push_bind(plain(&self.filter.tenant).into_owned());
        query.push(" AND j.state = 'dead' AND j.finished_at >= ").push_bind(self.filter.since);
        self.queue_and_kind(&mut query);
        self.others(&mut query);
        // Without it the order and the limit would reach in here, and the whole table might be walked in that order.
        query.push(" OFFSET 0");
        self.newest(&mut query);
        query
    }

    /// Through the streams of the index that begins with what is fixed.
    pub(super) fn streams(&self) -> Query {
        let columns = if self.filter.only_batch().is_some() { "kind" } else { "queue, kind" };
        let mut query = Query::new("WITH RECURSIVE stream (state, ");
        query.push(columns).push(") AS (SELECT h.* FROM unnest(").push_bind(self.filter.stream_states());
        query.push(") AS w (state) CROSS JOIN LATERAL (SELECT j.state, j.").push(columns.replace(' ', " j."));
        query.push(" FROM job j WHERE ");
        self.fixed(&mut query);
        query.push(" AND j.state = w.state ORDER BY ").push(columns).push(" LIMIT 1) AS h UNION ALL SELECT n.* ");
        query.push("FROM stream s CROSS JOIN LATERAL (SELECT j.state, j.").push(columns.replace(' ', " j."));
        query.push(" FROM job j WHERE ");
        self.fixed(&mut query);
        query.push(" AND j.state = s.state AND ");
        query.push(if self.filter.only_batch().is_some() {
            "j.kind > s.kind"
        } else {
            "(j.queue, j.kind) > (s.queue, s.kind)"
        });
        query.push(" ORDER BY ").push(columns).push(" LIMIT 1) AS n)").push(COLUMNS);
        query.push("SELECT r.id FROM stream s CROSS JOIN LATERAL (SELECT j.id FROM job j WHERE ");
        self.fixed(&mut query);
        query.push(" AND j.state = s.state AND j.kind = s.kind");
        if self.filter.only_batch().is_some() {
            query.push(" AND j.tenant = ").push_bind(plain(&self.filter.tenant).into_owned());
            self.queue(&mut query);
            self.key(&mut query);
        } else {
            query.push(" AND j.queue = s.queue");
        }
        self.others(&mut query);
        query.push(" ORDER BY j.id DESC LIMIT ").push_bind(self.rows).push(") AS r");
        if let Some(kind) = self.filter.only_kind() {
            query.push(" WHERE s.kind = ").push_bind(plain(kind).into_owned());
        }
        self.running(&mut query);
        self.newest(&mut query);
        query
    }

    /// What an index begins with.
    fn fixed(&self, query: &mut Query) {
        if let Some(batch) = self.filter.only_batch() {
            query.push("j.batch_id = ").push_bind(batch.0);
            return;
        }
        query.push("j.tenant = ").push_bind(plain(&self.filter.tenant).into_owned()).push(" AND j.state <> 'running'");
        self.key(query);
        self.queue(query);
    }

    /// Those that run, unless they are in the streams.
    fn running(&self, query: &mut Query) {
        let asked = self.filter.wants(JobState::Running);
        if self.filter.only_batch().is_some() || !asked {
            return;
        }
        query.push(" UNION ALL (SELECT j.id FROM (SELECT * FROM job WHERE state = 'running' ORDER BY worker_id) AS j");
        query.push(" WHERE j.tenant = ").push_bind(plain(&self.filter.tenant).into_owned());
        self.key(query);
        self.queue_and_kind(query);
        self.others(query);
        query.push(" ORDER BY j.id DESC LIMIT ").push_bind(self.rows).push(")");
    }

    fn queue_and_kind(&self, query: &mut Query) {
        self.queue(query);
        if let Some(kind) = self.filter.only_kind() {
            query.push(" AND j.kind = ").push_bind(plain(kind).into_owned());
        }
    }

    fn queue(&self, query: &mut Query) {
        if let Some(queue) = self.filter.only_queue() {
            query.push(" AND j.queue = ").push_bind(plain(queue).into_owned());
        }
    }

    fn key(&self, query: &mut Query) {
        if let Some(key) = self.filter.only_key() {
            query.push(" AND j.key = ").push_bind(plain(key).into_owned());
        }
    }

    /// What no index knows.
    fn others(&self, query: &mut Query) {
        if let Some(error) = &self.filter.error {
            query.push(" AND strpos(lower(j.error), lower(").push_bind(plain(error).into_owned()).push(")) > 0");
        }
        if let Some(since) = self.filter.since {
            query.push(" AND j.finished_at >= ").push_bind(since);
        }
        if let Some(after) = self.after {
            query.push(" AND j.id < ").push_bind(after);
        }
        asked(query, conditions(&self.filter.query, "j", "strpos", &[Key::State]));
    }

    /// The newest of all that were found.
    fn newest(&self, query: &mut Query) {
        query.push(") AS found ORDER BY id DESC LIMIT ").push_bind(self.rows).push(")) ORDER BY j.id DESC");
    }
}
