//! T9: jobs whose time has come become claimable.

use gristmill_jobs::road::Road;
use gristmill_store::{Result, StoreHandle};

/// Promotes at most `limit` jobs by the database's clock, and publishes them: how many they were.
///
/// # Errors
///
/// Those of the store.
pub async fn promote(store: &StoreHandle, road: &Road, limit: u32) -> Result<u64> {
    let dispatched = store.promote(limit).await?;
    road.publish(&dispatched).await;
    Ok(dispatched.moved)
}
