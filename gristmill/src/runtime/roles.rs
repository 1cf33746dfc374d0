//! The roles of a process: a worker's, the scheduler's, or both.

use crate::exit_code::{CommandError, Result};

/// The roles of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Claims and runs jobs.
    pub(crate) worker: bool,
    /// Does the scheduler's duties.
    pub(crate) scheduler: bool,
}

impl Roles {
    /// Both.
    pub(crate) const BOTH: Self = Self { worker: true, scheduler: true };

    /// A worker. On an embedded store, where no other process can work, it does the scheduler's duties too.
    pub(crate) fn worker(embedded: bool) -> Self {
        Self { worker: true, scheduler: embedded }
    }

    /// A scheduler.
    ///
    /// # Errors
    ///
    /// On an embedded store: no worker could work beside it.
    pub(crate) fn scheduler(embedded: bool) -> Result<Self> {
        if embedded {
            return Err(CommandError::usage("on SQLite one process does everything")
                .hint("start `gristmill dev`, or `gristmill worker`, which does the scheduler's duties too"));
        }
        Ok(Self { worker: false, scheduler: true })
    }

    /// The word for them in the list of workers.
    pub(crate) fn word(self) -> &'static str {
        match (self.worker, self.scheduler) {
            (true, true) => "dev",
            (true, false) => "worker",
            (false, _) => "scheduler",
        }
    }

    /// Their name in a sentence.
    pub(crate) fn describe(self) -> &'static str {
        match (self.worker, self.scheduler) {
            (true, true) => "worker and scheduler",
            (true, false) => "worker",
            (false, _) => "scheduler",
        }
    }
}
