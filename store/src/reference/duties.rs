//! Promote, and the scheduler's other duties.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;

use super::promote::queue_again;
use super::state::most;
use super::state::{Job, Spools, ago};
use super::transition::Transition;
use super::{ReferenceStore, notify, reconcile, rescue};
use crate::error::Result;
use crate::{Dispatched, Duties, ReconcileReport, RescueReport};

#[async_trait]
impl Duties for ReferenceStore {
    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        rescue::rescue(self, limit)
    }

    /// Here a stop has no steps: it is one transition.
    async fn continue_stops(&self) -> Result<Dispatched> {
        Ok(Dispatched::default())
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        let mut t = Transition::begin(self);
        let waits = |job: &&Arc<Job>| matches!(job.state, JobState::Scheduled | JobState::Retry);
        let due = t.state.jobs.values().filter(waits).filter_map(|job| Some((job.run_at?, job.id)));
        let mut due: Vec<_> = due.filter(|(run_at, _)| *run_at <= t.now).collect();
        due.sort_unstable();
        for (_, id) in due.into_iter().take(most(limit)) {
            queue_again(&mut t, id);
        }
        Ok(t.commit()?.dispatched)
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        reconcile::reconcile(self, dry_run)
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        notify::late(self, limit)
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        let mut t = Transition::begin(self);
        let before = ago(t.now, keep);
        let mut given = Vec::new();
        for batch in t.state.batches.values_mut() {
            let nothing_left = batch.tally.dead == 0 && batch.tally.cancelled == 0;
            let long_ago = batch.finished_at.is_some_and(|at| at <= before);
            let may_go = match batch.spools {
                Some(Spools::Releasing) => true,
                Some(Spools::Kept) => batch.state.is_final() && (nothing_left || long_ago || batch.deleting),
                Some(Spools::Removed) | None => false,
            };
            if may_go && given.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
                Arc::make_mut(batch).spools = Some(Spools::Releasing);
                given.push((batch.id, batch.fingerprint.as_ref().clone()));
            }
        }
        t.commit()?;
        Ok(given)
    }

    async fn spools_removed(&self, id: BatchId) -> Result<()> {
        let mut t = Transition::begin(self);
        if let Some(batch) = t.state.batch_mut(id)
            && batch.spools == Some(Spools::Releasing)
        {
            batch.spools = Some(Spools::Removed);
        }
        t.commit()?;
        Ok(())
    }
}
