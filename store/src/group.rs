//! Which completions of one group count when several are about the same job.
//!
//! An ending that could not be recorded for a while may come together with that of the next attempt at the same job,
//! made by the same process under its next incarnation. Whichever comes first in the group, only the one that holds the
//! job now may count; the database decides which that is.

use std::collections::{HashMap, HashSet};

use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::Fence;
use gristmill_core::settle::Verdict;

use crate::Completion;

/// The jobs that a group names with more than one fence. Nearly always none.
pub(crate) fn contested(completions: &[Completion]) -> Vec<JobId> {
    let mut first: HashMap<JobId, Fence> = HashMap::with_capacity(completions.len());
    let mut jobs: Vec<JobId> = completions
        .iter()
        .filter(|one| *first.entry(one.fence.job).or_insert(one.fence) != one.fence)
        .map(|one| one.fence.job)
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs
}

/// Whether nothing follows from any of them, as far as they show: a chunk among them is only found by its row.
pub(crate) fn are_simply_done(completions: &[Completion]) -> bool {
    let simply = |one: &Completion| {
        one.verdict == Verdict::Done
            && one.chunk.is_none()
            && one.batch_end.is_none()
            && one.sql.is_none()
            && one.follow.is_empty()
            && one.messages.is_none()
            && one.events.is_empty()
    };
    !completions.is_empty() && completions.iter().all(simply) && contested(completions).is_empty()
}

/// Returns at most one completion for each job, and the fences of the others. For a contested job it is the one that
/// holds it now; the same fence twice counts once, as it would in two groups; one that no longer holds never counts.
pub(crate) fn one_each<'a>(
    completions: &'a [Completion],
    contested: &[JobId],
    holders: &HashMap<JobId, (u32, WorkerId)>,
) -> (Vec<&'a Completion>, Vec<Fence>) {
    let holds = |fence: Fence| {
        contested.binary_search(&fence.job).is_err() || holders.get(&fence.job) == Some(&(fence.attempt, fence.worker))
    };
    let mut seen = HashSet::with_capacity(completions.len());
    let (count, lost): (Vec<_>, Vec<_>) = completions
        .iter()
        .partition(|one| one.verdict != Verdict::Revoked && holds(one.fence) && seen.insert(one.fence.job));
    (count, lost.into_iter().map(|one| one.fence).collect())
}
