//! Redrives: dead letters and quarantined items get another chance, in the batch's next generation where it
//! has ended.

use std::collections::BTreeMap;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::{ChunkPayload, Slice};
use gristmill_core::definition::CHUNK_ITEMS_MAX;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::inline::{self, InlineItem};
use gristmill_core::job::{JobState, PAYLOAD_BYTES_MAX};
use sqlx::FromRow;
use uuid::Uuid;

use super::create::{self, PlanRow, no_batch};
use super::fan_in::{self, Deltas};
use super::fault::{Fault, Outcome};
use super::steer::steered;
use super::values::{big, count, from_json, plain, small};
use super::work::Work;
use crate::error::StoreError;
use crate::{GROUP_JOBS_MAX, NewChunk, QuarantineRedrive, Steered};

const DEAD: &str = "
SELECT j.id, j.tenant, j.queue, j.lane, j.batch_id, j.seq, j.items,
       j.kind = 'aggregate' AND EXISTS (SELECT 1 FROM batch b WHERE b.id = j.batch_id AND b.state = 'cancelled') AS idle
FROM job j
WHERE j.id = ANY($1) AND j.tenant = $2 AND j.state = 'dead' ORDER BY j.id FOR UPDATE OF j";

/// Only a rule by states makes a job that is queued again hold its key again.
const HOLDER: &str = "
SELECT j.id, h.id FROM job j
JOIN job h ON h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
WHERE j.id = ANY($1) AND COALESCE(j.unique_rule, '') NOT IN ('waiting', 'period') LIMIT 1";

const LOCK: &str = "SELECT state, tenant FROM batch WHERE id = $1 FOR NO KEY UPDATE";

/// What a halt has cancelled does not come back, and so its reason stays: such a batch can never be complete.
const NEXT_GENERATION: &str = "
UPDATE batch SET state = 'sealed', generation = generation + 1, halting = FALSE, result = NULL, finished_at = NULL,
       reason = CASE WHEN cancelled > 0 THEN reason END
WHERE id = $1 RETURNING generation";

const REVIVE: &str = "
UPDATE job j SET state = 'queued', max_attempts = j.max_attempts + j.granted, finished_at = NULL, run_at = NULL,
       queued_at = now(), generation = CASE WHEN j.seq IS NULL THEN j.generation ELSE b.generation END
FROM job o LEFT JOIN batch b ON b.id = o.batch_id
WHERE o.id = ANY($1) AND j.id = o.id";

const OPEN_ITEMS: &str = "
SELECT id, position, line, item FROM quarantine
WHERE batch_id = $1 AND tenant = $2 AND state = 'open' AND (cardinality($3::bigint[]) = 0 OR id = ANY($3))
ORDER BY position, id FOR UPDATE";

const NEXT_SEQ: &str = "SELECT COALESCE(max(seq) + 1, 0) FROM job WHERE batch_id = $1 AND seq IS NOT NULL";

const GROW: &str = "
UPDATE batch SET chunks = chunks + $2, remaining = remaining + $2, quarantined = quarantined - $3 WHERE id = $1";

#[derive(FromRow)]
struct DeadRow {
    id: Uuid,
    tenant: String,
    queue: String,
    lane: i16,
    batch_id: Option<Uuid>,
    seq: Option<i64>,
    items: i64,
    /// An aggregate without anything to aggregate: its batch is cancelled.
    idle: bool,
}

#[derive(FromRow)]
struct LockedBatch {
    state: String,
    tenant: String,
}

#[derive(FromRow)]
struct ItemRow {
    id: i64,
    position: i64,
    line: Option<i64>,
    item: String,
}

/// Dead letters become `queued` with as many attempts again as they had at first.
pub(super) async fn redrive_dead(work: &mut Work<'_>, (tenant, jobs): &(&str, &[JobId])) -> Outcome<Steered> {
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows: Vec<DeadRow> = sqlx::query_as(DEAD).bind(&ids).bind(plain(tenant)).fetch_all(&mut *work.conn).await?;
    let mut deltas = Deltas::new();
    for row in &rows {
        if row.idle {
            return Err(StoreError::Conflict(format!(
                "job {}: its batch is cancelled; its work cannot be redriven",
                row.id
            ))
            .into());
        }
        if let (Some(batch), Some(_)) = (row.batch_id, row.seq) {
            let delta = deltas.entry(batch).or_default();
            delta.finished -= 1;
            delta.dead -= 1;
            delta.quarantined -= row.items;
        }
    }
    refuse_held_key(work, &rows).await?;
    let generations = reopen_all(work, &deltas).await?;
    fan_in::count_down(work, &deltas).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    sqlx::query(REVIVE).bind(&ids).execute(&mut *work.conn).await.map_err(held_key)?;
    for row in &rows {
        work.moved(&row.tenant, &row.queue, JobState::Dead, JobState::Queued);
        work.claimable(&row.queue, row.lane, row.id);
    }
    let generation = generations.into_values().flatten().max();
    Ok(Steered { dispatched: work.close().await?, generation, ..steered(rows.len(), ids) })
}

async fn refuse_held_key(work: &mut Work<'_>, rows: &[DeadRow]) -> Outcome<()> {
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let held: Option<(Uuid, Uuid)> = sqlx::query_as(HOLDER).bind(ids).fetch_optional(&mut *work.conn).await?;
    match held {
        Some((job, holder)) => Err(StoreError::Conflict(format!(
            "job {job} cannot be redriven while job {holder} holds its unique key; wait for that one"
        ))
        .into()),
        None => Ok(()),
    }
}

async fn reopen_all(work: &mut Work<'_>, deltas: &Deltas) -> Outcome<BTreeMap<Uuid, Option<u32>>> {
    let mut generations = BTreeMap::new();
    for batch in deltas.keys() {
        generations.insert(*batch, reopen(work, BatchId(*batch), None).await?);
    }
    Ok(generations)
}

/// Locks a batch into which jobs go back. One that has ended opens its next generation, whose number comes
/// back.
async fn reopen(work: &mut Work<'_>, batch: BatchId, tenant: Option<&str>) -> Outcome<Option<u32>> {
    let row: Option<LockedBatch> = sqlx::query_as(LOCK).bind(batch.0).fetch_optional(&mut *work.conn).await?;
    let row = row.filter(|row| tenant.is_none_or(|tenant| tenant == row.tenant)).ok_or_else(|| no_batch(batch))?;
    let refused = |why: &str| Err(Fault::Store(StoreError::Conflict(format!("batch {batch} {why}"))));
    let state: BatchState =
        row.state.parse().map_err(|error| StoreError::Database(format!("batch {batch}: {error}")))?;
    match state {
        BatchState::Complete | BatchState::Halted => {
            let generation: i32 = sqlx::query_scalar(NEXT_GENERATION).bind(batch.0).fetch_one(&mut *work.conn).await?;
            Ok(Some(small(generation)))
        }
        BatchState::Aggregating => refused("is just aggregating; wait until it has ended"),
        BatchState::Cancelled => refused("is cancelled; nothing of it can be redriven"),
        BatchState::Open | BatchState::Sealed => Ok(None),
    }
}

/// Two of them may have the same unique key, or somebody has just taken it.
fn held_key(error: sqlx::Error) -> Fault {
    match error.as_database_error() {
        Some(refusal) if refusal.is_unique_violation() => Fault::Store(StoreError::Conflict(
            "another job that is not final holds the unique key of one of them; cancel it or wait for it".to_owned(),
        )),
        _ => Fault::Sql(error),
    }
}

/// Quarantined items become new chunks.
pub(super) async fn redrive_quarantine(
    work: &mut Work<'_>,
    (tenant, redrive): &(&str, &QuarantineRedrive),
) -> Outcome<Steered> {
    if redrive.chunk == 0 || redrive.chunk > CHUNK_ITEMS_MAX {
        let text = format!("a chunk cannot have {} items; choose 1 to {CHUNK_ITEMS_MAX}", redrive.chunk);
        return Err(StoreError::Invalid(text).into());
    }
    let batch = redrive.batch;
    let plan = PlanRow::read(work, batch).await?;
    if plan.tenant != *tenant {
        return Err(no_batch(batch).into());
    }
    let refused = [BatchState::Open, BatchState::Aggregating, BatchState::Cancelled];
    if refused.iter().any(|state| state.as_str() == plan.state) {
        let state = &plan.state;
        let text = format!("batch {batch} is {state}; its quarantine can be redriven when it is sealed or has ended");
        return Err(StoreError::Conflict(text).into());
    }
    let rows: Vec<ItemRow> = sqlx::query_as(OPEN_ITEMS)
        .bind(batch.0)
        .bind(plain(tenant))
        .bind(&redrive.items)
        .fetch_all(&mut *work.conn)
        .await?;
    if rows.is_empty() {
        return Ok(Steered::default());
    }
    let generation = reopen(work, batch, Some(tenant)).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    sqlx::query("UPDATE quarantine SET state = 'redriven' WHERE id = ANY($1)")
        .bind(&ids)
        .execute(&mut *work.conn)
        .await?;
    let chunks = add_items(work, batch, rows, redrive.chunk).await?;
    sqlx::query(GROW)
        .bind(batch.0)
        .bind(big(chunks as u64))
        .bind(big(ids.len() as u64))
        .execute(&mut *work.conn)
        .await?;
    Ok(Steered { dispatched: work.close().await?, generation, ..steered(ids.len(), ids) })
}

async fn add_items(work: &mut Work<'_>, batch: BatchId, rows: Vec<ItemRow>, chunk: u64) -> Outcome<usize> {
    let items = rows.into_iter().map(item).collect::<Result<Vec<_>, _>>()?;
    let first: i64 = sqlx::query_scalar(NEXT_SEQ).bind(batch.0).fetch_one(&mut *work.conn).await?;
    let mut payloads = Vec::new();
    for group in items.chunks(usize::try_from(chunk.max(1)).unwrap_or(usize::MAX)) {
        pack(group, &mut payloads)?;
    }
    let chunks: Vec<NewChunk> =
        (first..).zip(payloads).map(|(seq, payload)| NewChunk { id: JobId(Uuid::now_v7()), seq, payload }).collect();
    // Read again: the batch's row is locked now, and has its new generation. A halt does not reach these: it has
    // cancelled what it found, and whoever redrives does so knowingly.
    let plan = PlanRow { halting: false, ..PlanRow::read(work, batch).await? };
    for group in chunks.chunks(GROUP_JOBS_MAX) {
        create::insert_chunks(work, batch, &plan, group).await?;
    }
    Ok(chunks.len())
}

fn item(row: ItemRow) -> Result<InlineItem, StoreError> {
    Ok(InlineItem {
        position: count(row.position),
        line: row.line.map(count),
        item: from_json(&row.item, &format!("quarantined item {}", row.id))?,
    })
}

/// Packs items into one payload, or into more where they do not fit.
fn pack(items: &[InlineItem], payloads: &mut Vec<ChunkPayload>) -> Result<(), StoreError> {
    let Some(first) = items.first() else { return Ok(()) };
    match inline::encode(items) {
        // The rest of the payload is some hundred bytes.
        Ok(slice) if fits(&slice) || items.len() == 1 => {
            payloads.push(ChunkPayload { slice, items: items.len() as u64, first: first.position });
            Ok(())
        }
        Err(error) if items.len() == 1 => Err(StoreError::Invalid(error.to_string())),
        Ok(_) | Err(_) => {
            let (left, right) = items.split_at(items.len() / 2);
            pack(left, payloads)?;
            pack(right, payloads)
        }
    }
}

fn fits(slice: &Slice) -> bool {
    match slice {
        Slice::Inline { zstd } => zstd.len() + 1_024 <= PAYLOAD_BYTES_MAX,
        Slice::Bytes { .. } | Slice::Keys { .. } => true,
    }
}
