//! How much is done for one measurement.

use std::time::Duration;

/// How many jobs are enqueued a second while it is measured how soon they begin.
pub const LATENCY_A_SECOND: u32 = 200;

/// How many jobs go first, so that connections are open and caches filled.
pub const WARM_UP: u32 = 100;

/// The number of the first of these: too high to count.
pub const WARM_UP_FIRST: u32 = 1_000_000_000;

/// The numbers of jobs that follow from those of a backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Of a backlog.
    pub jobs: u32,
    /// Of one caller.
    pub single: u32,
    /// Of 64 callers together.
    pub single_64: u32,
    /// Of the measurement of latency.
    pub latency: u32,
}

impl Size {
    /// Those for a backlog of so many.
    pub fn of(jobs: u32) -> Self {
        Self { jobs, single: (jobs / 20).max(100), single_64: (jobs / 10).max(640), latency: (jobs / 20).max(400) }
    }

    /// How long a backlog may take at the most: much longer than it does.
    pub fn patience(self) -> Duration {
        Duration::from_secs(120 + u64::from(self.jobs) / 100)
    }
}
