//! Backfills: start, pause, resume, cancel.

use gristmill_core::Instant;
use gristmill_core::audit::Action;
use gristmill_store::{NewBackfill, Result, StoreError, TickFilter, TickOutcome};
use uuid::Uuid;

use crate::Service;
use crate::order::Order;

/// The most rows of the ledger that a rehearsal looks at.
const ROWS_MAX: u32 = 10_000;

/// A slot of a schedule: its tick and its logical interval.
pub type Slot = (Instant, (Instant, Instant));

impl Service {
    /// Puts a past range of a schedule into the ledger, to be run by a scheduler, and returns how many slots wait. A
    /// dry run counts those that would.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn start_backfill(&self, order: &Order, backfill: &NewBackfill) -> Result<u64> {
        if order.dry_run {
            return Ok(self.open_slots(backfill).await?.len() as u64);
        }
        let store = order.at(&self.store, Action::BackfillStart, &backfill.schedule);
        store.backfill(&NewBackfill { tenant: order.tenant.clone(), ..backfill.clone() }).await
    }

    /// The slots of a backfill that would run: those that have no run yet, or whose run was skipped or failed.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn open_slots(&self, backfill: &NewBackfill) -> Result<Vec<Slot>> {
        let filter = TickFilter {
            tenant: backfill.tenant.clone(),
            schedule: backfill.schedule.clone(),
            from: Some(backfill.range.0),
            until: Some(backfill.range.1),
            limit: ROWS_MAX,
        };
        let known = self.store.ticks(&filter).await?;
        let open = |slot: &&Slot| {
            use TickOutcome::{Failed, SkippedMissed, SkippedOverlap};
            let row = known.iter().find(|row| row.tick == slot.0);
            row.is_none_or(|row| matches!(row.outcome, SkippedMissed | SkippedOverlap | Failed))
        };
        Ok(backfill.ticks.iter().filter(open).copied().collect())
    }

    /// Stops starting slots of a backfill, or goes on with it, and returns how many slots wait. A dry run only counts
    /// them.
    ///
    /// # Errors
    ///
    /// Store errors; at a dry run `NotFound` when the schedule has no such backfill.
    pub async fn pause_backfill(&self, order: &Order, schedule: &str, id: Uuid, paused: bool) -> Result<u64> {
        self.control_backfill(order, schedule, id, Some(paused)).await
    }

    /// Removes what still waits of a backfill, and returns how many slots that were. A dry run only counts them.
    ///
    /// # Errors
    ///
    /// Same as [`Service::pause_backfill`].
    pub async fn cancel_backfill(&self, order: &Order, schedule: &str, id: Uuid) -> Result<u64> {
        self.control_backfill(order, schedule, id, None).await
    }

    async fn control_backfill(&self, order: &Order, schedule: &str, id: Uuid, paused: Option<bool>) -> Result<u64> {
        if !order.dry_run {
            let action = match paused {
                Some(true) => Action::BackfillPause,
                Some(false) => Action::BackfillResume,
                None => Action::BackfillCancel,
            };
            let store = order.at(&self.store, action, format!("{schedule} {id}"));
            return store.control_backfill(&order.tenant, id, paused).await;
        }
        let views = self.store.backfills(&order.tenant, schedule).await?;
        let view = views.iter().find(|view| view.id == id);
        let view = view.ok_or_else(|| StoreError::NotFound(format!("`{schedule}` has no backfill {id}")))?;
        Ok(view.waiting)
    }
}
