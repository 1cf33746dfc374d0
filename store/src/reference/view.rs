//! What people and pages are shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use serde_json::Value;
use uuid::Uuid;

use super::ReferenceStore;
use super::state::most;
use super::state::{Batch, Job, State, Worker, WorkerState, unsigned};
use super::transition::Transition;
use crate::error::{Result, StoreError};
use crate::views::{self, Serving, UNHANDLED_LOOKED_AT};
use crate::{
    BatchFilter, BatchPlan, BatchView, CHUNK_BRIEFS_MAX, ChunkBrief, ChunkRange, ChunkRanges, JobFilter, JobView, Page,
    QuarantineFilter, QuarantineView, QueueView, StoredParts, StoredResult, UnhandledView, Views,
};

/// How many rows one page has at most.
const PAGE_ROWS_MAX: u32 = 1_000;

#[async_trait]
impl Views for ReferenceStore {
    async fn batch(&self, tenant: &str, id: BatchId) -> Result<Option<BatchView>> {
        let t = Transition::begin(self);
        Ok(t.state.batches.get(&id).filter(|batch| batch.tenant == tenant).map(|batch| batch_view(batch)))
    }

    async fn batch_plan(&self, id: BatchId) -> Result<Option<BatchPlan>> {
        let t = Transition::begin(self);
        Ok(t.state.batches.get(&id).map(|batch| BatchPlan {
            id,
            tenant: batch.tenant.clone(),
            name: batch.name.clone(),
            definition: (*batch.definition).clone(),
            fingerprint: (*batch.fingerprint).clone(),
            params: batch.params.clone(),
            trace: batch.trace.clone(),
        }))
    }

    async fn batches(&self, filter: &BatchFilter, page: &Page) -> Result<Vec<BatchView>> {
        let after = after_id(page)?;
        let t = Transition::begin(self);
        let newest = t.state.batches.values().rev();
        let wanted = newest
            .filter(|batch| batch.tenant == filter.tenant)
            .filter(|batch| filter.name.as_ref().is_none_or(|name| *name == batch.name))
            .filter(|batch| filter.state.is_none_or(|state| state == batch.state))
            .filter(|batch| after.is_none_or(|after| batch.id.0 < after))
            .map(|batch| batch_view(batch))
            .filter(|batch| filter.query.matches(batch));
        Ok(wanted.take(rows(page)).collect())
    }

    async fn chunk_results(&self, id: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredResult>> {
        let t = Transition::begin(self);
        let of_batch = t.state.results.iter().filter(|((batch, seq), _)| *batch == id && *seq > after_seq);
        Ok(of_batch.take(most(limit)).map(|(_, result)| (**result).clone()).collect())
    }

    async fn output_parts(&self, id: BatchId, after_seq: i64, limit: u32) -> Result<Vec<StoredParts>> {
        let t = Transition::begin(self);
        let of_batch = t.state.results.iter().filter(|((batch, seq), _)| *batch == id && *seq > after_seq);
        let wrote = of_batch.map(|((_, seq), result)| StoredParts { seq: *seq, parts: result.result.parts.clone() });
        Ok(wrote.filter(|wrote| !wrote.parts.is_empty()).take(most(limit)).collect())
    }

    async fn chunk_briefs(&self, id: BatchId, first: i64, limit: u32) -> Result<Vec<ChunkBrief>> {
        let t = Transition::begin(self);
        let mut found: Vec<ChunkBrief> =
            chunks_of(&t.state, id).map(|(seq, job)| brief(seq, job)).filter(|chunk| chunk.seq >= first).collect();
        found.sort_by_key(|chunk| chunk.seq);
        found.truncate(most(limit.min(CHUNK_BRIEFS_MAX)));
        Ok(found)
    }

    async fn first_chunks(&self, id: BatchId, states: &[JobState], each: u32) -> Result<Vec<JobView>> {
        let t = Transition::begin(self);
        let of = |state: &JobState| {
            let own = chunks_of(&t.state, id).filter(|(_, job)| job.state == *state && job.kind == "chunk");
            let chunk = |(_, job): (i64, &Job)| JobView { output: None, ..job_view(job) };
            own.take(most(each)).map(chunk).collect::<Vec<_>>()
        };
        Ok(states.iter().flat_map(of).collect())
    }

    async fn chunk_ranges(&self, id: BatchId, width: u32) -> Result<ChunkRanges> {
        let t = Transition::begin(self);
        let width = i64::from(width.max(1));
        let mut ranges: BTreeMap<i64, ChunkRange> = BTreeMap::new();
        for (seq, job) in chunks_of(&t.state, id) {
            let part = seq / width;
            let range = ranges.entry(part).or_insert(ChunkRange { first: part * width, ..ChunkRange::default() });
            match job.state {
                JobState::Done => range.done += 1,
                JobState::Running => range.running += 1,
                JobState::Retry => range.retry += 1,
                JobState::Dead => range.dead += 1,
                JobState::Cancelled => range.cancelled += 1,
                JobState::Scheduled | JobState::Queued => {}
            }
        }
        let ranges =
            ranges.into_values().filter(|range| *range != ChunkRange { first: range.first, ..Default::default() });
        Ok(ChunkRanges { ranges: ranges.collect(), complete: true })
    }

    async fn job(&self, tenant: &str, id: JobId) -> Result<Option<JobView>> {
        let t = Transition::begin(self);
        let Some(job) = t.state.jobs.get(&id).filter(|job| job.tenant == tenant) else { return Ok(None) };
        let mut attempts = job.attempts.clone();
        attempts.sort_by_key(|attempt| attempt.attempt);
        Ok(Some(JobView { payload: job.payload.clone(), attempts, ..job_view(job) }))
    }

    async fn jobs(&self, filter: &JobFilter, page: &Page) -> Result<Vec<JobView>> {
        let after = after_id(page)?;
        let t = Transition::begin(self);
        let newest = t.state.jobs.values().rev();
        let wanted = newest
            .filter(|job| job.tenant == filter.tenant)
            .filter(|job| filter.states.is_empty() || filter.states.contains(&job.state))
            .filter(|job| filter.queue.as_ref().is_none_or(|queue| *queue == job.queue))
            .filter(|job| filter.kind.as_ref().is_none_or(|kind| *kind == job.kind))
            .filter(|job| filter.key.is_none() || filter.key == job.key)
            .filter(|job| filter.batch.is_none() || filter.batch == job.batch)
            .filter(|job| filter.since.is_none_or(|since| job.finished_at.is_some_and(|at| at >= since)))
            .filter(|job| {
                let says = |text: &String| {
                    job.error.as_ref().is_some_and(|error| error.to_lowercase().contains(&text.to_lowercase()))
                };
                filter.error.as_ref().is_none_or(says)
            })
            .filter(|job| after.is_none_or(|after| job.id.0 < after))
            .map(|job| job_view(job))
            .filter(|job| filter.query.matches(job));
        Ok(wanted.take(rows(page)).collect())
    }

    async fn tenants(&self) -> Result<Vec<String>> {
        let t = Transition::begin(self);
        let known: BTreeSet<&String> = t.state.queues.iter().chain(t.state.pauses.keys()).map(|(of, _)| of).collect();
        Ok(known.into_iter().cloned().collect())
    }

    async fn queue_names(&self) -> Result<Vec<String>> {
        let t = Transition::begin(self);
        let known: BTreeSet<&String> =
            t.state.queues.iter().chain(t.state.pauses.keys()).map(|(_, name)| name).collect();
        Ok(known.into_iter().cloned().collect())
    }

    async fn queues(&self, tenant: &str) -> Result<Vec<QueueView>> {
        let t = Transition::begin(self);
        let known = t.state.queues.iter().chain(t.state.pauses.keys()).filter(|(of, _)| of == tenant);
        let mut views: BTreeMap<&String, QueueView> =
            known.map(|(_, name)| (name, QueueView { name: name.clone(), ..QueueView::default() })).collect();
        for job in t.state.jobs.values().filter(|job| job.tenant == tenant) {
            if let Some(view) = views.get_mut(&job.queue) {
                *counter(view, job.state) += 1;
            }
        }
        for view in views.values_mut() {
            view.pause = t.state.pause_of(tenant, &view.name).cloned();
            view.paused = view.pause.is_some();
            view.oldest_queued_at = oldest(&t.state, tenant, &view.name);
        }
        Ok(views.into_values().collect())
    }

    async fn unhandled(&self, tenant: &str) -> Result<Vec<UnhandledView>> {
        let t = Transition::begin(self);
        let queued = |job: &&Arc<Job>| job.state == JobState::Queued && job.tenant == tenant;
        let mut heads: BTreeMap<(&str, &str), Vec<&Job>> = BTreeMap::new();
        for job in t.state.jobs.values().filter(queued) {
            heads.entry((&job.queue, &job.kind)).or_default().push(job);
        }
        let mut waiting: BTreeMap<(&str, &str, u32), u64> = BTreeMap::new();
        for ((queue, kind), jobs) in heads {
            for job in jobs.into_iter().take(usize::try_from(UNHANDLED_LOOKED_AT).unwrap_or(usize::MAX)) {
                *waiting.entry((queue, kind, job.version)).or_default() += 1;
            }
        }
        let waiting = waiting.into_iter().map(|((queue, kind, version), jobs)| UnhandledView {
            queue: queue.to_owned(),
            kind: kind.to_owned(),
            version,
            jobs,
        });
        let alive = |worker: &&Arc<Worker>| worker.state == WorkerState::Alive && worker.lease_until >= t.now;
        let workers = t.state.workers.values().filter(alive);
        let serving: Vec<Serving> =
            workers.map(|worker| (worker.entered.queues.clone(), worker.entered.kinds.clone())).collect();
        Ok(views::unhandled(waiting.collect(), &serving))
    }

    async fn quarantine(&self, filter: &QuarantineFilter, page: &Page) -> Result<Vec<QuarantineView>> {
        let after: Option<i64> =
            page.after.as_ref().map(|after| after.parse().map_err(|_| bad_key(after, "a number"))).transpose()?;
        let t = Transition::begin(self);
        let wanted = t
            .state
            .quarantine
            .values()
            .filter(|item| item.tenant == filter.tenant)
            .filter(|item| filter.batch.is_none_or(|batch| batch == item.view.batch))
            .filter(|item| !filter.open_only || item.view.state == "open")
            .filter(|item| after.is_none_or(|after| item.view.id > after))
            .filter(|item| filter.query.matches(&item.view));
        Ok(wanted.take(rows(page)).map(|item| item.view.clone()).collect())
    }
}

/// The oldest by id of each kind is close enough to the oldest.
fn oldest(state: &State, tenant: &str, queue: &str) -> Option<Instant> {
    let waits = |job: &&Job| job.state == JobState::Queued && job.tenant == tenant && job.queue == queue;
    let mut heads: BTreeMap<&str, &Job> = BTreeMap::new();
    for job in state.jobs.values().map(|job| &**job).filter(waits) {
        heads.entry(&job.kind).or_insert(job);
    }
    heads.into_values().filter_map(|job| job.queued_at).min()
}

fn counter(view: &mut QueueView, state: JobState) -> &mut u64 {
    match state {
        JobState::Scheduled => &mut view.scheduled,
        JobState::Queued => &mut view.queued,
        JobState::Running => &mut view.running,
        JobState::Retry => &mut view.retry,
        JobState::Done => &mut view.done,
        JobState::Dead => &mut view.dead,
        JobState::Cancelled => &mut view.cancelled,
    }
}

fn rows(page: &Page) -> usize {
    most(page.limit.clamp(1, PAGE_ROWS_MAX))
}

fn after_id(page: &Page) -> Result<Option<Uuid>> {
    page.after.as_ref().map(|after| Uuid::parse_str(after).map_err(|_| bad_key(after, "an id"))).transpose()
}

fn bad_key(found: &str, right: &str) -> StoreError {
    StoreError::Invalid(format!("`{found}` is no key of this list; give {right} from the last row of the page before"))
}

pub(super) fn batch_view(batch: &Batch) -> BatchView {
    BatchView {
        id: batch.id,
        tenant: batch.tenant.clone(),
        name: batch.name.clone(),
        state: batch.state,
        paused: batch.pause.is_some(),
        pause: batch.pause.clone(),
        generation: batch.generation,
        counts: batch.tally.counts(),
        chunks: unsigned(batch.tally.chunks),
        remaining: unsigned(batch.tally.remaining),
        chunks_dead: unsigned(batch.tally.dead),
        retries: unsigned(batch.tally.retries),
        failure_budget: batch.failure_budget.to_string(),
        result: batch.result.clone(),
        reason: views::reason(batch.reason.clone(), batch.aggregate_error.as_deref()),
        created_at: batch.created_at,
        finished_at: batch.finished_at,
    }
}

/// The jobs that are chunks of a batch, with their numbers.
fn chunks_of(state: &State, id: BatchId) -> impl Iterator<Item = (i64, &Job)> {
    let of_batch = state.jobs.values().filter(move |job| job.batch == Some(id));
    of_batch.filter_map(|job| Some((job.seq?, &**job)))
}

fn brief(seq: i64, job: &Job) -> ChunkBrief {
    ChunkBrief {
        seq,
        job: job.id,
        state: job.state,
        attempt: job.attempt,
        items: job.items,
        started_at: job.started_at,
        finished_at: job.finished_at,
    }
}

/// Without payload and attempts.
pub(super) fn job_view(job: &Job) -> JobView {
    JobView {
        id: job.id,
        tenant: job.tenant.clone(),
        queue: job.queue.clone(),
        priority: job.priority,
        key: job.key.clone(),
        kind: job.kind.clone(),
        version: job.version,
        state: job.state,
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        snoozes: job.snoozes,
        batch: job.batch,
        seq: job.seq,
        generation: job.generation,
        items: job.items,
        payload: Value::Null,
        output: job.output.clone(),
        error: job.error.clone(),
        worker: job.worker,
        created_at: job.created_at,
        run_at: job.run_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        attempts: Vec::new(),
    }
}
