//! Events that start runs: the mirror of PostgreSQL's.

use async_trait::async_trait;
use gristmill_core::id::BatchId;
use sqlx::sqlite::SqliteRow;

use super::schedules::tick_view;
use super::transition::{Transition, micros};
use super::{SqliteStore, insert, row};
use crate::error::{Result, StoreError};
use crate::triggers::{self, BatchEnded, EventRow, Follower};
use crate::{NewEvent, NotedEvent, TickOutcome, Triggers};

#[async_trait]
impl Triggers for SqliteStore {
    async fn note_event(&self, event: &NewEvent) -> Result<NotedEvent> {
        let mut t = Transition::begin(self).await?;
        let row = triggers::given(event, row::at(t.now, "now")?)?;
        let fresh = write(&mut t, &row).await?;
        if fresh && let Some(job) = &event.job {
            insert::new_jobs(&mut t, std::slice::from_ref(job)).await?;
        }
        let missing = || StoreError::Database(format!("the event `{}` is not in the ledger", row.event));
        let tick = tick_view(&find(&mut t, &row).await?.ok_or_else(missing)?)?;
        Ok(NotedEvent { fresh, tick, dispatched: t.commit().await?.dispatched })
    }
}

/// What follows a batch that has just ended is in the ledger with its end, in the same transaction.
pub(super) async fn batch_ended(t: &mut Transition<'_>, batch: BatchId) -> Result<()> {
    let statement = "
        SELECT s.tenant, s.name, s.spec, s.enabled, b.name AS batch, b.generation, b.state,
               coalesce(t.from_at, b.created_at) AS from_at, coalesce(t.to_at, ?2) AS to_at
        FROM batch b JOIN schedule s ON s.tenant = b.tenant AND s.follows = b.name
        LEFT JOIN schedule_tick t ON t.batch_id = b.id
        WHERE b.id = ?1 AND s.decided_at <= ?2 ORDER BY s.name";
    let now = t.now;
    let rows = t.rows(sqlx::query(statement).bind(batch.0).bind(now)).await?;
    let Some(first) = rows.first() else { return Ok(()) };
    let ended = BatchEnded {
        tenant: row::get(first, "tenant")?,
        batch,
        name: row::get(first, "batch")?,
        generation: row::number(first, "generation")?,
        state: row::word(first, "state")?,
        interval: (row::instant(first, "from_at")?, row::instant(first, "to_at")?),
    };
    let follower = |row: &SqliteRow| {
        let enabled = row::flag(row, "enabled")?;
        Ok(Follower { schedule: row::get(row, "name")?, spec: row::json(row, "spec")?, enabled })
    };
    let followers = rows.iter().map(follower).collect::<Result<Vec<_>>>()?;
    for row in triggers::followed(&ended, &followers)? {
        write(t, &row).await?;
    }
    Ok(())
}

/// Writes the row unless its event is known. Ticks are keys too: an event whose instant is taken has the next one.
async fn write(t: &mut Transition<'_>, row: &EventRow) -> Result<bool> {
    let statement = "
        INSERT INTO schedule_tick (tenant, schedule, tick, cause, outcome, from_at, to_at, tries, job_id, active, reason,
            decided_at, started_at, event, about)
        VALUES (?1, ?2, ?3, 'tick', ?4, ?5, ?6, ?7, ?8, ?7, ?9, ?12, CASE WHEN ?7 THEN ?12 END, ?10, ?11)
        ON CONFLICT DO NOTHING";
    let now = t.now;
    let mut tick = now;
    loop {
        let query = sqlx::query(statement)
            .bind(row.tenant.clone())
            .bind(row.schedule.clone())
            .bind(tick)
            .bind(row.outcome.as_str())
            .bind(micros(row.interval.0))
            .bind(micros(row.interval.1))
            .bind(row.outcome == TickOutcome::Ran)
            .bind(row.job)
            .bind(row.reason)
            .bind(row.event.clone())
            .bind(row.about.clone())
            .bind(now);
        if t.run(query).await? > 0 {
            return Ok(true);
        }
        if find(t, row).await?.is_some() {
            return Ok(false);
        }
        tick += 1;
    }
}

async fn find(t: &mut Transition<'_>, row: &EventRow) -> Result<Option<SqliteRow>> {
    let statement = "SELECT * FROM schedule_tick WHERE tenant = ?1 AND schedule = ?2 AND event = ?3";
    let query = sqlx::query(statement).bind(row.tenant.clone()).bind(row.schedule.clone()).bind(row.event.clone());
    t.row(query).await
}
