//! Two halves replace a chunk.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_core::batch::BatchState;
use gristmill_core::chunk::ChunkPayload;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use serde::Deserialize;

use super::ReferenceStore;
use super::control::{control_report, finish};
use super::create::{chunk_job, no_batch};
use super::insert;
use super::redrive::open_next;
use super::state::{Job, later};
use super::transition::Transition;
use crate::error::{Result, StoreError};
use crate::split::{BY_HAND, halves, may_split, note, output};
use crate::{ControlReport, NewChunk};

/// The first number that no chunk of a batch has.
pub(super) fn next_number(t: &Transition<'_>, batch: BatchId) -> i64 {
    let numbers = t.state.jobs.values().filter(|job| job.batch == Some(batch)).filter_map(|job| job.seq);
    numbers.max().map_or(0, |last| last + 1)
}

/// What a chunk is given.
pub(super) fn payload_of(job: &Job) -> Result<ChunkPayload> {
    ChunkPayload::deserialize(&job.payload).map_err(|error| StoreError::Database(error.to_string()))
}

/// Replaces a chunk that is not running with two halves. `patient` lets them wait as after a failure.
pub(super) fn replace(t: &mut Transition<'_>, parent: &Job, why: &str, patient: bool) -> Result<[JobId; 2]> {
    let id = parent.chunk_of().ok_or_else(|| StoreError::Database(format!("chunk {} has no batch", parent.id)))?;
    let batch = Arc::clone(t.state.batches.get(&id).ok_or_else(|| no_batch(id))?);
    let (next, now) = (next_number(t, id), t.now);
    let mut ids = Vec::with_capacity(2);
    for (seq, payload) in (next..).zip(halves(parent.id, &payload_of(parent)?)?) {
        let chunk = NewChunk { id: t.state.ids.job(now), seq, payload };
        let mut half = Job { half_of: parent.seq, ..chunk_job(t, &batch, &chunk)? };
        if patient {
            let random = t.state.ids.random();
            half.state = JobState::Scheduled;
            half.run_at = Some(later(now, half.retry.wait(1, random)));
            half.queued_at = None;
        }
        ids.push(half.id);
        insert::job(t, half)?;
    }
    let numbers = [next, next + 1];
    t.move_job(parent.id, |job| {
        job.state = JobState::Cancelled;
        job.items = 0;
        job.run_at = None;
        job.finished_at = Some(now);
        job.error = Some(note(numbers, why));
        job.output = Some(output(numbers));
    });
    let delta = t.delta(id);
    delta.chunks += 2;
    delta.remaining += 2;
    if parent.state == JobState::Dead {
        delta.dead -= 1;
        delta.quarantined -= parent.weight();
    } else {
        delta.remaining -= 1;
    }
    Ok([ids[0], ids[1]])
}

pub(super) fn split(store: &ReferenceStore, tenant: &str, id: JobId, dry_run: bool) -> Result<ControlReport> {
    let mut t = Transition::begin(store);
    let job = t.state.jobs.get(&id).filter(|job| job.tenant == tenant).cloned();
    let job = job.ok_or_else(|| {
        StoreError::NotFound(format!("there is no job {id}; `gristmill job list` shows those that are there"))
    })?;
    may_split(id, job.state, job.chunk_of().map(|_| job.items))?;
    let Some(batch) = job.chunk_of() else { return Ok(ControlReport::default()) };
    let generation = match t.state.batches.get(&batch).ok_or_else(|| no_batch(batch))?.state {
        BatchState::Sealed => None,
        BatchState::Complete | BatchState::Halted => open_next(&mut t, &BTreeSet::from([batch]))?,
        state @ (BatchState::Open | BatchState::Aggregating | BatchState::Cancelled) => {
            let what =
                format!("batch {batch} is {state}; its chunks can be split while it is sealed or when it has ended");
            return Err(StoreError::Conflict(what));
        }
    };
    let ids = replace(&mut t, &job, BY_HAND, false)?;
    finish(t, ControlReport { generation, ..control_report(ids) }, dry_run)
}
