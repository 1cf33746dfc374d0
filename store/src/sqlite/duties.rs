//! Promote, and the scheduler's other duties.

use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::chunk::SourceFingerprint;
use gristmill_core::id::BatchId;

use super::error::database;
use super::promote::queue_again;
use super::row::{self, moved_columns};
use super::transition::Transition;
use super::{SqliteStore, notify, reconcile, rescue, stop};
use crate::error::Result;
use crate::{Dispatched, Duties, ReconcileReport, RescueReport};

#[async_trait]
impl Duties for SqliteStore {
    async fn rescue(&self, limit: u32) -> Result<RescueReport> {
        rescue::rescue(self, limit).await
    }

    async fn continue_stops(&self) -> Result<Dispatched> {
        stop::continue_all(self).await
    }

    async fn promote(&self, limit: u32) -> Result<Dispatched> {
        let due = "SELECT EXISTS (SELECT 1 FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= ?1)";
        let now = self.now_micros().await?;
        let due: bool = sqlx::query_scalar(due).bind(now).fetch_one(&self.readers).await.map_err(database)?;
        if !due {
            return Ok(Dispatched::default());
        }
        let mut t = Transition::begin(self).await?;
        let statement = concat!(
            "SELECT state, ",
            moved_columns!(),
            " FROM job WHERE state IN ('scheduled', 'retry') AND run_at <= ?1 ORDER BY run_at, id LIMIT ?2"
        );
        let found = t.rows(sqlx::query(statement).bind(t.now).bind(limit)).await?;
        queue_again(&mut t, &found).await?;
        Ok(t.commit().await?.dispatched)
    }

    async fn reconcile(&self, dry_run: bool) -> Result<ReconcileReport> {
        reconcile::reconcile(self, dry_run).await
    }

    async fn notify_late(&self, limit: u32) -> Result<Dispatched> {
        notify::late(self, limit).await
    }

    async fn spools(&self, keep: Duration, limit: u32) -> Result<Vec<(BatchId, SourceFingerprint)>> {
        let any = "SELECT EXISTS (SELECT 1 FROM batch WHERE spool IN ('kept', 'releasing'))";
        if !sqlx::query_scalar::<_, bool>(any).fetch_one(&self.readers).await.map_err(database)? {
            return Ok(Vec::new());
        }
        let mut t = Transition::begin(self).await?;
        let statement = "
            UPDATE batch SET spool = 'releasing'
            WHERE id IN (SELECT id FROM batch
                         WHERE spool = 'releasing' OR (spool = 'kept' AND state IN ('complete', 'halted', 'cancelled')
                               AND ((chunks_dead = 0 AND cancelled = 0) OR deleting_at IS NOT NULL OR finished_at <= ?1))
                         ORDER BY id LIMIT ?2)
            RETURNING id, stamp";
        let before = t.now.saturating_sub(i64::try_from(keep.as_micros()).unwrap_or(i64::MAX));
        let rows = t.rows(sqlx::query(statement).bind(before).bind(limit)).await?;
        t.commit().await?;
        rows.iter().map(|row| Ok((row::id(row, "id")?, row::json(row, "stamp")?))).collect()
    }

    async fn spools_removed(&self, batch: BatchId) -> Result<()> {
        let mut t = Transition::begin(self).await?;
        let statement = "UPDATE batch SET spool = 'gone' WHERE id = ?1 AND spool = 'releasing'";
        t.run(sqlx::query(statement).bind(batch.0)).await?;
        t.commit().await?;
        Ok(())
    }
}
