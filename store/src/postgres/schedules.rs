//! Schedules, the ledger of their ticks, and backfills.

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::id::BatchId;
use uuid::Uuid;

use super::PostgresStore;
use super::connect::{look, transact};
use super::fault::Outcome;
use super::work::Work;
use crate::error::Result;
use crate::sql::{backfills, schedules, ticks};
use crate::{
    BackfillView, Backfills, FireReport, Firing, LedgerTally, NewBackfill, SaveSchedule, ScheduleView, Schedules,
    TickFilter, TickView, Ticks,
};

#[async_trait]
impl Schedules for PostgresStore {
    async fn save_schedule(&self, save: &SaveSchedule) -> Result<ScheduleView> {
        transact!(self, schedules::save, save).await
    }

    async fn remove_schedule(&self, tenant: &str, name: &str) -> Result<bool> {
        transact!(self, schedules::remove, (tenant, name)).await
    }

    async fn schedules(&self, tenant: Option<&str>, name: Option<&str>) -> Result<Vec<ScheduleView>> {
        look!(self, schedules::list, tenant, name)
    }

    async fn due_schedules(&self, now: Instant, limit: u32) -> Result<Vec<ScheduleView>> {
        look!(self, schedules::due, now, limit)
    }
}

#[async_trait]
impl Ticks for PostgresStore {
    async fn fire(&self, firings: &[Firing]) -> Result<FireReport> {
        transact!(self, fire, firings).await
    }

    async fn note_ended_runs(&self) -> Result<u64> {
        transact!(self, ticks::note_ended, ()).await
    }

    async fn startable_ticks(&self, limit: u32) -> Result<Vec<TickView>> {
        look!(self, ticks::startable, limit)
    }

    async fn orphaned_plans(&self, limit: u32) -> Result<Vec<(String, BatchId)>> {
        look!(self, ticks::orphaned, limit)
    }

    async fn release_tick(&self, batch: BatchId, reason: &str, again: bool) -> Result<bool> {
        transact!(self, ticks::release, (batch, reason, again)).await
    }

    async fn ticks(&self, filter: &TickFilter) -> Result<Vec<TickView>> {
        look!(self, ticks::list, filter)
    }

    async fn events(&self, tenant: &str, schedule: &str, events: &[String]) -> Result<Vec<TickView>> {
        look!(self, ticks::events, tenant, schedule, events)
    }

    async fn newest_ticks(&self, tenant: &str, schedules: &[String]) -> Result<Vec<TickView>> {
        look!(self, ticks::newest, ticks::NEWEST_LATERAL, tenant, schedules)
    }

    async fn tallies(&self, tenant: &str, schedules: &[String], newest: u32) -> Result<Vec<LedgerTally>> {
        look!(self, ticks::tallies, tenant, schedules, newest)
    }
}

#[async_trait]
impl Backfills for PostgresStore {
    async fn backfill(&self, backfill: &NewBackfill) -> Result<u64> {
        transact!(self, backfills::create, backfill).await
    }

    async fn control_backfill(&self, tenant: &str, id: Uuid, paused: Option<bool>) -> Result<u64> {
        transact!(self, backfills::control, (tenant, id, paused)).await
    }

    async fn backfills(&self, tenant: &str, schedule: &str) -> Result<Vec<BackfillView>> {
        look!(self, backfills::list, tenant, schedule)
    }
}

async fn fire(work: &mut Work<'_>, firings: &[Firing]) -> Outcome<FireReport> {
    let report = ticks::fire(work, firings).await?;
    Ok(FireReport { dispatched: work.close().await?, ..report })
}
