//! What is reported about a batch while it is under way, and what is left of its input when it has ended.

use std::sync::Arc;

use gristmill_core::callback::Event;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, NewJob};

use super::state::Batch;
use super::transition::{Transition, report_batch};
use super::{ReferenceStore, insert, view};
use crate::Dispatched;
use crate::error::Result;
use crate::notify::{self, Failure};

/// Reports the first failure of a generation.
pub(super) fn first_failure(t: &mut Transition<'_>, id: BatchId) -> Result<()> {
    let Some(batch) = t.state.batch_mut(id) else { return Ok(()) };
    if batch.told_failure == Some(batch.generation) {
        return Ok(());
    }
    batch.told_failure = Some(batch.generation);
    let batch = batch.clone();
    report_batch(t, id, OwnType::BatchFirstFailure);
    if batch.definition.on.first_failure.is_empty() {
        return Ok(());
    }
    let failure = failure(t, &batch);
    let jobs = notify::first_failure(&view::batch_view(&batch), &batch.definition, batch.trace.as_deref(), &failure);
    enqueue(t, jobs)
}

/// Reports an end that no aggregate has declared.
pub(super) fn ended(t: &mut Transition<'_>, id: BatchId, events: &[Event]) -> Result<()> {
    let Some(batch) = t.state.batches.get(&id).cloned() else { return Ok(()) };
    for event in events {
        let view = view::batch_view(&batch);
        enqueue(t, notify::ended(*event, &view, &batch.definition, batch.trace.as_deref()))?;
    }
    Ok(())
}

/// Enqueues the reporting jobs, under ids of the store's own: they come after those of what it has made before.
fn enqueue(t: &mut Transition<'_>, mut jobs: Vec<NewJob>) -> Result<()> {
    for job in &mut jobs {
        job.id = t.state.ids.job(t.now);
    }
    insert::new_jobs(t, &jobs)?;
    Ok(())
}

/// What failed first: an item that was set aside, or a chunk that died.
fn failure(t: &Transition<'_>, batch: &Batch) -> Failure {
    let (id, generation) = (batch.id, batch.generation);
    let mut items = t.state.quarantine.values().map(|item| &item.view);
    if let Some(item) = items.find(|item| item.batch == id && item.generation == generation) {
        return Failure {
            seq: item.seq,
            position: i64::try_from(item.position).ok(),
            line: item.line.and_then(|line| i64::try_from(line).ok()),
            stage: Some(item.stage.clone()),
            reason: item.reason.clone(),
        };
    }
    let mut jobs = t.state.jobs.values();
    let dead =
        jobs.find(|job| job.chunk_of() == Some(id) && job.state == JobState::Dead && job.generation == generation);
    let reason = |error: Option<&String>| error.cloned().unwrap_or_else(|| "the chunk is dead".to_owned());
    dead.map_or_else(Failure::default, |job| Failure {
        seq: job.seq.unwrap_or_default(),
        reason: reason(job.error.as_ref()),
        ..Failure::default()
    })
}

pub(super) fn late(store: &ReferenceStore, limit: u32) -> Result<Dispatched> {
    let mut t = Transition::begin(store);
    let now = t.now;
    let due: Vec<Arc<Batch>> = t
        .state
        .batches
        .values()
        .filter(|batch| batch.late_at.is_some_and(|late_at| late_at <= now))
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .cloned()
        .collect();
    for batch in due {
        if let Some(batch) = t.state.batch_mut(batch.id) {
            batch.late_at = None;
        }
        // A batch of a later generation has already ended once, in time or not.
        if !batch.state.is_final() && batch.generation == 0 {
            report_batch(&mut t, batch.id, OwnType::BatchLate);
            let jobs = notify::late(&view::batch_view(&batch), &batch.definition, batch.trace.as_deref());
            enqueue(&mut t, jobs)?;
        }
    }
    Ok(t.commit()?.dispatched)
}
