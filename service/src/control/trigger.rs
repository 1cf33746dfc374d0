//! Triggers: retry an event whose run could not be started.

use gristmill_core::audit::Action;
use gristmill_store::{FireTick, Firing, Result, StoreError, TickOutcome, TickView};

use crate::Service;
use crate::order::Order;
use crate::start::turn;

impl Service {
    /// Lets an event wait for a scheduler to start it anew: 1, or 0 when another caller was first. `row` is its row of
    /// the ledger as it was read. A dry run only checks.
    ///
    /// # Errors
    ///
    /// `Conflict` unless its run could not be started, and those of the store.
    pub async fn retry_event(&self, order: &Order, row: &TickView) -> Result<u64> {
        if row.outcome != TickOutcome::Failed {
            let event = row.event.as_deref().unwrap_or_default();
            let what = "only one whose run could not be started is started anew";
            return Err(StoreError::Conflict(format!("the event `{event}` is {}; {what}", row.outcome)));
        }
        if order.dry_run {
            return Ok(1);
        }
        let reason = order.reason.clone().unwrap_or_else(|| "it was asked for anew".to_owned());
        let tick = FireTick { outcome: TickOutcome::Waiting, reason: Some(reason), ..turn(row) };
        let (tenant, schedule) = (order.tenant.clone(), row.schedule.clone());
        let store = order.at(
            &self.store,
            Action::EventRetry,
            format!("{schedule} {}", row.event.as_deref().unwrap_or_default()),
        );
        let fired = self.after(store.fire(&[Firing { tenant, schedule, advance: None, ticks: vec![tick] }])).await?;
        Ok(fired.written)
    }
}
