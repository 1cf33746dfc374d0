//! What has ended with unfinished work, and runs again: dead letters, batches, quarantined items, split chunks.

use std::fmt::Debug;

use async_trait::async_trait;
use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::id::{BatchId, JobId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Result, StoreError};
use crate::{ControlReport, Dispatched};

pub use gristmill_core::item_patch::{ItemPatch, Patch};

/// How many items that could not be patched a report names at most.
pub const KEPT_NAMED_MAX: usize = 1_000;

/// Refuses a dead aggregate that no generation waits for: what it should have aggregated goes on without it.
pub(crate) fn may_aggregate_again(job: JobId, batch: BatchId, state: BatchState, same_generation: bool) -> Result<()> {
    match state {
        BatchState::Halted if same_generation => Ok(()),
        BatchState::Aggregating if same_generation => Err(StoreError::Conflict(format!(
            "batch {batch} waits for job {job} although that is dead; `gristmill doctor --reconcile` halts it, then redrive"
        ))),
        BatchState::Cancelled => {
            Err(StoreError::Conflict(format!("job {job}: batch {batch} is cancelled; restart the batch instead")))
        }
        state => Err(StoreError::Conflict(format!(
            "job {job} aggregated an earlier generation of batch {batch}, which is {state} now; nothing waits for it"
        ))),
    }
}

/// Refuses items of a batch into which none can come now.
pub(crate) fn redrives_items(batch: BatchId, state: BatchState) -> Result<()> {
    match state {
        BatchState::Sealed | BatchState::Complete | BatchState::Halted => Ok(()),
        BatchState::Open | BatchState::Aggregating | BatchState::Cancelled => Err(StoreError::Conflict(format!(
            "batch {batch} is {state}; its quarantine can be redriven when it is sealed or has ended"
        ))),
    }
}

/// What has ended with unfinished work, and runs again.
#[async_trait]
pub trait Redrives: Debug + Send + Sync + 'static {
    /// Dead letters become `queued` with as many further attempts as they had at first: the limit rises, the attempt's
    /// number never falls, so that no fence is ever used twice. Dead chunks of a batch that has ended open its next
    /// generation; while it aggregates they are refused. A dead aggregate becomes `cancelled`: its batch is aggregated
    /// anew in its next generation.
    async fn redrive_dead(&self, tenant: &str, jobs: &[JobId], dry_run: bool) -> Result<ControlReport>;

    /// Restarts a batch that is `halted` or `cancelled`, in its next generation: its cancelled chunks, and its dead
    /// ones if requested, become `queued` with as many attempts as they had at first. A chunk that is done is never run
    /// again. When nothing is left to do the aggregate fires at once.
    ///
    /// Refused with [`StoreError::Conflict`] in any other state; for a batch that was
    /// cancelled before its plan was complete, since the rest of its input is not known; when its spools are gone; and
    /// when it would halt again at once because what stays quarantined is over the budget.
    async fn restart_batch(&self, tenant: &str, restart: &Restart, dry_run: bool) -> Result<ControlReport>;

    /// Open quarantined items of one batch become a new chunk, or several of at most `chunk` items, in their old
    /// places; each is first patched as [`PatchRedrive::mend`] defines. An item that cannot be patched stays in
    /// quarantine, is counted and named, and the others run: all in one transaction. Items of a batch that has ended
    /// open its next generation, unless none of them can run.
    async fn redrive_patched(&self, tenant: &str, patching: &PatchRedrive, dry_run: bool) -> Result<PatchReport>;

    /// Quarantined items of one batch run again unchanged: [`Redrives::redrive_patched`] without a patch.
    async fn redrive_quarantine(
        &self,
        tenant: &str,
        redrive: &QuarantineRedrive,
        dry_run: bool,
    ) -> Result<ControlReport> {
        let patching = PatchRedrive {
            which: QuarantineWhich { items: redrive.items.clone(), ..QuarantineWhich::default() },
            ..PatchRedrive::new(redrive.batch, redrive.chunk)
        };
        let report = self.redrive_patched(tenant, &patching, dry_run).await?;
        Ok(ControlReport {
            affected: report.redriven,
            samples: report.samples.iter().map(|sample| sample.id.to_string()).collect(),
            generation: report.generation,
            dispatched: report.dispatched,
        })
    }

    /// Replaces a chunk that is dead or waits with two halves: the chunk itself becomes `cancelled` with no items, and
    /// names its halves; the items are pending. A dead chunk of a batch that has ended opens its next generation.
    /// Refused with [`StoreError::Conflict`] while it runs, for a single item, and while
    /// the batch is open or aggregates.
    async fn split_chunk(&self, tenant: &str, job: JobId, dry_run: bool) -> Result<ControlReport>;
}

/// How a batch that ended with unfinished work continues.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// Which.
    pub batch: BatchId,
    /// How many items may be quarantined from now on; `None` leaves the budget as it is.
    pub failure_budget: Option<FailureBudget>,
    /// Whether its dead chunks get another chance as well.
    pub dead: bool,
}

/// Which quarantined items are redriven.
#[derive(Debug, Clone, PartialEq)]
pub struct QuarantineRedrive {
    /// Of this batch.
    pub batch: BatchId,
    /// These; empty is all that are open.
    pub items: Vec<i64>,
    /// How many items make one chunk.
    pub chunk: u64,
}

/// Selects quarantined items of a batch: those that meet every condition given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuarantineWhich {
    /// These, by their numbers; empty means all that are open.
    pub items: Vec<i64>,
    /// Refused by this stage.
    pub stage: Option<String>,
    /// With this text in the reason.
    pub reason: Option<String>,
    /// From this position of the input on.
    pub from: Option<u64>,
    /// Up to and including this position.
    pub to: Option<u64>,
}

/// How quarantined items are redriven.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchRedrive {
    /// Of this batch.
    pub batch: BatchId,
    /// Which of them.
    pub which: QuarantineWhich,
    /// What is done to each item before it runs again.
    pub mend: ItemPatch,
    /// How many items make one chunk.
    pub chunk: u64,
}

impl PatchRedrive {
    /// All open items of a batch as they are.
    pub fn new(batch: BatchId, chunk: u64) -> Self {
        Self { batch, which: QuarantineWhich::default(), mend: ItemPatch::AsIs, chunk }
    }
}

/// What patching did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatchReport {
    /// How many items run again.
    pub redriven: u64,
    /// How many stay in quarantine because this patch does not apply to them.
    pub kept: u64,
    /// Up to five of those that run again.
    pub samples: Vec<MendSample>,
    /// Those that stay, with the reason: the first [`KEPT_NAMED_MAX`].
    pub refused: Vec<(i64, String)>,
    /// The batch's generation afterwards, if one was opened.
    pub generation: Option<u32>,
    /// What may be published now. Empty for a dry run.
    pub dispatched: Dispatched,
}

/// One item before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MendSample {
    /// Its number in the quarantine.
    pub id: i64,
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it began, counted from 1, if the source had lines.
    pub line: Option<u64>,
    /// As it was set aside.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub before: Value,
    /// As it runs again.
    #[serde(deserialize_with = "gristmill_core::json::value")]
    pub after: Value,
}
