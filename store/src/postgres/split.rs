//! Two halves replace a chunk.
//!
//! The chunk is locked before its batch; new rows come after the batch's lock, which keeps their numbers ours.

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::ChunkPayload;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, NewJob, RunAt};
use uuid::Uuid;

use super::control::control_report;
use super::create::{PlanRow, no_batch};
use super::fan_in::{self, Delta, Deltas};
use super::fault::{Fault, Outcome};
use super::redrive::reopen;
use super::rows::{JobRows, Place};
use super::values::{big, count, from_json, plain, state_of};
use super::work::Work;
use crate::ControlReport;
use crate::check;
use crate::error::StoreError;
use crate::row;
use crate::split::{BY_HAND, halves, may_split, note, output};

const JOB: &str = "
SELECT id, tenant, queue, state AS was, batch_id, seq, items, payload FROM job
WHERE id = $1 AND tenant = $2 FOR UPDATE";

const NEXT_SEQ: &str = "SELECT COALESCE(max(seq) + 1, 0) FROM job WHERE batch_id = $1 AND seq IS NOT NULL";

const LOCK: &str = "SELECT state FROM batch WHERE id = $1 FOR NO KEY UPDATE";

const REPLACED: &str = "
UPDATE job SET state = 'cancelled', items = 0, run_at = NULL, finished_at = now(), error = $2, output = $3
WHERE id = $1";

/// Runs before the chunk itself counts as finished, so that its batch never seems to have nothing left.
const GROW: &str = "UPDATE batch SET chunks = chunks + 2, remaining = remaining + 2 WHERE id = $1";

/// A chunk that is not running and is to be split.
pub(super) struct Parent {
    pub(super) id: Uuid,
    pub(super) tenant: String,
    pub(super) queue: String,
    pub(super) was: JobState,
    pub(super) batch: Uuid,
    pub(super) seq: i64,
    pub(super) items: i64,
    pub(super) payload: ChunkPayload,
}

/// Replaces a chunk with two halves, which take over its items. The batch's row is locked already. `patient` gives the
/// waits, as after a failure, one for each half.
pub(super) async fn replace(
    work: &mut Work<'_>,
    parent: &Parent,
    why: &str,
    patient: Option<[f64; 2]>,
    delta: &mut Delta,
) -> Outcome<[Uuid; 2]> {
    let batch = BatchId(parent.batch);
    let plan = PlanRow::read(work, batch).await?;
    let definition = plan.definition()?;
    let next: i64 = sqlx::query_scalar(NEXT_SEQ).bind(batch.0).fetch_one(&mut *work.conn).await?;
    let halves = halves(JobId(parent.id), &parent.payload)?;
    let waits = patient.map(|random| random.map(|random| RunAt::In(definition.retry.wait(1, random))));
    let runs = waits.unwrap_or([RunAt::Now, RunAt::Now]);
    let jobs: Vec<NewJob> = runs
        .into_iter()
        .map(|run| NewJob { run, ..plan.job(JobId(Uuid::now_v7()), "chunk", batch, &definition) })
        .collect();
    let mut rows = JobRows::default();
    for ((seq, job), half) in (next..).zip(&jobs).zip(&halves) {
        let place =
            Place { seq: Some(seq), items: big(half.items), generation: Some(plan.generation), cancelled: false };
        rows.push(job, check::json(half)?, place)?;
    }
    let ids = [jobs[0].id.0, jobs[1].id.0];
    if rows.insert(work).await?.len() != 2 {
        return Err(Fault::Changed);
    }
    sqlx::query("UPDATE job SET half_of = $2 WHERE id = ANY($1)")
        .bind(&ids[..])
        .bind(parent.seq)
        .execute(&mut *work.conn)
        .await?;
    let numbers = [next, next + 1];
    sqlx::query(REPLACED)
        .bind(parent.id)
        .bind(note(numbers, why))
        .bind(check::json(&output(numbers))?)
        .execute(&mut *work.conn)
        .await?;
    sqlx::query(GROW).bind(batch.0).execute(&mut *work.conn).await?;
    work.moved(&parent.tenant, &parent.queue, parent.was, JobState::Cancelled);
    if parent.was == JobState::Dead {
        delta.dead -= 1;
        delta.quarantined -= parent.items;
    } else {
        delta.finished += 1;
    }
    Ok(ids)
}

row! {
    struct JobRow {
        id: Uuid,
        tenant: String,
        queue: String,
        was: String,
        batch_id: Option<Uuid>,
        seq: Option<i64>,
        items: i64,
        payload: String,
    }
}

/// Splits a chunk by hand.
pub(super) async fn split(work: &mut Work<'_>, (tenant, id): &(&str, JobId)) -> Outcome<ControlReport> {
    let row: Option<JobRow> =
        sqlx::query_as(JOB).bind(id.0).bind(plain(tenant)).fetch_optional(&mut *work.conn).await?;
    let row = row.ok_or_else(|| {
        StoreError::NotFound(format!("there is no job {id}; `gristmill job list` shows those that are there"))
    })?;
    let (was, chunk) = (state_of(&row.was)?, row.batch_id.zip(row.seq));
    may_split(*id, was, chunk.map(|_| count(row.items)))?;
    let Some((batch, seq)) = chunk else { return Err(no_batch(BatchId(row.id)).into()) };
    let generation = locked(work, BatchId(batch)).await?;
    let parent = Parent {
        payload: from_json(&row.payload, &format!("the payload of job {id}"))?,
        id: row.id,
        tenant: row.tenant,
        queue: row.queue,
        was,
        batch,
        seq,
        items: row.items,
    };
    let mut deltas = Deltas::new();
    let ids = replace(work, &parent, BY_HAND, None, deltas.entry(batch).or_default()).await?;
    fan_in::count_down(work, &deltas).await?;
    Ok(ControlReport { dispatched: work.close().await?, generation, ..control_report(2, ids) })
}

/// Locks the batch; if it has ended, opens its next generation.
async fn locked(work: &mut Work<'_>, batch: BatchId) -> Outcome<Option<u32>> {
    let state: Option<String> = sqlx::query_scalar(LOCK).bind(batch.0).fetch_optional(&mut *work.conn).await?;
    let state = state.ok_or_else(|| no_batch(batch))?;
    match state.parse().map_err(|error| StoreError::Database(format!("batch {batch}: {error}")))? {
        BatchState::Sealed => Ok(None),
        BatchState::Complete | BatchState::Halted => reopen(work, batch, None).await,
        BatchState::Open | BatchState::Aggregating | BatchState::Cancelled => Err(StoreError::Conflict(format!(
            "batch {batch} is {state}; its chunks can be split while it is sealed or when it has ended"
        ))
        .into()),
    }
}
