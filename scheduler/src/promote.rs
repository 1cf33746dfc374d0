//! Promote: jobs whose time has come become claimable.

use gristmill_service::dispatcher::Dispatcher;
use gristmill_store::{Result, StoreHandle};

/// Promotes at most `limit` jobs by the database's clock, and publishes them: how many they were.
///
/// # Errors
///
/// Those of the store.
pub async fn promote(store: &StoreHandle, dispatcher: &Dispatcher, limit: u32) -> Result<u64> {
    Ok(dispatcher.after(store.promote(limit)).await?.moved)
}
