//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::dispatch::Dispatch;
use gristmill_core::id::JobId;
use gristmill_core::job::Priority;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::PostgresStore;
use super::claim::{age, gaps, oldest, open, streams, unmanaged};
use super::connect::{look, single, transact};
use super::fault::Outcome;
use super::promote::ReadyRow;
use super::values::{big, count, from_json, seconds};
use super::work::{Work, dispatch};
use crate::error::{Result, StoreError};
use crate::sql;
use crate::{DeadLetter, Dispatched, LostJobs, Outbox, OutboxBacklog};

/// Walks the index from place to place: as many steps as there are queues with rows, times their priorities, and of each
/// its first rows. The order is written out with all columns of the index, since for the order of the ids alone the
/// planner would walk through all rows. Who takes a row is decided when it is locked.
const OUTBOX_TAKE: &str = "
WITH RECURSIVE place (purpose, queue, lane) AS (
    (SELECT purpose, queue, lane FROM outbox ORDER BY purpose, queue, lane LIMIT 1)
    UNION ALL
    SELECT next.purpose, next.queue, next.lane FROM place p CROSS JOIN LATERAL (
        SELECT o.purpose, o.queue, o.lane FROM outbox o
        WHERE (o.purpose, o.queue, o.lane) > (p.purpose, p.queue, p.lane)
        ORDER BY o.purpose, o.queue, o.lane LIMIT 1) AS next
), free AS (
    SELECT head.id FROM place p CROSS JOIN LATERAL (
        SELECT o.id, o.purpose, o.queue, o.lane, o.created_at, o.held_until,
               row_number() OVER (ORDER BY o.purpose, o.queue, o.lane, o.id) AS turn
        FROM outbox o WHERE (o.purpose, o.queue, o.lane) >= (p.purpose, p.queue, p.lane)
        ORDER BY o.purpose, o.queue, o.lane, o.id LIMIT $2) AS head
    WHERE head.purpose = p.purpose AND head.queue = p.queue AND head.lane = p.lane
      AND head.created_at <= now() - make_interval(secs => $1) AND (head.held_until IS NULL OR head.held_until < now())
    ORDER BY head.turn, head.id LIMIT $3
), taken AS (
    SELECT id FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM free)) AND (held_until IS NULL OR held_until < now())
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE outbox SET held_until = now() + interval '30 seconds' WHERE id = ANY(ARRAY(SELECT id FROM taken))
RETURNING id, purpose, queue, lane, jobs";

/// The priorities of a queue for which outbox rows have been waiting: the oldest row of each says so. Which ids they
/// hold does not matter: comparing a million of them with each job would take hours.
const WAITS: &str = "
SELECT l.lane FROM (VALUES (0::smallint), (1::smallint), (2::smallint)) AS l (lane) CROSS JOIN LATERAL (
    SELECT o.purpose, o.queue, o.lane, o.created_at FROM outbox o
    WHERE (o.purpose, o.queue, o.lane) >= ('dispatch', $1, l.lane)
    ORDER BY o.purpose, o.queue, o.lane, o.id LIMIT 1) AS head
WHERE head.purpose = 'dispatch' AND head.queue = $1 AND head.lane = l.lane
  AND head.created_at <= now() - make_interval(secs => $2)";

/// The oldest of each stream of one priority of the queue, after a job, and of those the first by age. A job of a batch is
/// as old as its batch. Nothing is locked: a job that is being claimed gets a message that comes too late.
const LOST: &str = concat!(
    "WITH ",
    streams!("ARRAY[$1]::text[]"),
    ", ",
    gaps!(),
    ", fit AS MATERIALIZED (
    SELECT j.queue, j.lane, j.kind, j.version FROM stream j WHERE j.lane = $4 AND ",
    open!(),
    "
), lost AS MATERIALIZED (
    SELECT r.id FROM fit f ",
    oldest!(
        "f",
        " AND NOT j.astray AND j.queued_at <= now() - make_interval(secs => $2)
              AND (COALESCE(j.batch_id, j.id), j.id)
                  > (COALESCE((SELECT COALESCE(a.batch_id, a.id) FROM job a WHERE a.id = $5), $5), $5)",
        "$3::bigint",
        ""
    ),
    "
    ORDER BY r.age, r.id LIMIT $3::bigint)
SELECT j.id, j.tenant, j.queue, j.lane, j.state AS was FROM job j
WHERE j.id = ANY(ARRAY(SELECT id FROM lost)) AND j.state = 'queued' ORDER BY COALESCE(j.batch_id, j.id), j.id"
);

#[async_trait]
impl Outbox for PostgresStore {
    async fn outbox_take(&self, older_than: Duration, share: u32, limit: u32) -> Result<Vec<Dispatch>> {
        transact!(self, outbox_take, (older_than, share, limit)).await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        single!(self, outbox_done, ids)
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        look!(self, outbox_backlog)
    }

    async fn redispatch(&self, queue: &str, lost: &LostJobs) -> Result<Dispatched> {
        transact!(self, redispatch, (queue, lost)).await
    }

    async fn dead_letters(&self, jobs: &[JobId]) -> Result<Vec<DeadLetter>> {
        look!(self, sql::outbox::dead_letters, jobs)
    }
}

/// Takes outbox rows and holds them for a while.
pub(super) async fn outbox_take(
    work: &mut Work<'_>,
    (older_than, share, limit): &(Duration, u32, u32),
) -> Outcome<Vec<Dispatch>> {
    let mut rows: Vec<(i64, String, String, i16, String)> = sqlx::query_as(OUTBOX_TAKE)
        .bind(seconds(*older_than))
        .bind(i64::from(*share))
        .bind(i64::from(*limit))
        .fetch_all(&mut *work.conn)
        .await?;
    rows.sort_by_key(|row| row.0);
    let read = |(id, purpose, queue, lane, jobs): (i64, String, String, i16, String)| {
        let jobs: Vec<JobId> = from_json(&jobs, &format!("outbox row {id}"))?;
        dispatch(id, &purpose, queue, lane, jobs)
    };
    Ok(rows.into_iter().map(read).collect::<Result<Vec<_>, StoreError>>()?)
}

/// Removes outbox rows.
pub(super) async fn outbox_done(conn: &mut PgConnection, ids: &[i64]) -> Outcome<()> {
    sqlx::query("DELETE FROM outbox WHERE id = ANY($1)").bind(ids).execute(conn).await?;
    Ok(())
}

/// How much waits to be published.
pub(super) async fn outbox_backlog(conn: &mut PgConnection) -> Outcome<OutboxBacklog> {
    let (rows, oldest): (i64, Option<Instant>) =
        sqlx::query_as("SELECT count(*), min(created_at) FROM outbox").fetch_one(conn).await?;
    Ok(OutboxBacklog { rows: count(rows), oldest })
}

/// Redispatches jobs. The jobs do not change: only their ids are published once more.
pub(super) async fn redispatch(work: &mut Work<'_>, (queue, lost): &(&str, &LostJobs)) -> Outcome<Dispatched> {
    if !work.with_outbox() {
        return Ok(Dispatched::default());
    }
    let waits: Vec<i16> =
        sqlx::query_scalar(WAITS).bind(queue).bind(seconds(lost.older_than)).fetch_all(&mut *work.conn).await?;
    let mut rows: Vec<ReadyRow> = Vec::new();
    for (lane, after) in places(lost).filter(|(lane, _)| !waits.contains(lane)) {
        let left = i64::from(lost.limit) - big(rows.len() as u64);
        let found: Vec<ReadyRow> = sqlx::query_as(LOST)
            .bind(queue)
            .bind(seconds(lost.older_than))
            .bind(left)
            .bind(lane)
            .bind(after)
            .fetch_all(&mut *work.conn)
            .await?;
        rows.extend(found);
    }
    for row in &rows {
        work.claimable(&row.queue, row.lane, row.id);
    }
    Ok(Dispatched { moved: rows.len() as u64, ..work.close().await? })
}

/// Where to look: each priority, from its first job or after the last one that was found.
fn places(lost: &LostJobs) -> impl Iterator<Item = (i16, Uuid)> {
    let (first, after) = lost.after.map_or((0, Uuid::nil()), |(priority, job)| (priority.rank(), job.0));
    let lanes = Priority::ALL.into_iter().map(Priority::rank).filter(move |lane| *lane >= first);
    lanes.map(move |lane| (lane, if lane == first { after } else { Uuid::nil() }))
}
