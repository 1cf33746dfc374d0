//! Raw limits: the least that has the same effect. A table of jobs with a payload and an index of those that wait, and
//! beside PostgreSQL a durable queue of ids; claims and completions in groups of 500; each job writes its 24 bytes.

pub mod contest;
pub mod postgres;
pub mod rabbitmq;
pub mod sqlite;

/// How many jobs are enqueued in one transaction.
pub const ENQUEUED_AT_ONCE: usize = 1_000;

/// How many jobs are claimed, and completed, in one transaction.
pub const CLAIMED_AT_ONCE: usize = 500;

/// How many jobs are worked off at the same time by each of the two claimers of a drain: while one waits for the
/// database, the other works.
pub const CLAIMERS: u32 = 2;
