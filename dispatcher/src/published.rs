//! Outbox rows that are published are removed in groups: what comes while one group is being removed is in the next.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill_store::{Outbox, Result};

/// Rows to be removed.
#[derive(Debug)]
pub(crate) struct PublishedRows {
    store: Arc<dyn Outbox>,
    rows: Mutex<Vec<i64>>,
    turn: tokio::sync::Mutex<()>,
}

impl PublishedRows {
    pub(crate) fn new(store: Arc<dyn Outbox>) -> Self {
        Self { store, rows: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Removes these rows, and those of callers that came meanwhile. Returns when they are removed. The error comes to
    /// the caller that removed the group: rows that stay are published once more, and the claim drops the duplicates.
    pub(crate) async fn remove(&self, rows: &[i64]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
        let _turn = self.turn.lock().await;
        let group = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        // An earlier caller may have removed ours with its own.
        if group.is_empty() { Ok(()) } else { self.store.outbox_done(&group).await }
    }
}
