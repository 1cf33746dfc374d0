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
    if let Some(batch) = job.batch
        && let Some(batch) = store.batch(&job.tenant, batch).await?.filter(|batch| batch.paused)
    {
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

/// Returns what a batch waits for: nothing while one of its jobs is run by a live worker, and when it has ended. Looks
/// at one of its chunks that wait, or else at its aggregate.
///
/// # Errors
///
/// Those of the store.
pub async fn why_batch(store: &StoreHandle, batch: &BatchView) -> Result<Vec<Wait>> {
    if batch.state.is_final() {
        return Ok(Vec::new());
    }
    let one_of = async |kind: Option<&str>, states: &[JobState]| {
        let filter = JobFilter {
            tenant: batch.tenant.clone(),
            states: states.to_vec(),
            kind: kind.map(str::to_owned),
            batch: Some(batch.id),
            ..JobFilter::default()
        };
        let found = store.jobs(&filter, &Page { after: None, limit: 1 }).await?;
        Ok::<_, crate::StoreError>(found.into_iter().next())
    };
    if one_of(None, &[JobState::Running]).await?.is_some() {
        let working = store.workers().await?.iter().any(WorkerView::works);
        return Ok(if working { Vec::new() } else { vec![Wait::NoWorker] });
    }
    for kind in ["chunk", "aggregate"] {
        for states in [&[JobState::Queued][..], &[JobState::Retry, JobState::Scheduled]] {
            if let Some(job) = one_of(Some(kind), states).await? {
                return why(store, &job).await;
            }
        }
    }
    Ok(Vec::new())
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
