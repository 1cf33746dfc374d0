//! What attempts have said, and which errors were acknowledged, after their time.

use gristmill_store::{Result, StoreHandle};

use super::RetentionSettings;

/// How many rows one statement removes.
const AT_ONCE: u32 = 500;

/// Removes what attempts have said, as far as it is kept for long enough. Returns how many logs it was.
///
/// # Errors
///
/// Those of the store.
pub async fn prune_logs(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let Some(before) = settings.logs.before(store.now().await?) else { return Ok(0) };
    let mut total = 0;
    loop {
        let removed = store.prune_logs(before, AT_ONCE).await?;
        total += removed;
        if removed < u64::from(AT_ONCE) {
            return Ok(total);
        }
    }
}

/// Removes what was acknowledged of errors whose jobs are gone by now, whichever they were. Returns how many it was.
///
/// # Errors
///
/// Those of the store.
pub async fn prune_acknowledged(store: &StoreHandle, settings: &RetentionSettings) -> Result<u64> {
    let Some(before) = settings.acknowledged().before(store.now().await?) else { return Ok(0) };
    let mut total = 0;
    loop {
        let removed = store.prune_acknowledged(before, AT_ONCE).await?;
        total += removed;
        if removed < u64::from(AT_ONCE) {
            return Ok(total);
        }
    }
}
