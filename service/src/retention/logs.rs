//! What attempts have said, after its time.

use gristmill_store::{Result, StoreHandle};

use super::RetentionSettings;

/// How many logs one statement removes.
const LOGS_AT_ONCE: u32 = 500;

/// Removes what attempts have said, as far as it is kept for long enough. Returns how many logs it was.
///
/// # Errors
///
/// Those of the store.
pub async fn prune_logs(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let Some(before) = settings.logs.before(store.now().await?) else { return Ok(0) };
    let mut total = 0;
    loop {
        let removed = store.prune_logs(before, LOGS_AT_ONCE).await?;
        total += removed;
        if removed < u64::from(LOGS_AT_ONCE) {
            return Ok(total);
        }
    }
}
