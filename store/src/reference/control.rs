//! What an operator pauses, resumes and cancels.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::batch::BatchState;
use gristmill_core::event::own::OwnType;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::job_edit::JobEdit;
use gristmill_core::settle::Ending;

use super::ReferenceStore;
use super::create::no_batch;
use super::edit::edit_job;
use super::promote::queue_again;
use super::state::{Batch, Job, State};
use super::transition::{Transition, report, report_batch};
use crate::check;
use crate::control::{editable, no_job};
use crate::error::{Result, StoreError};
use crate::sql::events::own;
use crate::{AttemptView, Control, ControlReport, GROUP_JOBS_MAX, Pause, PauseView, Purpose};

/// How many samples a report has.
pub(super) const SAMPLES: usize = 5;

/// How many waiting ids one resume dispatches at most; the probe brings the rest.
const RESUMED_MAX: usize = 20_000;

/// Ends a control transition: committed, or for a dry run rolled back.
pub(super) fn finish(t: Transition<'_>, mut control_report: ControlReport, dry_run: bool) -> Result<ControlReport> {
    if !dry_run {
        control_report.dispatched = t.commit()?.dispatched;
    }
    Ok(control_report)
}

#[async_trait]
impl Control for ReferenceStore {
    async fn pause_batch(
        &self,
        tenant: &str,
        id: BatchId,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let control_report = pause_in(&mut t, tenant, id, pause)?;
        finish(t, control_report, dry_run)
    }

    async fn cancel_batch(&self, tenant: &str, id: BatchId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let control_report = cancel_in(&mut t, tenant, id, reason)?;
        finish(t, control_report, dry_run)
    }

    async fn cancel_job(&self, tenant: &str, id: JobId, reason: &str, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let job = job_of(&t, tenant, id)?;
        match job.state {
            JobState::Scheduled | JobState::Queued | JobState::Running | JobState::Retry => {}
            JobState::Cancelled => return Ok(ControlReport::default()),
            JobState::Done | JobState::Dead => {
                let what = format!("job {id} is {} already; it cannot be cancelled any more", job.state);
                return Err(StoreError::Conflict(what));
            }
        }
        if let (true, Some(batch)) = (job.kind == "aggregate", job.batch) {
            // Without its aggregate a batch would never end.
            let what = format!("job {id} aggregates batch {batch}; cancel the batch instead");
            return Err(StoreError::Conflict(what));
        }
        let reason = check::plain(reason, check::REASON_CHARS_MAX);
        let control_report = cancel(&mut t, &[job], &reason);
        finish(t, control_report, dry_run)
    }

    async fn cancel_jobs(&self, tenant: &str, ids: &[JobId], reason: &str, dry_run: bool) -> Result<ControlReport> {
        check::at_most(ids.len(), GROUP_JOBS_MAX, "jobs")?;
        let mut t = Transition::begin(self);
        // Without its aggregate a batch would never end.
        let aggregates = |job: &Job| job.kind == "aggregate" && job.batch.is_some();
        let unfinished = unfinished(&t, |job| ids.contains(&job.id) && job.tenant == tenant && !aggregates(job));
        let control_report = cancel(&mut t, &unfinished, &check::plain(reason, check::REASON_CHARS_MAX));
        finish(t, control_report, dry_run)
    }

    async fn retry_job(&self, tenant: &str, id: JobId, dry_run: bool) -> Result<ControlReport> {
        let mut t = Transition::begin(self);
        let job = job_of(&t, tenant, id)?;
        match job.state {
            JobState::Scheduled | JobState::Retry => {}
            JobState::Queued => return Ok(ControlReport::default()),
            JobState::Dead => {
                let what = format!("job {id} is a dead letter; redrive it instead: `gristmill dead redrive {id}`");
                return Err(StoreError::Conflict(what));
            }
            JobState::Running | JobState::Done | JobState::Cancelled => {
                let what = format!("job {id} is {}; only one that waits for a time can be told to run now", job.state);
                return Err(StoreError::Conflict(what));
            }
        }
        queue_again(&mut t, id);
        finish(t, control_report([id]), dry_run)
    }

    async fn edit_job(&self, tenant: &str, id: JobId, edit: &JobEdit, dry_run: bool) -> Result<ControlReport> {
        editable(edit)?;
        let mut t = Transition::begin(self);
        let job = job_of(&t, tenant, id)?;
        let control_report = edit_job(&mut t, &job, edit)?;
        finish(t, control_report, dry_run)
    }

    async fn pause_queue(
        &self,
        tenant: &str,
        queue: &str,
        pause: Option<&Pause>,
        dry_run: bool,
    ) -> Result<ControlReport> {
        check::name("queue", queue)?;
        let mut t = Transition::begin(self);
        if t.state.queue_paused(tenant, queue) == pause.is_some() {
            return Ok(ControlReport::default());
        }
        let said = pause.map(|pause| said(&t, pause));
        t.state.pauses.insert((tenant.to_owned(), queue.to_owned()), said);
        let (kind, subject, data) = own::of_queue(queue, pause);
        report(&mut t, tenant, kind, subject, data);
        let mut waiting = queued(&t, |job| job.tenant == tenant && job.queue == queue);
        waiting.sort_by_key(|job| (job.priority, job.id));
        let control_report = held(&mut t, &waiting, pause.is_some(), State::batch_paused);
        finish(t, control_report, dry_run)
    }
}

/// Pauses a batch, or resumes it.
pub(super) fn pause_in(
    t: &mut Transition<'_>,
    tenant: &str,
    id: BatchId,
    pause: Option<&Pause>,
) -> Result<ControlReport> {
    let said = pause.map(|pause| said(t, pause));
    let batch = batch_of(t, tenant, id)?;
    // A batch that was paused while its aggregate ran still has follow-up jobs to send.
    let lets_go = batch.pause.is_some() && pause.is_none();
    if batch.state.is_final() && !lets_go {
        let what = format!("batch {id} is {} already; there is nothing to pause or resume", batch.state);
        return Err(StoreError::Conflict(what));
    }
    if batch.pause.is_some() == pause.is_some() {
        return Ok(ControlReport::default());
    }
    batch.pause = said;
    report_batch(t, id, OwnType::of_batch_pause(pause.is_some()));
    let waiting = queued(t, |job| job.batch == Some(id));
    Ok(held(t, &waiting, pause.is_some(), |state, job| state.queue_paused(&job.tenant, &job.queue)))
}

/// Cancels a batch for good.
pub(super) fn cancel_in(t: &mut Transition<'_>, tenant: &str, id: BatchId, reason: &str) -> Result<ControlReport> {
    let now = t.now;
    let batch = batch_of(t, tenant, id)?;
    match batch.state {
        BatchState::Open | BatchState::Sealed | BatchState::Aggregating => {}
        BatchState::Cancelled => return Ok(ControlReport::default()),
        BatchState::Complete | BatchState::Halted => {
            let what = format!("batch {id} is {} already; it cannot be cancelled any more", batch.state);
            return Err(StoreError::Conflict(what));
        }
    }
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    batch.state = BatchState::Cancelled;
    batch.finished_at = Some(now);
    batch.reason = Some(reason.clone());
    batch.pause = None;
    let unfinished = unfinished(t, |job| job.batch == Some(id));
    let control_report = cancel(t, &unfinished, &reason);
    t.cancelled = Some(id);
    Ok(control_report)
}

/// What is stored about a pause.
fn said(t: &Transition<'_>, pause: &Pause) -> PauseView {
    let plain = |text: &Option<String>| text.as_deref().map(|text| check::plain(text, check::REASON_CHARS_MAX));
    PauseView { since: t.now, by: plain(&pause.by), reason: plain(&pause.reason) }
}

fn queued(t: &Transition<'_>, which: impl Fn(&Job) -> bool) -> Vec<Arc<Job>> {
    t.state.jobs.values().filter(|job| job.state == JobState::Queued && which(job)).cloned().collect()
}

/// How many jobs a pause holds back, or a resume releases: those that nothing else holds back are dispatched anew.
fn held(
    t: &mut Transition<'_>,
    waiting: &[Arc<Job>],
    paused: bool,
    else_held: fn(&State, &Job) -> bool,
) -> ControlReport {
    let free: Vec<&Arc<Job>> = waiting.iter().filter(|job| !else_held(&t.state, job)).take(RESUMED_MAX).collect();
    for job in &free {
        if !paused {
            t.ready(Purpose::Dispatch, job);
        }
    }
    ControlReport { affected: waiting.len() as u64, ..control_report(free.iter().map(|job| job.id)) }
}

pub(super) fn halt_batch(store: &ReferenceStore, id: BatchId, generation: u32, reason: &str) -> Result<ControlReport> {
    let mut t = Transition::begin(store);
    let batch = t.state.batch_mut(id).ok_or_else(|| no_batch(id))?;
    let judged = batch.generation == generation;
    if batch.halting || !judged || !matches!(batch.state, BatchState::Open | BatchState::Sealed) {
        return Ok(ControlReport::default());
    }
    let reason = check::plain(reason, check::REASON_CHARS_MAX);
    batch.halting = true;
    batch.reason = Some(reason.clone());
    batch.pause = None;
    let unfinished = unfinished(&t, |job| job.chunk_of() == Some(id));
    let control_report = cancel(&mut t, &unfinished, &reason);
    finish(t, control_report, false)
}

fn unfinished(t: &Transition<'_>, which: impl Fn(&Job) -> bool) -> Vec<Arc<Job>> {
    t.state.jobs.values().filter(|job| !job.state.is_final() && which(job)).cloned().collect()
}

/// Cancels jobs that are not final. Jobs that ran are running no longer: their attempts are closed with them.
pub(super) fn cancel(t: &mut Transition<'_>, jobs: &[Arc<Job>], reason: &str) -> ControlReport {
    let now = t.now;
    for job in jobs {
        t.taken_away |= job.worker.is_some();
        t.move_job(job.id, |job| {
            job.state = JobState::Cancelled;
            job.finished_at = Some(now);
            job.error = Some(reason.to_owned());
            job.attempts.extend(job.worker.map(|worker| AttemptView {
                attempt: job.attempt,
                worker: Some(worker),
                started_at: job.started_at,
                ended_at: now,
                ending: Ending::Cancelled.as_str().to_owned(),
                error: Some(reason.to_owned()),
            }));
            job.worker = None;
            job.deadline = None;
            job.run_at = None;
        });
        if let Some(batch) = job.chunk_of() {
            let delta = t.delta(batch);
            delta.remaining -= 1;
            delta.cancelled += job.weight();
        }
    }
    control_report(jobs.iter().map(|job| job.id))
}

/// The affected jobs, in order.
pub(super) fn control_report(jobs: impl IntoIterator<Item = JobId>) -> ControlReport {
    let ids: Vec<JobId> = jobs.into_iter().collect();
    let samples = ids.iter().take(SAMPLES).map(JobId::to_string).collect();
    ControlReport { affected: ids.len() as u64, samples, ..ControlReport::default() }
}

/// A batch of a tenant, to be changed.
fn batch_of<'t>(t: &'t mut Transition<'_>, tenant: &str, id: BatchId) -> Result<&'t mut Batch> {
    t.state.batch_mut(id).filter(|batch| batch.tenant == tenant).ok_or_else(|| no_batch(id))
}

fn job_of(t: &Transition<'_>, tenant: &str, id: JobId) -> Result<Arc<Job>> {
    t.state.jobs.get(&id).filter(|job| job.tenant == tenant).cloned().ok_or_else(|| no_job(id))
}
