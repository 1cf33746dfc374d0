//! The scheduler's duties: rescue, promote, reconcile, and what is told or removed when its time has come.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::BatchId;
use serde::Serialize;

use crate::error::Result;
use crate::{BatchProgress, Dispatched};

/// The scheduler's duties: what must happen although no caller asks for it.
#[async_trait]
pub trait Duties: Debug + Send + Sync + 'static {
    /// Rescue: jobs of workers whose lease ran out, and jobs past their deadline. `settle` decides; for a chunk whose
    /// worker died `split` does: its halves may take its place.
    async fn rescue(&self, limit: u32) -> Result<RescueReport>;

    /// Promote: `scheduled` and `retry` jobs whose time has come become `queued`.
    async fn promote(&self, limit: u32) -> Result<Dispatched>;

    /// Reconcile: compares every batch that is not final with its jobs, and every counter with what it
    /// counts; repairs what the transitions above can repair, and reports all it found.
    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport>;

    /// Enqueues what `on.late` says for at most `limit` batches that have not ended by their deadline, each once.
    async fn notify_late(&self, limit: u32) -> Result<Dispatched>;

    /// Batches whose copies of their input may be removed, at most `limit`: they have ended, and nothing is left that
    /// would read them, or that was longer than `keep` ago. From now on they can be restarted no more.
    /// [`Duties::spools_removed`] follows when the copies are removed; until then they are given again.
    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>>;

    /// The copies of such a batch are removed.
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
    /// Chunks that two halves have taken the place of.
    pub split: u64,
    /// What may now be published.
    pub dispatched: Dispatched,
    /// The batches that moved.
    pub progress: Vec<BatchProgress>,
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ReconcileReport {
    /// Batches looked at.
    pub batches: u64,
    /// What was wrong, in words, each with what was done about it.
    pub findings: Vec<String>,
    /// What may now be published.
    #[serde(skip)]
    pub dispatched: Dispatched,
}
