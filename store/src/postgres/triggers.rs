//! Events that start runs.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use sqlx::postgres::PgConnection;

use super::create;
use super::fault::Outcome;
use super::schedules::{self, TickRow, word};
use super::values::{from_json, plain, small};
use super::work::Work;
use crate::error::StoreError;
use crate::row;
use crate::triggers::{self, BatchEnded, EventRow, Follower};
use crate::{NewEvent, NotedEvent, TickOutcome};

const INSERT: &str = "
INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, tries, job_id, active, reason,
    decided_at, started_at, event, about)
VALUES ($1, $2, $3, 'tick', $4, $5, $6, $7::int, $8, $7::int = 1, $9, now(), CASE WHEN $7::int = 1 THEN now() END, $10, $11)
ON CONFLICT DO NOTHING";

const FOLLOWERS: &str = "
SELECT s.tenant, s.name, s.spec, s.enabled, b.name AS batch, b.generation, b.state,
       COALESCE(t.from_at, b.created_at) AS from_at, COALESCE(t.to_at, now()) AS to_at
FROM batch b JOIN schedule s ON s.tenant = b.tenant AND s.follows = b.name
LEFT JOIN schedule_tick t ON t.batch_id = b.id
WHERE b.id = $1 AND s.decided_at <= now() ORDER BY s.name";

row! {
    struct FollowerRow {
        tenant: String,
        name: String,
        spec: String,
        enabled: bool,
        batch: String,
        generation: i32,
        state: String,
        from_at: Instant,
        to_at: Instant,
    }
}

/// Writes an event down, once, and enqueues its job.
pub(super) async fn note(work: &mut Work<'_>, event: &NewEvent) -> Outcome<NotedEvent> {
    let now: Instant = sqlx::query_scalar("SELECT now()").fetch_one(&mut *work.conn).await?;
    let row = triggers::given(event, now)?;
    let fresh = insert(work.conn, &row, now).await?;
    if fresh && let Some(job) = &event.job {
        create::insert(work, std::slice::from_ref(job)).await?;
    }
    let dispatched = work.close().await?;
    let known = find(work.conn, &row).await?;
    let missing = || StoreError::Database(format!("the event `{}` is not in the ledger", row.event));
    Ok(NotedEvent { fresh, tick: known.ok_or_else(missing)?.view()?, dispatched })
}

/// What follows a batch that has just ended is in the ledger with its end, in the same transaction.
pub(super) async fn batch_ended(work: &mut Work<'_>, batch: BatchId) -> Outcome<()> {
    let rows: Vec<FollowerRow> = sqlx::query_as(FOLLOWERS).bind(batch.0).fetch_all(&mut *work.conn).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let ended = BatchEnded {
        tenant: first.tenant.clone(),
        batch,
        name: first.batch.clone(),
        generation: small(first.generation),
        state: word(&first.state)?,
        interval: (first.from_at, first.to_at),
    };
    let follower = |row: FollowerRow| -> Result<Follower, StoreError> {
        let spec = from_json(&row.spec, &format!("the schedule `{}`", row.name))?;
        Ok(Follower { schedule: row.name, spec, enabled: row.enabled })
    };
    let followers = rows.into_iter().map(follower).collect::<Result<Vec<_>, _>>()?;
    let now: Instant = sqlx::query_scalar("SELECT now()").fetch_one(&mut *work.conn).await?;
    for row in triggers::followed(&ended, &followers)? {
        insert(work.conn, &row, now).await?;
    }
    Ok(())
}

/// Writes the row unless its event is known. Ticks are keys too: an event whose instant is taken has the next one.
async fn insert(conn: &mut PgConnection, row: &EventRow, first: Instant) -> Outcome<bool> {
    let mut tick = first;
    loop {
        let query = sqlx::query(INSERT)
            .bind(plain(&row.tenant))
            .bind(plain(&row.schedule))
            .bind(tick)
            .bind(row.outcome.as_str())
            .bind(row.interval.0)
            .bind(row.interval.1)
            .bind(i32::from(row.outcome == TickOutcome::Ran))
            .bind(row.job)
            .bind(row.reason)
            .bind(row.event.as_str())
            .bind(row.about.as_str());
        if query.execute(&mut *conn).await?.rows_affected() > 0 {
            return Ok(true);
        }
        if find(conn, row).await?.is_some() {
            return Ok(false);
        }
        tick += TimeDelta::microseconds(1);
    }
}

async fn find(conn: &mut PgConnection, row: &EventRow) -> Outcome<Option<TickRow>> {
    let query =
        sqlx::query_as(schedules::EVENT).bind(plain(&row.tenant)).bind(plain(&row.schedule)).bind(row.event.as_str());
    Ok(query.fetch_optional(conn).await?)
}
