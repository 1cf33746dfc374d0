//! The right to work on a store that allows only one working process.

use std::fs::File;
use std::sync::Arc;

use crate::Dispatched;

/// Held for as long as a process works; dropping it lets another process begin.
#[derive(Debug, Default)]
pub struct WorkGuard {
    /// What was made claimable again, because a dead process had been running it.
    pub rescued: Dispatched,
    /// The lock on the file beside an embedded store; none is needed on a server.
    lock: Option<File>,
    /// Shows the store of this process that it is the one that works.
    _working: Arc<()>,
}

impl WorkGuard {
    /// A guard that holds a locked file.
    pub(crate) fn holding(lock: File, working: Arc<()>, rescued: Dispatched) -> Self {
        Self { rescued, lock: Some(lock), _working: working }
    }

    /// Whether other processes are kept out.
    pub fn exclusive(&self) -> bool {
        self.lock.is_some()
    }
}
