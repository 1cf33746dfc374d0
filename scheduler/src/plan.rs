//! Plans that were never finished: takes back their batches.

use std::time::Duration;

use gristmill_service::dispatcher::Dispatcher;
use gristmill_service::{Actor, Order, Service};
use gristmill_store::{Result, StoreHandle};

/// A planner that has added nothing for this long is gone: even a large file yields chunks every second.
pub const STALLED_AFTER: Duration = Duration::from_secs(600);

/// How many stalled plans are handled at a time.
const STALLED_LIMIT: u32 = 100;

/// Takes back, or cancels, batches whose planner died, and returns how many there were. A plan cannot be resumed, since
/// only its planner knows what was still to be read.
///
/// # Errors
///
/// Store errors.
pub async fn resume(store: &StoreHandle, dispatcher: &Dispatcher, older_than: Duration) -> Result<u64> {
    let service = Service::new(store.clone(), dispatcher.clone());
    let stalled = store.stalled_plans(older_than, STALLED_LIMIT).await?;
    for (tenant, batch) in &stalled {
        let reason = format!("its planner has added nothing for {older_than:?}: it is gone; start the batch again");
        tracing::warn!(batch.id = %batch, reason, "a plan that was never finished is taken back");
        // The tick of the schedule that started it is started anew.
        store.release_tick(*batch, &reason, true).await?;
        service.take_back(&Order::new(tenant, Actor::Duty("plan")).because(reason), *batch).await;
    }
    Ok(stalled.len() as u64)
}
