//! Promote, and the scheduler's other duties.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::BatchId;

use super::connect::{control, single, transact};
use super::promote;
use super::{PostgresStore, notify, reconcile, rescue, stop};
use crate::error::Result;
use crate::{Dispatched, Duties, ReconcileReport, RescueReport};

#[async_trait]
impl Duties for PostgresStore {
    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        transact!(self, rescue::rescue, limit).await
    }

    async fn continue_stops(&self) -> Result<Dispatched> {
        stop::continue_all(self).await
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        let due: Result<bool> = async { single!(self, promote::any_due) }.await;
        if due? { transact!(self, promote::promote, limit).await } else { Ok(Dispatched::default()) }
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        let ended = self.ended_count.due();
        let report: Result<ReconcileReport> = async { control!(self, dry_run, reconcile::reconcile, ended) }.await;
        if ended && report.is_ok() {
            self.ended_count.done();
        }
        report
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        transact!(self, notify::late, limit).await
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        transact!(self, notify::spools, (keep, limit)).await
    }

    async fn spools_removed(&self, batch: BatchId) -> Result<()> {
        single!(self, notify::spools_removed, batch)
    }
}
