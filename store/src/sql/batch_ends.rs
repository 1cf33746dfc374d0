//! Ends of batches that no aggregate declares: its aggregate is dead, or an operator has cancelled the batch. Each
//! reports itself in the transaction that causes it, as the end that an aggregate declares does.

use gristmill_core::batch::BatchState;
use gristmill_core::callback::Event;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use uuid::Uuid;

use super::{Columns, Creating, events, triggers, values};
use crate::error::Result;
use crate::{BatchView, check, notify};

/// Of the jobs that have just died those that aggregate a batch.
const AGGREGATES: &str = "
SELECT batch_id, generation, COALESCE(error, 'its last attempt left no message') AS error FROM job
WHERE id IN (SELECT CAST(value AS uuid) FROM json_array_elements_text($1::json))
  AND kind = 'aggregate' AND state = 'dead' AND batch_id IS NOT NULL ORDER BY batch_id";

const HALT: &str = "
UPDATE batch SET state = 'halted', aggregate_error = $3, finished_at = now()
WHERE id = $1 AND state = 'aggregating' AND generation = $2";

/// A dead aggregate is of no use in a later generation, which has an aggregate of its own.
const SUPERSEDE: &str = "
UPDATE job SET state = 'cancelled' WHERE batch_id = $1 AND kind = 'aggregate' AND state = 'dead'
RETURNING tenant, queue";

/// What the reports on a batch are made of.
pub(crate) struct Reported {
    pub(crate) view: BatchView,
    pub(crate) definition: BatchDefinition,
    pub(crate) trace: Option<String>,
}

/// Ends the batches whose aggregates have just died.
pub(crate) async fn aggregates_died<S: Creating>(sql: &mut S, dead: &[Uuid]) -> Result<(), S::Fault> {
    if dead.is_empty() {
        return Ok(());
    }
    let rows = sql.rows(AGGREGATES, values![check::json(&dead)?]).await?;
    let read = |row: &S::Row| Ok((row.id("batch_id")?, row.number("generation")?, row.text("error")?));
    let died: Vec<(BatchId, u32, String)> = rows.iter().map(read).collect::<Result<_>>()?;
    drop(rows);
    for (batch, generation, error) in died {
        halt(sql, batch, generation, &error).await?;
    }
    Ok(())
}

/// Ends a batch whose aggregate is dead: guarded by its state and its generation. Returns whether it was ended.
pub(crate) async fn halt<S: Creating>(
    sql: &mut S,
    batch: BatchId,
    generation: u32,
    error: &str,
) -> Result<bool, S::Fault> {
    let error = check::plain(error, check::REASON_CHARS_MAX);
    let halted = sql.run(HALT, values![batch.0, generation, error]).await? > 0;
    if halted {
        triggers::batch_ended(sql, batch, BatchState::Halted).await?;
        report(sql, batch, &[Event::Halted, Event::Settled]).await?;
    }
    Ok(halted)
}

/// Reports a batch that has just been cancelled.
pub(crate) async fn cancelled<S: Creating>(sql: &mut S, batch: BatchId) -> Result<(), S::Fault> {
    events::own::batch(sql, batch, OwnType::BatchCancelled).await?;
    report(sql, batch, &[Event::Cancelled]).await
}

/// The dead aggregates of a batch whose next generation begins become `cancelled`.
pub(crate) async fn supersede<S: Creating>(sql: &mut S, batch: BatchId) -> Result<(), S::Fault> {
    let rows = sql.rows(SUPERSEDE, values![batch.0]).await?;
    let read = |row: &S::Row| Ok((row.text("tenant")?, row.text("queue")?));
    let superseded: Vec<(String, String)> = rows.iter().map(read).collect::<Result<_>>()?;
    drop(rows);
    for (tenant, queue) in superseded {
        sql.count_moved(&tenant, &queue, JobState::Dead, JobState::Cancelled);
    }
    Ok(())
}

async fn report<S: Creating>(sql: &mut S, batch: BatchId, events: &[Event]) -> Result<(), S::Fault> {
    let Some(Reported { view, definition, trace }) = sql.reported(batch).await? else { return Ok(()) };
    for event in events {
        let jobs = notify::ended(*event, &view, &definition, trace.as_deref());
        sql.enqueue(&jobs).await?;
    }
    Ok(())
}
