//! What a walk looks for, and what it finds.

use std::fmt;

use gristmill_core::Instant;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::operation::OperationVerb;
use gristmill_core::query::Query;

/// What a step has selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Job(JobId),
    /// A quarantined item by its number, and its batch.
    Item(i64, BatchId),
    Batch(BatchId),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(job) => job.fmt(f),
            Self::Item(item, _) => item.fmt(f),
            Self::Batch(batch) => batch.fmt(f),
        }
    }
}

/// What a walk looks for.
#[derive(Debug, Clone)]
pub(crate) struct Sought<'a> {
    pub(super) tenant: &'a str,
    pub(super) verb: OperationVerb,
    /// As of the snapshot.
    pub(super) query: Query,
    pub(super) snapshot: Instant,
}
