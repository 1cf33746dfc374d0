//! Operations: the same transitions and statements over both databases.
//!
//! * [`table`]: starting, showing, calling off, undoing: the operation's own row.
//! * [`target`]: what is selected ([`sought`]), by a walk, for previews and steps alike: from queue to queue over jobs ([`walk`]), from
//!   batch to batch over items ([`walk_items`]), or over batches ([`walk_batches`]).
//! * [`step`]: one step; [`ask`]: which. [`change`]: what it does to the jobs that it selects ([`changed`]); [`change_items`], [`change_batches`]:
//!   to items and batches. [`undo`]: how jobs are brought back, or, when that is over, forgotten; [`undo_items`],
//!   [`undo_batches`]: items and batches.

pub(crate) mod ask;
mod change;
mod change_batches;
mod change_items;
mod changed;
mod sought;
pub(crate) mod step;
pub(crate) mod table;
pub(crate) mod target;
pub(crate) mod undo;
mod undo_batches;
mod undo_items;
pub(crate) mod walk;
pub(crate) mod walk_batches;
pub(crate) mod walk_items;

use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::{JobState, Priority};

use super::prune::Counting;
use super::{Columns, Creating, Value};
use crate::error::{Result, StoreError};
use crate::{ControlReport, PatchRedrive, PatchReport, Pause, Restart};

pub(crate) use undo::discarded;

/// A database in a transaction that carries out a step, with what it does in a separate way.
pub(crate) trait Operating: Creating + Counting {
    /// Cancels those of the named jobs that are not final.
    fn cancel_jobs(
        &mut self,
        tenant: &str,
        jobs: &[JobId],
        reason: &str,
    ) -> impl Future<Output = Result<ControlReport, Self::Fault>> + Send;

    /// Redrives those of the named jobs that are dead.
    fn redrive_jobs(
        &mut self,
        tenant: &str,
        jobs: &[JobId],
    ) -> impl Future<Output = Result<ControlReport, Self::Fault>> + Send;

    /// Runs quarantined items of one batch again.
    fn redrive_items(
        &mut self,
        tenant: &str,
        patching: &PatchRedrive,
    ) -> impl Future<Output = Result<PatchReport, Self::Fault>> + Send;

    /// Cancels a batch: as much of it as one transaction does. The scheduler does the rest.
    fn cancel_batch(
        &mut self,
        tenant: &str,
        batch: BatchId,
        reason: &str,
    ) -> impl Future<Output = Result<ControlReport, Self::Fault>> + Send;

    /// Pauses a batch, or with `None` resumes it.
    fn pause_batch(
        &mut self,
        tenant: &str,
        batch: BatchId,
        pause: Option<&Pause>,
    ) -> impl Future<Output = Result<ControlReport, Self::Fault>> + Send;

    /// Restarts a batch that halted or was cancelled.
    fn restart_batch(
        &mut self,
        tenant: &str,
        restart: &Restart,
    ) -> impl Future<Output = Result<ControlReport, Self::Fault>> + Send;

    /// Runs a statement that lets jobs hold their unique keys again; a key that is held is a conflict.
    fn run_unless_held(
        &mut self,
        statement: &'static str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, Self::Fault>> + Send;

    /// Notes jobs that are back from `cancelled`: counters, what may be published, the counts of their batches.
    fn came_back(&mut self, jobs: &[Back]) -> impl Future<Output = Result<(), Self::Fault>> + Send;
}

/// A job that is back in the state that it had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Back {
    pub(crate) id: JobId,
    pub(crate) tenant: String,
    pub(crate) queue: String,
    pub(crate) priority: Priority,
    /// The batch in which it counts, if it is a chunk.
    pub(crate) chunk_of: Option<BatchId>,
    pub(crate) items: i64,
    /// The state that it is in again.
    pub(crate) state: JobState,
}

/// The priority of a row.
fn priority(row: &impl Columns) -> Result<Priority> {
    let rank: i16 = row.number("lane")?;
    Priority::from_rank(rank).ok_or_else(|| StoreError::Database(format!("there is no lane {rank}")))
}
