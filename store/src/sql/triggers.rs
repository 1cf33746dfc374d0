//! Events that start runs.

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;

use super::{Columns, Creating, Sql, events, ticks, values};
use crate::error::{Result, StoreError};
use crate::triggers::{self, BatchEnded, EventRow, Follower};
use crate::{Dispatched, NewEvent, NotedEvent, TickOutcome};

const INSERT: &str = "
INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, tries, job_id, active, reason,
    decided_at, started_at, event, about)
VALUES ($1, $2, $3, 'tick', $4, $5, $6, $7, $8, $7::bigint = 1, $9, now(), CASE WHEN $7::bigint = 1 THEN now() END, $10, $11)
ON CONFLICT DO NOTHING";

const FOLLOWERS: &str = "
SELECT s.tenant, s.name, s.spec, s.enabled, b.name AS batch, b.generation, b.state,
       COALESCE(t.from_at, b.created_at) AS from_at, COALESCE(t.to_at, now()) AS to_at
FROM batch b JOIN schedule s ON s.tenant = b.tenant AND s.follows = b.name
LEFT JOIN schedule_tick t ON t.batch_id = b.id
WHERE b.id = $1 AND s.decided_at <= now() ORDER BY s.name";

/// Records an event, once, and enqueues its job; the caller knows what may be published.
pub(crate) async fn note<S: Creating>(sql: &mut S, event: &NewEvent) -> Result<NotedEvent, S::Fault> {
    let now = sql.now().await?;
    let row = triggers::given(event, now)?;
    let fresh = insert(sql, &row, now).await?;
    if fresh && let Some(job) = &event.job {
        sql.enqueue(std::slice::from_ref(job)).await?;
    }
    if fresh {
        let (subject, data) = triggers::received(event);
        events::own::report(sql, &event.tenant, OwnType::TriggerReceived, subject, data).await?;
    }
    let missing = || StoreError::Database(format!("the event `{}` is not in the ledger", row.event));
    let tick = ticks::view(&find(sql, &row).await?.ok_or_else(missing)?)?;
    Ok(NotedEvent { fresh, tick, dispatched: Dispatched::default() })
}

/// Schedules that follow a batch which has just ended are in the ledger with its end, in the same transaction.
pub(crate) async fn batch_ended<S: Sql>(sql: &mut S, batch: BatchId, state: BatchState) -> Result<(), S::Fault> {
    events::own::batch(sql, batch, OwnType::of_end(state)).await?;
    let rows = sql.rows(FOLLOWERS, values![batch.0]).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let ended = BatchEnded {
        tenant: first.text("tenant")?,
        batch,
        name: first.text("batch")?,
        generation: first.number("generation")?,
        state: first.word("state")?,
        interval: (first.instant("from_at")?, first.instant("to_at")?),
    };
    let follower = |row: &S::Row| {
        Ok(Follower { schedule: row.text("name")?, spec: row.json("spec")?, enabled: row.flag("enabled")? })
    };
    let followers = rows.iter().map(follower).collect::<Result<Vec<_>>>()?;
    drop(rows);
    let now = sql.now().await?;
    for row in triggers::followed(&ended, &followers)? {
        insert(sql, &row, now).await?;
    }
    Ok(())
}

/// Writes the row unless its event is known. Ticks are keys too: an event whose instant is taken gets the next one.
async fn insert<S: Sql>(sql: &mut S, row: &EventRow, first: Instant) -> Result<bool, S::Fault> {
    let mut tick = first;
    loop {
        let values = values![
            &row.tenant,
            &row.schedule,
            tick,
            row.outcome.as_str(),
            row.interval.0,
            row.interval.1,
            i64::from(row.outcome == TickOutcome::Ran),
            row.job,
            row.reason,
            &row.event,
            &row.about,
        ];
        if sql.run(INSERT, values).await? > 0 {
            return Ok(true);
        }
        if find(sql, row).await?.is_some() {
            return Ok(false);
        }
        tick += TimeDelta::microseconds(1);
    }
}

async fn find<S: Sql>(sql: &mut S, row: &EventRow) -> Result<Option<S::Row>, S::Fault> {
    sql.row(ticks::EVENT, values![&row.tenant, &row.schedule, &row.event]).await
}
