//! The outbox: what was committed and waits to be published, and what is written to it again.

use std::time::Duration;

use async_trait::async_trait;

use super::SqliteStore;
use super::claim::{age, first_waiting, gaps, oldest, streams, unmanaged};
use super::error::database;
use super::row;
use super::transition::{Transition, later};
use crate::check;
use crate::error::Result;
use crate::outbox::UNPUBLISHED_MAX;
use crate::{Dispatch, Dispatched, Outbox, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

/// How many ids of a queue wait to be published; more than the limit are not counted.
const UNPUBLISHED: &str = "
    SELECT coalesce(sum(length(jobs)), 0) / 39 AS jobs FROM (
        SELECT jobs FROM outbox WHERE queue = ?1 AND purpose = 'dispatch' LIMIT ?2)";

/// The oldest of each stream of the queue, and of those the first by priority and age.
pub(super) const REDISPATCH: &str = concat!(
    "WITH RECURSIVE q (name) AS MATERIALIZED (
        SELECT ?1 WHERE EXISTS (SELECT 1 FROM queue_count c WHERE c.queue = ?1 AND c.state = 'queued' AND c.jobs > 0
            AND NOT EXISTS (SELECT 1 FROM queue p WHERE p.tenant = c.tenant AND p.name = c.queue AND p.paused))), ",
    streams!(),
    ", ",
    gaps!(),
    ", unpublished (id) AS MATERIALIZED (
        SELECT unhex(e.value, '-') FROM outbox o, json_each(o.jobs) e WHERE o.purpose = 'dispatch' AND o.queue = ?1)
    SELECT n.id, n.lane FROM stream j CROSS JOIN gap g CROSS JOIN job n
    WHERE ",
    unmanaged!(),
    " AND n.id IN ",
    oldest!(" AND NOT i.astray AND i.queued_at <= ?2 AND i.id NOT IN (SELECT id FROM unpublished)", "?3"),
    "
    ORDER BY n.lane, ",
    age!("n"),
    ", n.id LIMIT ?3"
);

#[async_trait]
impl Outbox for SqliteStore {
    async fn outbox_take(&self, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
        let waiting = "SELECT EXISTS (SELECT 1 FROM outbox)";
        if !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&self.readers).await.map_err(database)? {
            return Ok(Vec::new());
        }
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE outbox SET held_until = ?2
            WHERE id IN (SELECT id FROM outbox WHERE created_at <= ?3 AND (held_until IS NULL OR held_until <= ?1)
                         ORDER BY id LIMIT ?4)
            RETURNING id, purpose, queue, lane, jobs";
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let query =
            sqlx::query(statement).bind(t.now).bind(later(t.now, HOLD)).bind(t.now.saturating_sub(age)).bind(limit);
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

    async fn redispatch(&self, queue: &str, older_than: Duration, limit: u32) -> Result<Dispatched> {
        if !self.with_outbox {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self).await?;
        // What waits to be published is not lost. Beyond the window the relay is behind: what is lost is found when it
        // has caught up.
        let unpublished = t.row(sqlx::query(UNPUBLISHED).bind(queue.to_owned()).bind(UNPUBLISHED_MAX)).await?;
        let unpublished: i64 = unpublished.map(|row| row::get(&row, "jobs")).transpose()?.unwrap_or(0);
        if unpublished >= UNPUBLISHED_MAX {
            return Ok(Dispatched::default());
        }
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let query = sqlx::query(REDISPATCH).bind(queue.to_owned()).bind(t.now.saturating_sub(age)).bind(limit);
        for row in &t.rows(query).await? {
            t.ready(Purpose::Dispatch, queue, row::priority(row)?, row::id(row, "id")?);
            t.moved += 1;
        }
        Ok(t.commit().await?.dispatched)
    }
}
