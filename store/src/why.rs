//! Why a job is not running, or a batch does not get on: everything that stands in the way, from the store's own views.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, served};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{BatchView, Blocker, JobFilter, JobView, Page, PauseView, StoreHandle, WorkerView};

/// One thing that a job waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Wait {
    /// Its time has not come.
    Time {
        /// When it will come.
        #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
        at: Instant,
    },
    /// Its queue is paused.
    QueuePaused {
        /// Which.
        queue: String,
        /// By whom and why.
        pause: Option<PauseView>,
    },
    /// Its batch is paused.
    BatchPaused {
        /// Which.
        batch: BatchId,
        /// By whom and why.
        pause: Option<PauseView>,
    },
    /// No worker is alive.
    NoWorker,
    /// Workers are alive, but none serves its queue.
    NoWorkerForQueue {
        /// Its queue.
        queue: String,
    },
    /// Workers serve its queue, but none has its kind, or reads this version of its payload.
    NoWorkerForKind {
        /// Its kind, followed by `@VERSION` for a version other than 1.
        kind: String,
        /// Whether some of them have the kind, for other versions.
        other_version: bool,
    },
    /// No scheduler is alive, which would let it run when its time comes, or publish its message.
    NoScheduler,
    /// It is committed, but the broker does not have its message yet.
    NotDispatched,
    /// Nothing stands in its way: a free slot will take it, in order of priority, or when its key has its turn.
    Slot {
        /// Whether the keys of its queue take turns.
        turns: bool,
    },
    /// A limit keeps it back: as many are running as are allowed.
    Concurrency {
        /// The limit's name.
        limit: String,
        /// How many are running.
        running: u64,
        /// How many are allowed.
        most: u32,
    },
    /// A limit keeps it back: as many have begun as are allowed.
    Rate {
        /// The limit's name.
        limit: String,
        /// When the next may begin.
        #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
        next: Instant,
    },
}

impl From<Blocker> for Wait {
    fn from(blocker: Blocker) -> Self {
        match blocker {
            Blocker::Concurrency { limit, running, most } => Self::Concurrency { limit, running, most },
            Blocker::Rate { limit, next } => Self::Rate { limit, next },
        }
    }
}

/// Returns everything that a job waits for; nothing when it runs or is final.
///
/// # Errors
///
/// Those of the store.
pub async fn why(store: &StoreHandle, job: &JobView) -> Result<Vec<Wait>> {
    why_in(store, job, None).await
}

/// The same of a job whose batch was read already.
async fn why_in(store: &StoreHandle, job: &JobView, known: Option<&BatchView>) -> Result<Vec<Wait>> {
    let mut waits = Vec::new();
    match job.state {
        JobState::Scheduled | JobState::Retry => waits.extend(job.run_at.map(|at| Wait::Time { at })),
        JobState::Queued => {}
        JobState::Running | JobState::Done | JobState::Dead | JobState::Cancelled => return Ok(waits),
    }
    let queues = store.queues(&job.tenant).await?;
    if let Some(queue) = queues.into_iter().find(|queue| queue.name == job.queue && queue.paused) {
        waits.push(Wait::QueuePaused { queue: queue.name, pause: queue.pause });
    }
    let batch = match (job.batch, known) {
        (Some(_), Some(known)) => Some(known.clone()),
        (Some(batch), None) => store.batch(&job.tenant, batch).await?,
        (None, _) => None,
    };
    if let Some(batch) = batch.filter(|batch| batch.paused) {
        waits.push(Wait::BatchPaused { batch: batch.id, pause: batch.pause });
    }
    let workers = store.workers().await?;
    waits.extend(unhandled(&workers, job));
    // On an embedded store a worker does the scheduler's duties.
    let unscheduled = !store.embedded() && !workers.iter().any(WorkerView::schedules);
    if job.state != JobState::Queued {
        waits.extend(unscheduled.then_some(Wait::NoScheduler));
        return Ok(waits);
    }
    let blockers = store.blockers(job.id).await?;
    waits.extend(blockers.hindrances.into_iter().map(Wait::from));
    let limited = store.limited().await?;
    if blockers.in_outbox && !limited.has(&job.queue, &job.kind) {
        waits.push(Wait::NotDispatched);
        waits.extend(unscheduled.then_some(Wait::NoScheduler));
    }
    if waits.is_empty() {
        waits.push(Wait::Slot { turns: limited.specs.get(&job.queue).is_some_and(|spec| spec.fair) });
    }
    Ok(waits)
}

/// The states of chunks by which it is seen what a batch waits for.
const SEEN_BY: [JobState; 4] = [JobState::Running, JobState::Queued, JobState::Retry, JobState::Scheduled];

/// Returns what a batch waits for: nothing while one of its chunks is run by a live worker, and when it has ended. Looks
/// at one of its chunks that wait, or else at its aggregate.
///
/// # Errors
///
/// Those of the store.
pub async fn why_batch(store: &StoreHandle, batch: &BatchView) -> Result<Vec<Wait>> {
    if batch.state.is_final() {
        return Ok(Vec::new());
    }
    let chunks = store.first_chunks(batch.id, &SEEN_BY, 1).await?;
    why_batch_by(store, batch, &chunks).await
}

/// The same by chunks that were read already: of each state, one at least if there is any.
///
/// # Errors
///
/// Those of the store.
pub async fn why_batch_by(store: &StoreHandle, batch: &BatchView, chunks: &[JobView]) -> Result<Vec<Wait>> {
    if batch.state.is_final() {
        return Ok(Vec::new());
    }
    let found = SEEN_BY.iter().find_map(|state| chunks.iter().find(|chunk| chunk.state == *state));
    let aggregate = if found.is_none() { aggregate(store, batch).await? } else { None };
    match found.or(aggregate.as_ref()) {
        None => Ok(Vec::new()),
        Some(job) if job.state == JobState::Running => {
            let working = store.workers().await?.iter().any(WorkerView::works);
            Ok(if working { Vec::new() } else { vec![Wait::NoWorker] })
        }
        Some(job) => why_in(store, job, Some(batch)).await,
    }
}

/// The aggregate of a batch, while it runs or waits.
async fn aggregate(store: &StoreHandle, batch: &BatchView) -> Result<Option<JobView>> {
    let filter = JobFilter {
        tenant: batch.tenant.clone(),
        states: SEEN_BY.to_vec(),
        kind: Some("aggregate".to_owned()),
        batch: Some(batch.id),
        ..JobFilter::default()
    };
    Ok(store.jobs(&filter, &Page { after: None, limit: 1 }).await?.into_iter().next())
}

/// Whether any live worker can run it.
fn unhandled(workers: &[WorkerView], job: &JobView) -> Option<Wait> {
    if !workers.iter().any(WorkerView::works) {
        return Some(Wait::NoWorker);
    }
    let mut here = workers.iter().filter(|worker| worker.works() && worker.serves(&job.queue)).peekable();
    if here.peek().is_none() {
        return Some(Wait::NoWorkerForQueue { queue: job.queue.clone() });
    }
    let kind = served(&job.kind, job.version);
    let mut other_version = false;
    for worker in here {
        if worker.kinds.contains(&kind) {
            return None;
        }
        other_version |= worker.kinds.iter().any(|one| one.split('@').next() == Some(job.kind.as_str()));
    }
    Some(Wait::NoWorkerForKind { kind, other_version })
}
