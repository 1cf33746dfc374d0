//! Schedules, the ledger of their ticks, and backfills.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use uuid::Uuid;

use super::SqliteStore;
use super::sql::{Reading, transact};
use super::transition::Transition;
use crate::error::Result;
use crate::sql::{backfills, schedules, ticks};
use crate::{
    BackfillView, Backfills, FireReport, Firing, LedgerTally, NewBackfill, SaveSchedule, ScheduleView, Schedules,
    TickFilter, TickView, Ticks,
};

#[async_trait]
impl Schedules for SqliteStore {
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        transact!(self, schedules::save, save)
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        transact!(self, schedules::remove, &(tenant, name))
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        schedules::list(&mut Reading(&self.readers), tenant, name).await
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        schedules::due(&mut Reading(&self.readers), now, limit).await
    }
}

#[async_trait]
impl Ticks for SqliteStore {
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        let mut t = Transition::begin(self).await?;
        let report = ticks::fire(&mut t, firings).await?;
        Ok(FireReport { dispatched: t.commit().await?.dispatched, ..report })
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        // Queried on a reader: mostly there are none.
        if !ticks::any_ended(&mut Reading(&self.readers)).await? {
            return Ok(0);
        }
        transact!(self, ticks::note_ended, &())
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        ticks::startable(&mut Reading(&self.readers), limit).await
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        ticks::orphaned(&mut Reading(&self.readers), limit).await
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        transact!(self, ticks::release, &(batch, reason, again))
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        ticks::list(&mut Reading(&self.readers), filter).await
    }

    async fn events(&self, tenant: &str, schedule: &str, events: &[String]) -> Result<Vec<TickView>> {
        ticks::events(&mut Reading(&self.readers), tenant, schedule, events).await
    }

    async fn newest_ticks(&self, tenant: &str, schedules: &[String]) -> Result<Vec<TickView>> {
        ticks::newest(&mut Reading(&self.readers), ticks::NEWEST_JOINED, tenant, schedules).await
    }

    async fn tallies(&self, tenant: &str, schedules: &[String], newest: u32) -> Result<Vec<LedgerTally>> {
        ticks::tallies(&mut Reading(&self.readers), tenant, schedules, newest).await
    }
}

#[async_trait]
impl Backfills for SqliteStore {
    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        transact!(self, backfills::create, backfill)
    }

    async fn control_backfill(&self, tenant: &str, id: Uuid, paused: Option<bool>) -> Result<u64> {
        transact!(self, backfills::control, &(tenant, id, paused))
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        backfills::list(&mut Reading(&self.readers), tenant, schedule).await
    }
}
