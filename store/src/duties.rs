//! The scheduler's duties: rescue, promote, reconcile, and what is reported or removed when its time has come.

use std::fmt::Debug;
use std::time::Duration;

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

    /// Promote: `scheduled` and `retry` jobs whose time has come become `queued`.
    async fn promote(&self, limit: u32) -> Result<Dispatched>;

    /// Reconcile: compares every batch that is not final with its jobs, and every counter with what it counts; repairs
    /// what the transitions above can repair, and reports everything it found.
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
