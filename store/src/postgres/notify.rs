//! What is reported about a batch while it is under way, and what is left of its input when it has ended.

use std::time::Duration;

use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;
use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::create;
use super::fault::Outcome;
use super::values::{from_json, int, seconds};
use super::view::{BATCHES, BatchRow};
use super::work::Work;
use crate::error::StoreError;
use crate::notify::{self, Failure};
use crate::sql::batch_ends::Reported;
use crate::sql::events;
use crate::{BatchView, Dispatched};

const FIRST_FAILURE: &str = "
UPDATE batch SET told_failure = generation WHERE id = ANY($1) AND told_failure < generation
RETURNING id, tenant, definition, trace";

const QUARANTINED: &str = "
SELECT seq, position, line, stage, reason FROM quarantine
WHERE batch_id = $1 AND generation = $2 ORDER BY id LIMIT 1";

const DEAD: &str = "
SELECT seq, COALESCE(error, 'the chunk is dead') FROM job
WHERE batch_id = $1 AND state = 'dead' AND seq IS NOT NULL AND generation = $2 ORDER BY id LIMIT 1";

const LATE: &str = "
UPDATE batch SET late_at = NULL WHERE id IN (
    SELECT id FROM batch WHERE late_at <= now() ORDER BY late_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id, tenant, definition, trace";

const COPIES: &str = "
UPDATE batch SET spool = 'releasing' WHERE id IN (
    SELECT id FROM batch
    WHERE spool = 'releasing' OR (spool = 'kept' AND state IN ('complete', 'halted', 'cancelled')
          AND ((chunks_dead = 0 AND cancelled = 0) OR deleting_at IS NOT NULL OR finished_at <= now() - make_interval(secs => $1)))
    ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id, stamp";

const BATCH: &str = "SELECT id, tenant, definition, trace FROM batch WHERE id = $1";

type ToldRow = (Uuid, String, String, Option<String>);

/// Reports the first failure of batches whose counts have just changed, once in each generation.
pub(super) async fn first_failures(work: &mut Work<'_>, batches: &[Uuid]) -> Outcome<()> {
    if batches.is_empty() {
        return Ok(());
    }
    let rows: Vec<ToldRow> = sqlx::query_as(FIRST_FAILURE).bind(batches).fetch_all(&mut *work.conn).await?;
    for row in rows {
        events::own::batch(work, BatchId(row.0), OwnType::BatchFirstFailure).await?;
        let definition = definition(&row)?;
        if definition.on.first_failure.is_empty() {
            continue;
        }
        let Some(view) = view(work, &row).await? else { continue };
        let failure = failure(work, view.id, view.generation).await?;
        create::insert(work, &notify::first_failure(&view, &definition, row.3.as_deref(), &failure)).await?;
    }
    Ok(())
}

/// What failed first: an item that was set aside, or a chunk that died.
async fn failure(work: &mut Work<'_>, batch: BatchId, generation: u32) -> Outcome<Failure> {
    type Item = (i64, i64, Option<i64>, String, String);
    let item: Option<Item> =
        sqlx::query_as(QUARANTINED).bind(batch.0).bind(int(generation)).fetch_optional(&mut *work.conn).await?;
    if let Some((seq, position, line, stage, reason)) = item {
        return Ok(Failure { seq, position: Some(position), line, stage: Some(stage), reason });
    }
    let chunk: Option<(i64, String)> =
        sqlx::query_as(DEAD).bind(batch.0).bind(int(generation)).fetch_optional(&mut *work.conn).await?;
    Ok(chunk.map(|(seq, reason)| Failure { seq, reason, ..Failure::default() }).unwrap_or_default())
}

/// Reports batches that have not ended in time.
pub(super) async fn late(work: &mut Work<'_>, limit: &u32) -> Outcome<Dispatched> {
    let rows: Vec<ToldRow> = sqlx::query_as(LATE).bind(i64::from(*limit)).fetch_all(&mut *work.conn).await?;
    for row in rows {
        let Some(view) = view(work, &row).await? else { continue };
        // A batch of a later generation has already ended once, in time or not.
        if !view.state.is_final() && view.generation == 0 {
            events::own::batch(work, view.id, OwnType::BatchLate).await?;
            create::insert(work, &notify::late(&view, &definition(&row)?, row.3.as_deref())).await?;
        }
    }
    work.close().await
}

fn definition(row: &ToldRow) -> Result<BatchDefinition, StoreError> {
    from_json(&row.2, &format!("the definition of batch {}", row.0))
}

async fn view(work: &mut Work<'_>, row: &ToldRow) -> Outcome<Option<BatchView>> {
    let mut query = QueryBuilder::<Postgres>::new(BATCHES);
    query.push_bind(row.1.as_str()).push(" AND id = ").push_bind(row.0);
    let found: Option<BatchRow> = query.build_query_as().fetch_optional(&mut *work.conn).await?;
    Ok(found.map(BatchRow::view).transpose()?)
}

/// A batch as it is now, with what its reports are made of.
pub(super) async fn reported(work: &mut Work<'_>, batch: BatchId) -> Outcome<Option<Reported>> {
    let row: Option<ToldRow> = sqlx::query_as(BATCH).bind(batch.0).fetch_optional(&mut *work.conn).await?;
    let Some(row) = row else { return Ok(None) };
    let definition = definition(&row)?;
    let view = view(work, &row).await?;
    Ok(view.map(|view| Reported { view, definition, trace: row.3 }))
}

/// Batches whose spools may be removed.
pub(super) async fn spools(
    work: &mut Work<'_>,
    (keep, limit): &(Duration, u32),
) -> Outcome<Vec<(BatchId, SourceFingerprint)>> {
    let rows: Vec<(Uuid, String)> =
        sqlx::query_as(COPIES).bind(seconds(*keep)).bind(i64::from(*limit)).fetch_all(&mut *work.conn).await?;
    let read = |(id, stamp): (Uuid, String)| {
        let stamp = from_json(&stamp, &format!("the stamp of batch {id}"))?;
        Ok((BatchId(id), stamp))
    };
    Ok(rows.into_iter().map(read).collect::<Result<_, StoreError>>()?)
}

/// Records that the spools of a batch are removed.
pub(super) async fn spools_removed(conn: &mut PgConnection, batch: BatchId) -> Outcome<()> {
    let statement = "UPDATE batch SET spool = 'gone' WHERE id = $1 AND spool = 'releasing'";
    sqlx::query(statement).bind(batch.0).execute(conn).await?;
    Ok(())
}
