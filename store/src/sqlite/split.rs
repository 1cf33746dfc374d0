//! Two halves replace a chunk.

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::ChunkPayload;
use gristmill_core::definition::BatchDefinition;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use uuid::Uuid;

use super::SqliteStore;
use super::control::finish;
use super::create::{self, Common, no_batch};
use super::redrive::open_next;
use super::row::{self, Moved, moved_columns};
use super::transition::{Transition, later};
use crate::check;
use crate::error::{Result, StoreError};
use crate::split::{BY_HAND, halves, may_split, note, output};
use crate::{ControlReport, NewChunk};

/// A chunk that is not running and is to be split.
pub(super) struct Parent {
    pub(super) job: Moved,
    pub(super) was: JobState,
    pub(super) payload: ChunkPayload,
}

/// Replaces a chunk with two halves, which take over its items. `patient` lets them wait as after a failure, each for a
/// time of its own.
pub(super) async fn replace(t: &mut Transition<'_>, parent: &Parent, why: &str, patient: bool) -> Result<[JobId; 2]> {
    let (job, batch) = (&parent.job, of_batch(&parent.job)?);
    let statement = "
        SELECT b.definition, b.trace, b.generation,
               (SELECT max(j.seq) + 1 FROM job j WHERE j.batch_id = b.id AND j.seq IS NOT NULL) AS next
        FROM batch b WHERE b.id = ?1";
    let found = t.row(sqlx::query(statement).bind(batch.0)).await?.ok_or_else(|| no_batch(batch))?;
    let definition: BatchDefinition = row::json(&found, "definition")?;
    let next: i64 = row::get(&found, "next")?;
    let common = Common {
        batch,
        tenant: job.tenant.clone(),
        trace: row::get(&found, "trace")?,
        generation: row::number(&found, "generation")?,
        state: JobState::Queued,
    };
    let mut rows = Vec::with_capacity(2);
    for (seq, payload) in (next..).zip(halves(job.id, &parent.payload)?) {
        let mut half = create::chunk_row(&common, &definition, &NewChunk { id: JobId(Uuid::now_v7()), seq, payload })?;
        if patient {
            half.state = JobState::Scheduled;
            half.run_at = Some(later(t.now, definition.retry.wait(1, check::random())));
        }
        rows.push(half);
    }
    let ids = [rows[0].id, rows[1].id];
    create::insert_chunks(t, batch, &rows).await?;
    let mark = "UPDATE job SET half_of = ?2 WHERE id IN (SELECT unhex(value, '-') FROM json_each(?1))";
    t.run(sqlx::query(mark).bind(check::json(&ids)?).bind(job.seq)).await?;
    let statement = "
        UPDATE job SET state = 'cancelled', items = 0, run_at = NULL, finished_at = ?2, error = ?3, output = ?4
        WHERE id = ?1";
    let numbers = [next, next + 1];
    let query = sqlx::query(statement).bind(job.id.0).bind(t.now).bind(note(numbers, why));
    t.run(query.bind(check::json(&output(numbers))?)).await?;
    t.moved(job, parent.was, JobState::Cancelled);
    let delta = t.delta(batch);
    // They were counted as input when the chunk was planned.
    delta.input -= job.items;
    if parent.was == JobState::Dead {
        delta.dead -= 1;
        delta.quarantined -= job.items;
    } else {
        delta.remaining -= 1;
    }
    Ok(ids)
}

fn of_batch(job: &Moved) -> Result<BatchId> {
    job.chunk_of().ok_or_else(|| StoreError::Database(format!("chunk {} belongs to no batch", job.id)))
}

pub(super) async fn split(store: &SqliteStore, tenant: &str, id: JobId, dry_run: bool) -> Result<ControlReport> {
    let mut t = Transition::begin(store).await?;
    let statement = concat!("SELECT state, payload, ", moved_columns!(), " FROM job WHERE id = ?1 AND tenant = ?2");
    let found = t.row(sqlx::query(statement).bind(id.0).bind(tenant.to_owned())).await?;
    let found = found.ok_or_else(|| {
        StoreError::NotFound(format!("there is no job {id}; `gristmill job list` shows those that are there"))
    })?;
    let (job, was): (Moved, JobState) = (row::moved(&found)?, row::word(&found, "state")?);
    may_split(id, was, job.chunk_of().map(|_| u64::try_from(job.items).unwrap_or(0)))?;
    let batch = of_batch(&job)?;
    let generation = match create::state(&mut t, batch).await?.ok_or_else(|| no_batch(batch))? {
        BatchState::Sealed => None,
        BatchState::Complete | BatchState::Halted => open_next(&mut t, &[batch]).await?,
        state @ (BatchState::Open | BatchState::Aggregating | BatchState::Cancelled) => {
            let what =
                format!("batch {batch} is {state}; its chunks can be split while it is sealed or when it has ended");
            return Err(StoreError::Conflict(what));
        }
    };
    let parent = Parent { job, was, payload: row::json(&found, "payload")? };
    let ids = replace(&mut t, &parent, BY_HAND, false).await?;
    let samples = ids.iter().map(JobId::to_string).collect();
    finish(t, ControlReport { affected: 2, samples, generation, ..ControlReport::default() }, dry_run).await
}
