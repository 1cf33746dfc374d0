//! Claims: which queued jobs an incarnation gets to run.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::id::{JobId, WorkerId};
use gristmill_core::job::ClaimedJob;

use crate::LimitedClaim;
use crate::error::Result;

/// Claims: which queued jobs an incarnation gets to run.
#[async_trait]
pub trait Claims: Debug + Send + Sync + 'static {
    /// Claims by message: the named jobs that may run, at most `claim.limit`. Those of a kind or version that the
    /// worker lacks are noted as misrouted: their message is of no more use. Ids that no job has are distinguished from
    /// those that are merely late: see [`ClaimReport::unknown`].
    async fn claim(&self, claim: &Claim, ids: &[JobId]) -> Result<ClaimReport>;

    /// Claims from the store itself, when no broker carries the ids: by priority, then by age. Skips everything that is
    /// limited.
    async fn claim_next(&self, claim: &Claim) -> Result<Vec<ClaimedJob>>;

    /// Claims by limits and turns: regardless of messages, the store chooses among the queues and kinds that are
    /// [limited](crate::Limits::limited), as [`gristmill_core::limit::choose`] describes. No more jobs run at any
    /// instant than a limit allows, whichever worker claims; running jobs are counted from the rows, so that their slot
    /// is free however the attempt ends. A job that waits for a limit is not moved, spends no attempt, and does not
    /// hold back jobs under other limits.
    async fn claim_limited(&self, claim: &Claim) -> Result<LimitedClaim>;

    /// Returns jobs that `claim.worker` may claim and whose message went to a worker that lacks their kind or version,
    /// at most `claim.limit`. [`Claims::claim`] claims them as if their message had come.
    async fn misrouted(&self, claim: &Claim) -> Result<Vec<JobId>>;

    /// Waits for a hint that work became claimable, at most for the given time: for one that has come since `seen`, which
    /// the call before returned (0 at first, which waits for nothing). So a hint that comes between two calls, while its
    /// caller claims, is not lost. Returns the value to pass the next time; it differs from `seen` when a hint came. A
    /// hint may be missed all the same, and may be false: polling is the truth.
    async fn wait_for_work(&self, seen: u64, at_most: Duration) -> u64;

    /// Whether hints of all processes reach this one at the moment, so that polling only finds what was missed. `false`
    /// where none can be heard: behind some poolers, and as long as no call has waited for one.
    fn hears_of_work(&self) -> bool {
        false
    }
}

/// Which worker claims, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The incarnation.
    pub worker: WorkerId,
    /// Only from these queues (for `claim_next`); empty is all.
    pub queues: Vec<String>,
    /// Only these kinds and versions, as [`gristmill_core::job::served`] calls them: those for which the worker has a
    /// handler.
    pub kinds: Vec<String>,
    /// How many jobs at most: never more than there are free slots.
    pub limit: u32,
}

/// What a claim by message found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimReport {
    /// Claimed: run them.
    pub claimed: Vec<ClaimedJob>,
    /// Still queued, but not available just now (row locked, over the limit, or the claiming incarnation is over): put
    /// the message back.
    pub busy: Vec<JobId>,
    /// Still queued, but of a kind or version that the claiming worker lacks: drop the message. The job is noted as
    /// misrouted, and workers that have its kind find it by [`Claims::misrouted`].
    pub foreign: Vec<JobId>,
    /// Still queued, but claimed by limits and turns: drop the message, and call
    /// [`Claims::claim_limited`].
    pub limited: Vec<JobId>,
    /// No longer claimable by this message: drop it. The transition that makes the job claimable again (resume,
    /// promote, rescue) dispatches it anew.
    pub stale: Vec<JobId>,
    /// No job has this id, and none has had it that a message of ours may still name: keep the message as poison.
    /// (Jobs of a batch that was discarded before it was sealed are stale.)
    pub unknown: Vec<JobId>,
}
