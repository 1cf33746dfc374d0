//! How many instructions of its virtual machine SQLite takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gristmill_store::sqlite::SqliteStore;

/// Counts what the connections of a store do.
pub(crate) struct Instructions(Arc<AtomicI64>);

impl Instructions {
    pub(crate) async fn of(store: &SqliteStore) -> Self {
        let thousands = Arc::new(AtomicI64::new(0));
        for pool in store.pools().await {
            let mut conn = pool.acquire().await.expect("the connection");
            let mut handle = conn.lock_handle().await.expect("its handle");
            let counter = Arc::clone(&thousands);
            handle.set_progress_handler(1_000, move || {
                counter.fetch_add(1, Ordering::Relaxed);
                true
            });
        }
        Self(thousands)
    }

    /// How many thousand there were since the last call.
    pub(crate) fn thousands(&self) -> i64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}
