//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::dispatch::Dispatch;
use gristmill_core::id::JobId;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::claim::{age, gaps, oldest, open, streams, unmanaged};
use super::connect::{look, single, transact};
use super::fault::Outcome;
use super::promote::ReadyRow;
use super::values::{count, from_json, seconds};
use super::work::{Work, dispatch};
use crate::error::{Result, StoreError};
use crate::outbox::UNPUBLISHED_MAX;
use crate::{Dispatched, Outbox, OutboxBacklog};

const OUTBOX_TAKE: &str = "
UPDATE outbox SET held_until = now() + interval '30 seconds' WHERE id IN (
    SELECT id FROM outbox
    WHERE created_at <= now() - make_interval(secs => $1) AND (held_until IS NULL OR held_until < now())
    ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id, purpose, queue, lane, jobs";

/// How many ids of a queue wait to be published; more than the limit are not counted.
const UNPUBLISHED: &str = "
SELECT COALESCE(sum(length(jobs)), 0)::bigint / 39 FROM (
    SELECT jobs FROM outbox WHERE queue = $1 AND purpose = 'dispatch' LIMIT $2) AS o";

/// The oldest of each stream of the queue, and of those the first by priority and age. What is in the outbox is looked
/// up in memory.
const REDISPATCH: &str = concat!(
    "WITH ",
    streams!("ARRAY[$1]::text[]"),
    ", ",
    gaps!(),
    ", fit AS MATERIALIZED (
    SELECT j.queue, j.lane, j.kind, j.version FROM stream j WHERE ",
    open!(),
    "
), lost AS MATERIALIZED (
    SELECT r.id FROM fit f ",
    oldest!(
        "f",
        " AND NOT j.astray AND j.queued_at <= now() - make_interval(secs => $2)
              AND j.id NOT IN (SELECT json_array_elements_text(o.jobs::json)::uuid FROM outbox o
                               WHERE o.queue = $1 AND o.purpose = 'dispatch')",
        "$3::bigint",
        ""
    ),
    "
    ORDER BY f.lane, r.age, r.id LIMIT $3::bigint)
SELECT j.id, j.tenant, j.queue, j.lane, j.state AS was FROM job j
WHERE j.id = ANY(ARRAY(SELECT id FROM lost)) AND j.state = 'queued' ORDER BY j.lane, j.id FOR UPDATE SKIP LOCKED"
);

#[async_trait]
impl Outbox for PostgresStore {
    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        transact!(self, outbox_take, (older_than, limit)).await
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        single!(self, outbox_done, ids)
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        look!(self, outbox_backlog)
    }

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        transact!(self, redispatch, (queue, older_than, limit)).await
    }
}

/// Takes outbox rows and holds them for a while.
pub(super) async fn outbox_take(work: &mut Work<'_>, (older_than, limit): &(Duration, u32)) -> Outcome<Vec<Dispatch>> {
    let mut rows: Vec<(i64, String, String, i16, String)> = sqlx::query_as(OUTBOX_TAKE)
        .bind(seconds(*older_than))
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
pub(super) async fn redispatch(
    work: &mut Work<'_>,
    (queue, older_than, limit): &(&str, Duration, u32),
) -> Outcome<Dispatched> {
    if !work.with_outbox() {
        return Ok(Dispatched::default());
    }
    // What waits to be published is not lost. Beyond the window the relay is behind, and comparing would cost more than
    // it tells: what is lost is found when it has caught up.
    let unpublished: i64 =
        sqlx::query_scalar(UNPUBLISHED).bind(queue).bind(UNPUBLISHED_MAX).fetch_one(&mut *work.conn).await?;
    if unpublished >= UNPUBLISHED_MAX {
        return Ok(Dispatched::default());
    }
    let rows: Vec<ReadyRow> = sqlx::query_as(REDISPATCH)
        .bind(queue)
        .bind(seconds(*older_than))
        .bind(i64::from(*limit))
        .fetch_all(&mut *work.conn)
        .await?;
    for row in &rows {
        work.claimable(&row.queue, row.lane, row.id);
    }
    Ok(Dispatched { moved: rows.len() as u64, ..work.close().await? })
}
