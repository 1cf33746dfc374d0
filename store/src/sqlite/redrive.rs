//! Dead letters and quarantined items get another chance; a batch that has ended gets its next generation.

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::ChunkPayload;
use gristmill_core::definition::{BatchDefinition, CHUNK_ITEMS_MAX};
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::inline::{self, InlineItem};
use gristmill_core::job::JobState;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::create::{self, Common, no_batch};
use super::row;
use super::steer::finish;
use super::transition::Transition;
use super::{SqliteStore, error};
use crate::check;
use crate::error::{Result, StoreError};
use crate::{GROUP_JOBS_MAX, NewChunk, QuarantineRedrive, Steered};

/// How many samples a report has.
const SAMPLES: usize = 5;

pub(super) async fn dead(store: &SqliteStore, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<Steered> {
    let mut t = Transition::begin(store).await?;
    let statement = "
        SELECT j.id, j.tenant, j.queue, j.lane, j.batch_id, j.seq, j.items, j.generation, j.kind,
               b.state AS batch_state,
               (SELECT h.id FROM job h WHERE h.tenant = j.tenant AND h.unique_held = j.unique_key AND h.id <> j.id
                    AND h.unique_held IS NOT NULL AND coalesce(j.unique_rule, '') NOT IN ('waiting', 'period')) AS holder
        FROM job j LEFT JOIN batch b ON b.id = j.batch_id
        WHERE j.tenant = ?1 AND j.state = 'dead' AND j.id IN (SELECT unhex(value, '-') FROM json_each(?2))
        ORDER BY j.id";
    let found = t.rows(sqlx::query(statement).bind(tenant.to_owned()).bind(check::json(jobs)?)).await?;
    let mut steered = Steered::default();
    let mut ended = Vec::new();
    let mut ids = Vec::with_capacity(found.len());
    for row in &found {
        let job = row::moved(row)?;
        if let Some(batch) = refuse(row, job.id, job.seq.is_some())? {
            ended.push(batch);
        }
        t.moved(&job, JobState::Dead, JobState::Queued);
        if let Some(batch) = job.chunk_of() {
            let delta = t.delta(batch);
            delta.remaining += 1;
            delta.dead -= 1;
            delta.quarantined -= job.items;
        }
        ids.push(job.id);
    }
    steered.generation = open_next(&mut t, &ended).await?;
    let statement = "
        UPDATE job SET state = 'queued', max_attempts = max_attempts + granted, queued_at = ?2, finished_at = NULL,
            generation = CASE WHEN seq IS NULL THEN generation
                              ELSE (SELECT b.generation FROM batch b WHERE b.id = job.batch_id) END
        WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run_or(sqlx::query(statement).bind(check::json(&ids)?).bind(t.now), error::held_key).await?;
    steered.affected = ids.len() as u64;
    steered.samples = ids.iter().take(SAMPLES).map(JobId::to_string).collect();
    finish(t, steered, dry_run).await
}

/// Refuses a dead letter that cannot run again now; gives its batch when that has ended and must be opened.
fn refuse(row: &SqliteRow, job: JobId, chunk: bool) -> Result<Option<BatchId>> {
    if let Some(holder) = row::maybe_id::<JobId>(row, "holder")? {
        let what = format!("job {job} cannot be redriven while job {holder} holds its unique key; wait for that one");
        return Err(StoreError::Conflict(what));
    }
    let Some(batch) = row::maybe_id::<BatchId>(row, "batch_id")? else { return Ok(None) };
    let aggregate = row::get::<String>(row, "kind")? == "aggregate";
    match row::word(row, "batch_state")? {
        BatchState::Open | BatchState::Sealed => Ok(None),
        BatchState::Aggregating if chunk => {
            let what = format!("batch {batch} is aggregating; redrive its dead chunks when it has ended");
            Err(StoreError::Conflict(what))
        }
        BatchState::Cancelled if chunk || aggregate => {
            Err(StoreError::Conflict(format!("batch {batch} is cancelled; its work cannot be redriven")))
        }
        BatchState::Complete | BatchState::Halted if chunk => Ok(Some(batch)),
        BatchState::Aggregating | BatchState::Complete | BatchState::Halted | BatchState::Cancelled => Ok(None),
    }
}

/// Opens the next generation of batches that have ended, and gives the highest one opened. What a halt has
/// cancelled does not come back, and so its reason stays: such a batch can never be complete.
async fn open_next(t: &mut Transition<'_>, batches: &[BatchId]) -> Result<Option<u32>> {
    if batches.is_empty() {
        return Ok(None);
    }
    let statement = "
        UPDATE batch SET state = 'sealed', generation = generation + 1, finished_at = NULL, result = NULL,
                         reason = CASE WHEN cancelled > 0 THEN reason END, halting = 0
        WHERE state IN ('complete', 'halted') AND id IN (SELECT unhex(value, '-') FROM json_each(?1))
        RETURNING generation";
    let opened = t.rows(sqlx::query(statement).bind(check::json(batches)?)).await?;
    let generations: Vec<u32> = opened.iter().map(|row| row::number(row, "generation")).collect::<Result<_>>()?;
    Ok(generations.into_iter().max())
}

pub(super) async fn quarantine(
    store: &SqliteStore,
    tenant: &str,
    redrive: &QuarantineRedrive,
    dry_run: bool,
) -> Result<Steered> {
    if redrive.chunk == 0 || redrive.chunk > CHUNK_ITEMS_MAX {
        let what = format!("a chunk cannot have {} items; choose 1 to {CHUNK_ITEMS_MAX}", redrive.chunk);
        return Err(StoreError::Invalid(what));
    }
    let batch = redrive.batch;
    let mut t = Transition::begin(store).await?;
    let statement = "SELECT state, definition, trace FROM batch WHERE id = ?1 AND tenant = ?2";
    let found = t.row(sqlx::query(statement).bind(batch.0).bind(tenant.to_owned())).await?;
    let found = found.ok_or_else(|| no_batch(batch))?;
    let state: BatchState = row::word(&found, "state")?;
    match state {
        BatchState::Sealed | BatchState::Complete | BatchState::Halted => {}
        BatchState::Open | BatchState::Aggregating | BatchState::Cancelled => {
            let what =
                format!("batch {batch} is {state}; its quarantine can be redriven when it is sealed or has ended");
            return Err(StoreError::Conflict(what));
        }
    }
    let (ids, items) = take_items(&mut t, redrive).await?;
    if ids.is_empty() {
        return Ok(Steered::default());
    }
    let generation = open_next(&mut t, &[batch]).await?;
    let common = Common {
        batch,
        tenant: tenant.to_owned(),
        trace: row::get(&found, "trace")?,
        generation: generation_of(&mut t, batch).await?,
        state: JobState::Queued,
    };
    add(&mut t, &common, &row::json(&found, "definition")?, redrive, &items).await?;
    let samples = ids.iter().take(SAMPLES).map(i64::to_string).collect();
    let steered = Steered { affected: ids.len() as u64, samples, generation, ..Steered::default() };
    finish(t, steered, dry_run).await
}

/// Marks the open items that are asked for, and gives them with their ids.
async fn take_items(t: &mut Transition<'_>, redrive: &QuarantineRedrive) -> Result<(Vec<i64>, Vec<InlineItem>)> {
    let statement = "
        UPDATE quarantine SET state = 'redriven'
        WHERE batch_id = ?1 AND state = 'open' AND (?2 = '[]' OR id IN (SELECT value FROM json_each(?2)))
        RETURNING id, position, line, item";
    let query = sqlx::query(statement).bind(redrive.batch.0).bind(check::json(&redrive.items)?);
    let rows = t.rows(query).await?;
    let mut taken: Vec<(i64, InlineItem)> = rows
        .iter()
        .map(|row| {
            let line: Option<i64> = row::get(row, "line")?;
            let line = line.and_then(|line| u64::try_from(line).ok());
            let item = InlineItem { position: row::number(row, "position")?, line, item: row::json(row, "item")? };
            Ok((row::get(row, "id")?, item))
        })
        .collect::<Result<_>>()?;
    taken.sort_by_key(|(id, item)| (item.position, *id));
    Ok(taken.into_iter().unzip())
}

/// Adds chunks of those items. They have been counted as input already, and are pending again.
async fn add(
    t: &mut Transition<'_>,
    common: &Common,
    definition: &BatchDefinition,
    redrive: &QuarantineRedrive,
    items: &[InlineItem],
) -> Result<()> {
    let next = "SELECT coalesce(max(seq), -1) + 1 AS next FROM job WHERE batch_id = ?1";
    let next = t.rows(sqlx::query(next).bind(common.batch.0)).await?;
    let next: i64 = next.first().map(|row| row::get(row, "next")).transpose()?.unwrap_or(0);
    let size = usize::try_from(redrive.chunk).unwrap_or(usize::MAX);
    let mut rows = Vec::new();
    for (seq, slice) in (next..).zip(items.chunks(size)) {
        let packed = inline::encode(slice).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let payload = ChunkPayload {
            slice: packed,
            items: slice.len() as u64,
            first: slice.first().map_or(0, |item| item.position),
        };
        let chunk = NewChunk { id: JobId(Uuid::now_v7()), seq, payload };
        rows.push(create::chunk_row(common, definition, &chunk)?);
    }
    for group in rows.chunks(GROUP_JOBS_MAX) {
        create::insert_chunks(t, common.batch, group).await?;
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let delta = t.delta(common.batch);
    delta.input -= count;
    delta.quarantined -= count;
    Ok(())
}

async fn generation_of(t: &mut Transition<'_>, batch: BatchId) -> Result<u32> {
    let rows = t.rows(sqlx::query("SELECT generation FROM batch WHERE id = ?1").bind(batch.0)).await?;
    rows.first().ok_or_else(|| no_batch(batch)).and_then(|row| row::number(row, "generation"))
}
