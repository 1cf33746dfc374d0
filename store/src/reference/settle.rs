//! What becomes of attempts that have ended: the only way out of `running`, for completions by workers and for
//! everything that the store takes back from them.

use std::collections::BTreeSet;
use std::sync::Arc;

use gristmill_core::Instant;
use gristmill_core::chunk::ChunkResult;
use gristmill_core::history::Passed;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{Fence, JobState};
use gristmill_core::settle::{Ending, Verdict};

use super::Clause;
use super::state::{Job, Quarantined, Tally, kept, kept_json, later, signed};
use super::transition::Transition;
use crate::check;
use crate::error::Result;
use crate::flow::bucket_between;
use crate::{AttemptView, Completion, QuarantineView, StoredResult};

/// One attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settlement<'a> {
    pub(super) fence: Fence,
    pub(super) ending: Ending,
    pub(super) verdict: Verdict,
    pub(super) error: Option<&'a str>,
    pub(super) output: Option<&'a serde_json::Value>,
    pub(super) chunk: Option<&'a ChunkResult>,
    /// Whether a worker reported it; the store itself may close the last attempt of a chunk whose halves continue.
    by_worker: bool,
}

impl<'a> Settlement<'a> {
    /// What a worker reports about its attempt.
    pub(super) fn of(completion: &'a Completion) -> Self {
        Self {
            fence: completion.fence,
            ending: completion.ending,
            verdict: completion.verdict,
            error: completion.error.as_deref(),
            output: completion.output.as_ref(),
            chunk: completion.chunk.as_ref(),
            by_worker: true,
        }
    }

    /// What the store itself decides about an attempt.
    pub(super) fn taken(fence: Fence, ending: Ending, verdict: Verdict, error: &'a str) -> Self {
        Self { fence, ending, verdict, error: Some(error), output: None, chunk: None, by_worker: false }
    }

    fn state(&self) -> JobState {
        self.verdict.state()
    }
}

/// Closes the attempts whose fence holds, with all consequences, and returns the jobs that moved.
pub(super) fn settle(t: &mut Transition<'_>, all: &[Settlement<'_>]) -> Result<BTreeSet<JobId>> {
    let mut moved = BTreeSet::new();
    for settlement in all {
        let Some(job) = t.state.jobs.get(&settlement.fence.job).cloned() else { continue };
        if !holds(t, settlement, &job) {
            continue;
        }
        check::not_spent(job.id, settlement.verdict, settlement.by_worker && job.attempt >= job.max_attempts)?;
        close(t, settlement, &job)?;
        if let Some(batch) = job.chunk_of() {
            count(t.delta(batch), settlement, &job)?;
            keep(t, settlement, &job, batch)?;
        }
        moved.insert(job.id);
    }
    Ok(moved)
}

/// The fence: the job still runs under exactly this attempt of exactly this incarnation.
fn holds(t: &Transition<'_>, settlement: &Settlement<'_>, job: &Job) -> bool {
    if !t.store.keeps(Clause::Fence) {
        return true;
    }
    let Fence { attempt, worker, .. } = settlement.fence;
    let named = job.attempt == attempt && job.worker == Some(worker);
    job.state == JobState::Running && (named || !t.store.keeps(Clause::FenceNamesTheAttempt))
}

/// Moves the job on, and records an attempt that did not end well.
fn close(t: &mut Transition<'_>, settlement: &Settlement<'_>, before: &Job) -> Result<()> {
    let now = t.now;
    let state = settlement.state();
    let error = settlement.error.map(|text| check::plain(text, check::ERROR_CHARS_MAX));
    let output = settlement.output.map(kept_json).transpose()?;
    let attempt = (settlement.ending != Ending::Done).then(|| AttemptView {
        attempt: settlement.fence.attempt,
        worker: Some(settlement.fence.worker),
        started_at: before.started_at,
        ended_at: now,
        ending: settlement.ending.as_str().to_owned(),
        error: error.clone(),
    });
    if let Some(what) = Passed::of(settlement.verdict) {
        let micros = |at: Option<Instant>| at.map(|at| at.timestamp_micros());
        let (queued, started) = (micros(before.queued_at), micros(before.started_at));
        let wait = started.and_then(|started| bucket_between(queued, started));
        t.passed(before, what, wait, bucket_between(started, now.timestamp_micros()));
    }
    t.move_job(before.id, |job| {
        job.state = state;
        job.worker = None;
        job.deadline = None;
        job.run_at = match settlement.verdict {
            Verdict::Retry { after } | Verdict::Snooze { after } => Some(later(now, after)),
            Verdict::Done | Verdict::Requeue | Verdict::Release | Verdict::Dead | Verdict::Revoked => None,
        };
        if matches!(settlement.verdict, Verdict::Snooze { .. }) {
            job.snoozes += 1;
            job.max_attempts += 1;
        }
        if settlement.verdict == Verdict::Release {
            job.attempt -= 1;
        }
        if state == JobState::Queued {
            job.queued_at = Some(now);
        }
        job.finished_at = state.is_final().then_some(now);
        job.error = if state == JobState::Done { error } else { error.or(job.error.take()) };
        job.output = output;
        job.attempts.extend(attempt);
    });
    Ok(())
}

/// What a chunk's ending means for the counters of its batch.
fn count(delta: &mut Tally, settlement: &Settlement<'_>, job: &Job) -> Result<()> {
    match settlement.verdict {
        Verdict::Done => {
            let result = check::counted(job.id, job.weight(), settlement.chunk)?;
            delta.remaining -= 1;
            delta.ok += signed(result.ok);
            delta.skipped += signed(result.skipped);
            delta.quarantined += signed(result.quarantined);
        }
        Verdict::Dead => {
            delta.remaining -= 1;
            delta.dead += 1;
            delta.quarantined += job.weight();
        }
        Verdict::Retry { .. } => delta.retries += 1,
        Verdict::Requeue | Verdict::Release | Verdict::Snooze { .. } | Verdict::Revoked => {}
    }
    Ok(())
}

/// Stores the result of a chunk that is done, and the items that it set aside.
fn keep(t: &mut Transition<'_>, settlement: &Settlement<'_>, job: &Job, batch: BatchId) -> Result<()> {
    let (Verdict::Done, Some(result), Some(seq)) = (settlement.verdict, settlement.chunk, job.seq) else {
        return Ok(());
    };
    let stored = StoredResult { seq, generation: job.generation, result: kept(result)? };
    t.state.results.insert((batch, seq), Arc::new(stored));
    for item in &result.set_aside {
        let id = t.state.ids.row();
        let view = QuarantineView {
            id,
            batch,
            seq,
            generation: job.generation,
            position: item.position,
            line: item.line,
            stage: check::plain(&item.stage, check::REASON_CHARS_MAX),
            reason: check::plain(&item.reason, check::REASON_CHARS_MAX),
            item: kept_json(&item.item)?,
            state: "open".to_owned(),
            created_at: t.now,
        };
        t.state.quarantine.insert(id, Arc::new(Quarantined { tenant: job.tenant.clone(), view }));
    }
    Ok(())
}
