//! Redispatch, promote and the outbox: what the scheduler looks after.

use std::time::Duration;

use gristmill_core::job::JobState;
use sqlx::sqlite::SqliteRow;

use super::claim::{let_go, unmanaged};
use super::row::{self, moved_columns};
use super::transition::{Transition, later};
use super::{SqliteStore, error};
use crate::check;
use crate::error::Result;
use crate::{Dispatch, Dispatched, OutboxBacklog, Purpose};

/// How long a taken outbox row is held.
const HOLD: Duration = Duration::from_secs(30);

pub(super) async fn promote(store: &SqliteStore, limit: u32) -> Result<Dispatched> {
    let due = "SELECT EXISTS (SELECT 1 FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= ?1)";
    let now = store.now_micros().await?;
    let due: bool = sqlx::query_scalar(due).bind(now).fetch_one(&store.readers).await.map_err(error::database)?;
    if !due {
        return Ok(Dispatched::default());
    }
    let mut t = Transition::begin(store).await?;
    let statement = concat!(
        "SELECT state, ",
        moved_columns!(),
        " FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2"
    );
    let found = t.rows(sqlx::query(statement).bind(t.now).bind(limit)).await?;
    queue_again(&mut t, &found).await?;
    Ok(t.commit().await?.dispatched)
}

/// Makes jobs `queued` that wait for a time. The rows have the columns of [`moved_columns`] and `state`.
pub(super) async fn queue_again(t: &mut Transition<'_>, found: &[SqliteRow]) -> Result<()> {
    let mut ids = Vec::with_capacity(found.len());
    for row in found {
        let job = row::moved(row)?;
        t.moved(&job, row::word(row, "state")?, JobState::Queued);
        ids.push(job.id);
    }
    let statement = "
        UPDATE job SET state = 'queued', queued_at = ?2, run_at = NULL
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(&ids)?).bind(t.now)).await?;
    Ok(())
}

pub(super) async fn outbox_take(store: &SqliteStore, older_than: Duration, limit: u32) -> Result<Vec<Dispatch>> {
    let waiting = "SELECT EXISTS (SELECT 1 FROM outbox)";
    if !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&store.readers).await.map_err(error::database)? {
        return Ok(Vec::new());
    }
    let mut t = Transition::begin(store).await?;
    let statement = "
        UPDATE outbox SET held_until = ?2
        WHERE id IN (SELECT id FROM outbox WHERE created_at <= ?3 AND (held_until IS NULL OR held_until <= ?1)
                     ORDER BY id LIMIT ?4)
        RETURNING id, purpose, queue, lane, jobs";
    let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
    let query = sqlx::query(statement).bind(t.now).bind(later(t.now, HOLD)).bind(t.now.saturating_sub(age)).bind(limit);
    let rows = t.rows(query).await?;
    let mut taken: Vec<Dispatch> = rows.iter().map(row::dispatch).collect::<Result<_>>()?;
    taken.sort_by_key(|dispatch| dispatch.outbox);
    t.commit().await?;
    Ok(taken)
}

pub(super) async fn outbox_done(store: &SqliteStore, ids: &[i64]) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut t = Transition::begin(store).await?;
    let statement = "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?1))";
    t.run(sqlx::query(statement).bind(check::json(ids)?)).await?;
    t.commit().await?;
    Ok(())
}

pub(super) async fn outbox_backlog(store: &SqliteStore) -> Result<OutboxBacklog> {
    let statement = "SELECT count(*) AS rows_, min(created_at) AS oldest FROM outbox";
    let row = sqlx::query(statement).fetch_one(&store.readers).await.map_err(error::database)?;
    Ok(OutboxBacklog { rows: row::number(&row, "rows_")?, oldest: row::maybe_instant(&row, "oldest")? })
}

pub(super) async fn redispatch(
    store: &SqliteStore,
    queue: &str,
    older_than: Duration,
    limit: u32,
) -> Result<Dispatched> {
    if !store.with_outbox {
        return Ok(Dispatched::default());
    }
    let mut t = Transition::begin(store).await?;
    let statement = concat!(
        "SELECT j.id, j.lane FROM job j
         WHERE j.state = 'queued' AND NOT j.astray AND j.queue = ?1 AND j.queued_at <= ?2 AND ",
        let_go!(),
        " AND ",
        unmanaged!(),
        " AND j.id NOT IN (SELECT unhex(e.value, '-') FROM outbox o, json_each(o.jobs) e
                           WHERE o.purpose = 'dispatch' AND o.queue = ?1)
        ORDER BY j.lane, j.id LIMIT ?3"
    );
    let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
    let query = sqlx::query(statement).bind(queue.to_owned()).bind(t.now.saturating_sub(age)).bind(limit);
    for row in &t.rows(query).await? {
        t.ready(Purpose::Dispatch, queue, row::priority(row)?, row::id(row, "id")?);
        t.moved += 1;
    }
    Ok(t.commit().await?.dispatched)
}
