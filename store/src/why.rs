//! Why a job is not running: everything that stands in its way, from the store's own views.

use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use gristmill_core::job::{JobState, served};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::{Blocker, JobView, PauseView, StoreHandle};

/// One thing that a job waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Wait {
    /// Its time has not come.
    Time {
        /// When it will come.
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
    /// It is committed, but the broker does not have its message yet.
    NotDispatched,
    /// Nothing stands in its way: a free slot will take it, in order of priority, or when its key has its turn.
    Slot {
        /// Whether the keys of its queue take turns.
        turns: bool,
    },
    /// A limit keeps it back.
    #[serde(untagged)]
    Blocked(Blocker),
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
    waits.extend(unhandled(store, job).await?);
    if job.state != JobState::Queued {
        return Ok(waits);
    }
    let blockers = store.blockers(job.id).await?;
    waits.extend(blockers.hindrances.into_iter().map(Wait::Blocked));
    let limited = store.limited().await?;
    if blockers.in_outbox && !limited.has(&job.queue, &job.kind) {
        waits.push(Wait::NotDispatched);
    }
    if waits.is_empty() {
        waits.push(Wait::Slot { turns: limited.specs.get(&job.queue).is_some_and(|spec| spec.fair) });
    }
    Ok(waits)
}

/// Whether any live worker can run it.
async fn unhandled(store: &StoreHandle, job: &JobView) -> Result<Option<Wait>> {
    let workers = store.workers().await?;
    let alive: Vec<_> = workers.iter().filter(|worker| worker.state == "alive" && worker.slots > 0).collect();
    if alive.is_empty() {
        return Ok(Some(Wait::NoWorker));
    }
    let wanted = |queues: &[String]| queues.is_empty() || queues.contains(&job.queue);
    let mut here = alive.into_iter().filter(|worker| wanted(&worker.queues)).peekable();
    if here.peek().is_none() {
        return Ok(Some(Wait::NoWorkerForQueue { queue: job.queue.clone() }));
    }
    let kind = served(&job.kind, job.version);
    let mut other_version = false;
    for worker in here {
        if worker.kinds.contains(&kind) {
            return Ok(None);
        }
        other_version |= worker.kinds.iter().any(|one| one.split('@').next() == Some(job.kind.as_str()));
    }
    Ok(Some(Wait::NoWorkerForKind { kind, other_version }))
}
