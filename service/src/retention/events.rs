//! Events, after their time.

use gristmill_store::{Result, StoreHandle};

use super::RetentionSettings;

/// How many events one statement removes.
const EVENTS_AT_ONCE: u32 = 500;

/// Removes events that are kept for long enough and that every subscription is done with. Returns how many it was.
///
/// # Errors
///
/// Those of the store.
pub async fn prune_events(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let Some(before) = settings.events.before(store.now().await?) else { return Ok(0) };
    let mut total = 0;
    loop {
        let removed = store.prune_events(before, EVENTS_AT_ONCE).await?;
        total += removed;
        if removed < u64::from(EVENTS_AT_ONCE) {
            return Ok(total);
        }
    }
}
