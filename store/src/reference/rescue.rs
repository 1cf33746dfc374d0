//! Rescue: the store closes attempts whose worker is gone or whose time is over.

use std::sync::Arc;

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::job::{Fence, JobState};
use gristmill_core::settle::{self, Ending, Verdict};
use gristmill_core::split::{Loss, LostChunk};

use super::settle::{Settlement, settle};
use super::split;
use super::state::{Job, WorkerState};
use super::transition::Transition;
use super::{Clause, ReferenceStore};
use crate::RescueReport;
use crate::error::{Result, StoreError};
use crate::split::{LOST, condemned, decide, unclosed};

/// An attempt that its worker will never close, and what becomes of its job.
struct Taken {
    job: Arc<Job>,
    ending: Ending,
    loss: Loss,
    verdict: Verdict,
}

pub(super) fn rescue(store: &ReferenceStore, limit: u32) -> Result<RescueReport> {
    let mut t = Transition::begin(store);
    let now = t.now;
    let mut report = RescueReport::default();
    for worker in t.state.workers.values_mut() {
        if worker.state == WorkerState::Alive && worker.lease_until < now {
            Arc::make_mut(worker).state = WorkerState::Lost;
            report.workers_lost += 1;
        }
    }
    let running: Vec<Arc<Job>> = t.state.jobs.values().filter(|job| job.state == JobState::Running).cloned().collect();
    let mut taken = Vec::new();
    for job in running {
        if taken.len() == usize::try_from(limit).unwrap_or(usize::MAX) {
            break;
        }
        taken.extend(taken_back(&mut t, &job)?);
    }
    for one in &taken {
        match (one.loss, one.verdict) {
            (Loss::Split, _) => report.split += 1,
            (_, Verdict::Dead) => report.dead += 1,
            _ => report.requeued += 1,
        }
        close(&mut t, one)?;
    }
    let committed = t.commit()?;
    Ok(RescueReport { dispatched: committed.dispatched, progress: committed.progress, ..report })
}

/// What becomes of an attempt that its worker will never close; `None` for one that continues.
fn taken_back(t: &mut Transition<'_>, job: &Arc<Job>) -> Result<Option<Taken>> {
    let Some(worker) = job.worker else { return Ok(None) };
    // An unknown worker counts as lost: no lease protects what it runs.
    let lost = t.state.workers.get(&worker).is_none_or(|worker| worker.state != WorkerState::Alive);
    let ending = match lost {
        true => Ending::WorkerLost,
        false if job.deadline.is_some_and(|deadline| deadline <= t.now) => Ending::TimedOut,
        false => return Ok(None),
    };
    let random = t.state.ids.random();
    let loss = match job.chunk_of() {
        Some(batch) if lost => {
            let chunk = LostChunk {
                attempt: job.attempt - job.snoozes,
                max_attempts: job.max_attempts - job.snoozes,
                items: job.items,
                half: job.half_of.is_some(),
                condemned: false,
                planned: t.state.batches.get(&batch).is_some_and(|batch| batch.planned),
            };
            // The payload is read only near the chunk's end, as the databases do.
            let payload = (chunk.half || chunk.attempt >= chunk.max_attempts).then(|| split::payload_of(job));
            decide(&chunk, payload.transpose()?.as_ref(), &job.retry, random)
        }
        _ => Loss::Settle(settle::settle(
            ending,
            job.attempt - job.snoozes,
            job.max_attempts - job.snoozes,
            &job.retry,
            random,
        )),
    };
    let mut verdict = loss.verdict();
    if verdict == Verdict::Requeue && !t.store.keeps(Clause::RescueSpendsTheAttempt) {
        verdict = Verdict::Release;
    }
    Ok(Some(Taken { job: Arc::clone(job), ending, loss, verdict }))
}

/// Closes one attempt, with the further consequences of a loss.
fn close(t: &mut Transition<'_>, taken: &Taken) -> Result<()> {
    let Taken { job, ending, loss, verdict } = taken;
    let deaths = job.attempts.iter().filter(|attempt| attempt.ending == Ending::WorkerLost.as_str()).count() as u64 + 1;
    if let Some(job) = t.state.job_mut(job.id) {
        match loss {
            Loss::Condemn => {
                let payload = ChunkPayload { condemned: Some(condemned(deaths)), ..split::payload_of(job)? };
                job.payload =
                    serde_json::to_value(&payload).map_err(|error| StoreError::Database(error.to_string()))?;
                job.max_attempts += job.granted;
            }
            Loss::Wait(_) => job.max_attempts += 1,
            Loss::Split | Loss::Settle(_) => {}
        }
    }
    let Some(worker) = job.worker else { return Ok(()) };
    let fence = Fence { job: job.id, attempt: job.attempt, worker };
    let moved = settle(t, &[Settlement::taken(fence, *ending, *verdict, unclosed(*ending))])?;
    // A job past its deadline may still run somewhere.
    t.taken_away |= !moved.is_empty();
    if *loss == Loss::Split && moved.contains(&job.id) {
        if let Some(batch) = job.chunk_of() {
            // It is not retried: its halves are.
            t.delta(batch).retries -= 1;
        }
        let Some(parent) = t.state.jobs.get(&job.id).cloned() else { return Ok(()) };
        split::replace(t, &parent, LOST, true)?;
    }
    Ok(())
}
