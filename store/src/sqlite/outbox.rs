//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::JobId;
use uuid::Uuid;

use super::SqliteStore;
use super::claim::{age, first_waiting, gaps, oldest, streams, unmanaged};
use super::error::database;
use super::row;
use super::sql::Reading;
use super::transition::{Transition, later};
use crate::check;
use crate::error::Result;
use crate::sql;
use crate::{DeadLetter, Dispatch, Dispatched, LostJobs, Outbox, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

/// The oldest of each stream of the queue, after a job, and of those the first by priority and age. Of a priority for
/// which outbox rows have been waiting none are taken: these are published first.
pub(super) const REDISPATCH: &str = concat!(
    "WITH RECURSIVE waits (lane) AS MATERIALIZED (
        SELECT l.column1 FROM (VALUES (0), (1), (2)) AS l
        WHERE (SELECT o.created_at FROM outbox o
               WHERE o.purpose = 'dispatch' AND o.queue = ?1 AND o.lane = l.column1 ORDER BY o.id LIMIT 1) <= ?2),
    q (name) AS MATERIALIZED (
        SELECT ?1 WHERE EXISTS (SELECT 1 FROM queue_count c WHERE c.queue = ?1 AND c.state = 'queued' AND c.jobs > 0
            AND NOT EXISTS (SELECT 1 FROM queue p WHERE p.tenant = c.tenant AND p.name = c.queue AND p.paused))), ",
    streams!(),
    ", ",
    gaps!(),
    "
    SELECT n.id, n.lane FROM stream j CROSS JOIN gap g CROSS JOIN job n
    WHERE ",
    unmanaged!(),
    " AND j.lane NOT IN (SELECT lane FROM waits) AND n.id IN ",
    oldest!(
        concat!(
            " AND NOT i.astray AND i.queued_at <= ?2 AND (i.lane > ?4 OR (i.lane = ?4 AND (",
            age!("i"),
            ", i.id) > (coalesce((SELECT coalesce(a.batch_id, a.id) FROM job a WHERE a.id = ?5), ?5), ?5)))"
        ),
        "?3"
    ),
    "
    ORDER BY n.lane, ",
    age!("n"),
    ", n.id LIMIT ?3"
);

#[async_trait]
impl Outbox for SqliteStore {
    async fn outbox_take(&self, older_than: Duration, share: u32, limit: u32) -> Result<Vec<Dispatch>> {
        let waiting = "SELECT EXISTS (SELECT 1 FROM outbox)";
        if !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&self.readers).await.map_err(database)? {
            return Ok(Vec::new());
        }
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE outbox SET held_until = ?2
            WHERE id IN (SELECT id FROM (SELECT id, held_until,
                                                row_number() OVER (PARTITION BY purpose, queue, lane ORDER BY id) AS turn
                                         FROM outbox WHERE created_at <= ?3)
                         WHERE turn <= ?5 AND (held_until IS NULL OR held_until <= ?1)
                         ORDER BY turn, id LIMIT ?4)
            RETURNING id, purpose, queue, lane, jobs";
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let query = sqlx::query(statement).bind(t.now).bind(later(t.now, HOLD)).bind(t.now.saturating_sub(age));
        let query = query.bind(limit).bind(share);
        let rows = t.rows(query).await?;
        let mut taken: Vec<Dispatch> = rows.iter().map(row::dispatch).collect::<Result<_>>()?;
        taken.sort_by_key(|dispatch| dispatch.outbox);
        t.commit().await?;
        Ok(taken)
    }

    async fn outbox_done(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut t = Transition::begin(self).await?;
        let statement = "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?1))";
        t.run(sqlx::query(statement).bind(check::json(ids)?)).await?;
        t.commit().await?;
        Ok(())
    }

    async fn outbox_backlog(&self) -> Result<OutboxBacklog> {
        let statement = "SELECT count(*) AS rows_, min(created_at) AS oldest FROM outbox";
        let row = sqlx::query(statement).fetch_one(&self.readers).await.map_err(database)?;
        Ok(OutboxBacklog { rows: row::number(&row, "rows_")?, oldest: row::maybe_instant(&row, "oldest")? })
    }

    async fn redispatch(&self, queue: &str, lost: &LostJobs) -> Result<Dispatched> {
        if !self.with_outbox {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self).await?;
        let age = i64::try_from(lost.older_than.as_micros()).unwrap_or(i64::MAX);
        let (lane, after) = lost.after.map_or((-1, Uuid::nil()), |(priority, job)| (priority.rank(), job.0));
        let query = sqlx::query(REDISPATCH).bind(queue.to_owned()).bind(t.now.saturating_sub(age)).bind(lost.limit);
        for row in &t.rows(query.bind(lane).bind(after)).await? {
            t.ready(Purpose::Dispatch, queue, row::priority(row)?, row::id(row, "id")?);
            t.moved += 1;
        }
        Ok(t.commit().await?.dispatched)
    }

    async fn dead_letters(&self, jobs: &[JobId]) -> Result<Vec<DeadLetter>> {
        sql::outbox::dead_letters(&mut Reading(&self.readers), jobs).await
    }
}
