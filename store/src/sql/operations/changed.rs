//! What became of what a step has selected.

use crate::{ControlReport, Dispatched};

/// What became of what was selected.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Changed {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
    /// Why the last of those that failed did.
    pub(super) error: Option<String>,
    /// The first of those that were changed.
    pub(super) samples: Vec<String>,
    pub(super) dispatched: Dispatched,
}

impl Changed {
    /// All of them are refused.
    pub(super) fn refused(selected: usize, why: &str) -> Self {
        Self { failed: selected as u64, error: Some(why.to_owned()), ..Self::default() }
    }

    /// All of them were in another state by then.
    pub(super) fn skipped(selected: usize) -> Self {
        Self { skipped: selected as u64, ..Self::default() }
    }

    /// Of so many as were asked for, these were changed.
    pub(super) fn of(asked: usize, report: ControlReport) -> Self {
        let ControlReport { affected, samples, dispatched, .. } = report;
        Self {
            done: affected,
            skipped: (asked as u64).saturating_sub(affected),
            samples,
            dispatched,
            ..Self::default()
        }
    }
}
