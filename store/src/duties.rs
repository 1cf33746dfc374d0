//! The scheduler's duties: rescue, promote, reconcile, and what is reported or removed when its time has come.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use serde::Serialize;

use crate::error::Result;
use crate::{BatchProgress, Dispatched};

/// The finding about a batch whose aggregate has ended without ending it.
pub(crate) fn over(batch: BatchId, state: JobState) -> String {
    format!("batch {batch} was aggregating, but the job that does it is {state}; halted now")
}

/// The scheduler's duties: what must happen although no caller asks for it.
#[async_trait]
pub trait Duties: Debug + Send + Sync + 'static {
    /// Rescue: takes back jobs of workers whose lease ran out, and jobs past their deadline. `settle` decides; for a
    /// chunk whose worker died `split` decides: its halves may take its place.
    async fn rescue(&self, limit: u32) -> Result<RescueReport>;

    /// Continues the stops of batches, cancels and halts, that were more than one transaction may do: one step for each.
    /// What they changed may be published; when they changed nothing, nothing is left.
    async fn continue_stops(&self) -> Result<Dispatched>;

    /// Promote: `scheduled` and `retry` jobs whose time has come become `queued`.
    async fn promote(&self, limit: u32) -> Result<Dispatched>;

    /// Reconcile: compares every batch that is not final with its jobs, and every counter with what it counts; repairs
    /// what the transitions above can repair, and reports everything it found. Above 100,000 jobs, those that have ended
    /// are counted by the first call of a process and once an hour.
    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport>;

    /// Enqueues what `on.late` defines for at most `limit` batches that have not ended by their deadline, once for each
    /// batch.
    async fn notify_late(&self, limit: u32) -> Result<Dispatched>;

    /// Returns batches whose spools may be removed, at most `limit`: they have ended, and either nothing is left that
    /// would read them or they ended longer than `keep` ago. From now on they can no longer be restarted.
    /// [`Duties::spools_removed`] follows when the spools are removed; until then the batches are returned again.
    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>>;

    /// Records that the spools of such a batch are removed.
    async fn spools_removed(&self, batch: BatchId) -> Result<()>;
}

/// With fewer jobs than this, those that have ended are counted each time, too.
pub(crate) const COUNTED_EACH_TIME: i64 = 100_000;

/// How often those that have ended are counted otherwise: that reads the whole of an index, and only a fault of the
/// program could make a difference.
const COUNTED_EVERY: Duration = Duration::from_secs(3_600);

/// When the counters of jobs that have ended were last compared with what they count.
#[derive(Debug, Default)]
pub(crate) struct EndedCount(Mutex<Option<Instant>>);

impl EndedCount {
    /// Whether it is time again; the first time is the first call.
    pub(crate) fn due(&self) -> bool {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_none_or(|last| last.elapsed() >= COUNTED_EVERY)
    }

    /// They have just been compared.
    pub(crate) fn done(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// What a rescue did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RescueReport {
    /// Incarnations whose lease ran out.
    pub workers_lost: u64,
    /// Jobs taken from them or past their deadline that are queued again or wait for a retry.
    pub requeued: u64,
    /// Those that are dead now.
    pub dead: u64,
    /// Chunks that were replaced by two halves.
    pub split: u64,
    /// What may be published now.
    pub dispatched: Dispatched,
    /// The batches that changed.
    pub progress: Vec<BatchProgress>,
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReconcileReport {
    /// Batches looked at.
    pub batches: u64,
    /// What was wrong, in words, each with what was done about it.
    pub findings: Vec<String>,
    /// What may be published now.
    #[serde(skip)]
    pub dispatched: Dispatched,
}
