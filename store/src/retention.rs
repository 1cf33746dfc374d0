//! Retention: what has ended long ago is found, written down elsewhere if that is wanted, and deleted, in small steps.
//!
//! A step has two halves. [`Retention::expired`] only looks: it walks one noun by its primary key, a page at a time, and
//! says of each row when it ended. The caller decides which of them may go, and [`Retention::prune`] deletes exactly
//! those, provided that each is still as it was seen: a dead letter that was redriven in between stays. So nothing is
//! deleted that was not decided upon, an archive can be written between the two, and the cost of a step depends on the
//! size of its page, not on the size of the table.
//!
//! A batch goes whole, and in steps too: [`Retention::begin_deletion`] marks it, and from then on nothing of it runs
//! again; its jobs, results and quarantined items follow in groups, and its own row goes last.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::limit::LimitSpec;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::ControlReport;
use crate::error::{Result, StoreError};

/// How many rows one call deletes at most.
pub const PRUNE_ROWS_MAX: usize = 1_000;

/// How many rows one look walks at most.
pub const WALK_ROWS_MAX: u32 = 10_000;

gristmill_core::words! {
    /// What is deleted, and counted.
    #[derive(PartialOrd, Ord)]
    pub enum PruneNoun {
        /// Jobs without a batch that are done or cancelled.
        Jobs = "jobs",
        /// Jobs without a batch that are dead.
        DeadLetters = "dead_letters",
        /// Batches.
        Batches = "batches",
        /// Jobs of batches that are being deleted: chunks, aggregates, callbacks.
        Chunks = "chunks",
        /// Results of chunks of batches that are being deleted.
        Results = "results",
        /// Quarantined items of batches that are being deleted.
        Quarantine = "quarantine",
        /// Rows of the ledger that the clock or an operator made.
        Ticks = "ticks",
        /// Rows of the ledger that an event made.
        Triggers = "triggers",
        /// Backfills of which no tick waits or runs.
        Backfills = "backfills",
        /// Delivery records of emails whose job is gone.
        Emails = "emails",
        /// Messages that no process could act upon.
        Poison = "poison",
        /// Batches that were taken back while they were planned.
        Discarded = "discarded",
        /// Idempotency keys that have outlived their row, and their promise.
        Keys = "keys",
        /// Counters of queues that have no job.
        Queues = "queues",
    }
}

/// Deletes what has ended, and tells what was deleted.
#[async_trait]
pub trait Retention: Debug + Send + Sync + 'static {
    /// Returns one page of a noun, in the order of its keys: the rows that have ended and that nothing else needs.
    /// Changes nothing. A walk over [`PruneNoun::Jobs`] finds dead letters too, and one over [`PruneNoun::Ticks`]
    /// triggers; [`PruneNoun::Chunks`], [`PruneNoun::Results`] and [`PruneNoun::Quarantine`] are walked within one
    /// batch.
    ///
    /// Refused with [`StoreError::Invalid`] when the cursor is none of this noun's.
    async fn expired(&self, look: &ExpiryLook) -> Result<ExpiryPage>;

    /// Returns such rows as JSON objects, for an archive: `noun`, and the columns of the row, a job with its attempts.
    /// Rows that are gone are left out.
    async fn documents(&self, noun: PruneNoun, batch: Option<BatchId>, keys: &[String]) -> Result<Vec<Value>>;

    /// Deletes rows that a look has returned, at most [`PRUNE_ROWS_MAX`], of those that are as they were seen; counts
    /// them, and lowers the queue counters, in the same transaction. The idempotency key of a job or batch that was
    /// created less than `keys` ago keeps answering with the id.
    async fn prune(&self, prune: &Prune) -> Result<PruneReport>;

    /// Marks a batch that has ended as being deleted: from now on it can be neither redriven nor restarted. `ended`
    /// makes it conditional on when it ended. Marking it twice changes nothing.
    ///
    /// Refused with [`StoreError::Conflict`] while the batch or one of its callbacks is
    /// unfinished.
    async fn begin_deletion(
        &self,
        tenant: &str,
        batch: BatchId,
        ended: Option<Instant>,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Deletes dead letters for good, those that died at the given instant and are still dead. Their idempotency keys
    /// are kept as in [`Retention::prune`]; a unique key that one of them holds is free.
    ///
    /// Refused with [`StoreError::Conflict`] for chunks and aggregates: the counts of
    /// their batch include them, and they go with it.
    async fn discard_dead(
        &self,
        tenant: &str,
        jobs: &[(JobId, Instant)],
        keys: Duration,
        dry_run: bool,
    ) -> Result<ControlReport>;

    /// Deletes a queue of every tenant: its counters, its pause, its settings and its turns. The broker is not asked.
    ///
    /// Refused with [`StoreError::Conflict`] while it has a job, whatever its state, or
    /// while a limit names it.
    async fn delete_queue(&self, queue: &str, dry_run: bool) -> Result<ControlReport>;

    /// Returns what was deleted so far, by noun.
    async fn pruned(&self) -> Result<Vec<PrunedView>>;

    /// Returns which of the ids, that no job has, are older than jobs that were deleted: messages that name them are
    /// late and not poison.
    async fn gone_jobs(&self, ids: &[JobId]) -> Result<Vec<JobId>>;

    /// Returns how large the database and its tables are.
    async fn size(&self) -> Result<DatabaseSize>;
}

/// What a look asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpiryLook {
    /// What is walked.
    pub noun: PruneNoun,
    /// The batch, for what is walked within one.
    pub batch: Option<BatchId>,
    /// Rows behind this cursor; `None` begins.
    pub after: Option<String>,
    /// Jobs and batches whose id is younger are not walked: an id holds the time of its creation. `None` walks all.
    pub created_before: Option<Instant>,
    /// How many rows are walked at most.
    pub limit: u32,
}

impl ExpiryLook {
    /// The first page of a noun, with the default limit.
    pub fn first(noun: PruneNoun) -> Self {
        Self { noun, batch: None, after: None, created_before: None, limit: 2_000 }
    }
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpiryPage {
    /// The database's time.
    pub now: Instant,
    /// Rows that have ended, in the order of their keys.
    pub rows: Vec<ExpiredRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A row that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpiredRow {
    /// What it is counted as.
    pub noun: PruneNoun,
    /// Its key, as [`Retention::prune`] takes it.
    pub key: String,
    /// When it ended. `None` where that does not matter.
    pub at: Option<Instant>,
    /// Whose it is; empty where it belongs to no tenant.
    pub tenant: String,
    /// The queue of a job, the name of a batch's definition, the schedule of a tick, the name of a queue; otherwise
    /// empty.
    pub name: String,
    /// A batch: whether it has dead jobs or open quarantined items.
    pub unsolved: bool,
    /// A batch: whether it is being deleted already.
    pub deleting: bool,
    /// How many rows go with it at most, itself included.
    pub weight: u32,
}

/// What is deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Prune {
    /// What was walked.
    pub noun: PruneNoun,
    /// The batch, for what was walked within one.
    pub batch: Option<BatchId>,
    /// Each row's key and when it ended, as they were seen.
    pub rows: Vec<(String, Option<Instant>)>,
    /// How long an idempotency key is kept, from the creation of its job or batch.
    pub keys: Duration,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// How many rows, by noun; only those that are not 0.
    pub deleted: Vec<(PruneNoun, u64)>,
    /// How many idempotency keys outlive their row.
    pub keys_kept: u64,
}

impl PruneReport {
    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.deleted.iter().map(|(_, rows)| rows).sum()
    }
}

/// What was deleted of one noun.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrunedView {
    /// What.
    pub noun: PruneNoun,
    /// How many rows.
    pub deleted: u64,
    /// When the first was deleted.
    pub since: Instant,
    /// When the last was deleted.
    pub last_at: Instant,
    /// For jobs and batches: the greatest id that was deleted.
    pub horizon: Option<Uuid>,
}

/// How large the database is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DatabaseSize {
    /// Bytes of the whole database; on SQLite of the file.
    pub bytes: u64,
    /// SQLite: bytes in the file that are free, and used before the file grows.
    pub free_bytes: Option<u64>,
    /// SQLite: bytes of the write-ahead log.
    pub log_bytes: Option<u64>,
    /// The tables, largest first.
    pub tables: Vec<TableSize>,
}

/// How large a table is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TableSize {
    /// Its name.
    pub name: String,
    /// Rows: on PostgreSQL the estimate of its last analysis.
    pub rows: u64,
    /// Bytes of the rows.
    pub bytes: u64,
    /// Bytes of its indexes.
    pub index_bytes: u64,
}

/// The greatest id that may have been created by this instant.
pub(crate) fn newest_id(at: Instant) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0xff; 10]).into_uuid()
}

/// Refuses a group that is too large.
pub(crate) fn check_prune(prune: &Prune) -> Result<()> {
    if prune.rows.len() > PRUNE_ROWS_MAX {
        let what = format!("{} rows are more than one call deletes; {PRUNE_ROWS_MAX} is the most", prune.rows.len());
        return Err(StoreError::Invalid(what));
    }
    Ok(())
}

/// Whether the idempotency key of a job of a batch dies with the batch: it names the batch, so that no other job can
/// ever have it.
pub(crate) fn dies_with_batch(key: &str) -> bool {
    key.starts_with("agg:") || key.starts_with("effect:")
}

/// A batch that is being deleted is not touched any more.
pub(crate) fn being_deleted(batch: impl std::fmt::Display) -> StoreError {
    StoreError::Conflict(format!("batch {batch} is being deleted; nothing of it can run again"))
}

/// A chunk or an aggregate is no dead letter of its own.
pub(crate) fn goes_with_batch(job: JobId, batch: BatchId) -> StoreError {
    StoreError::Conflict(format!(
        "job {job} belongs to batch {batch}, whose counts include it; redrive it, or delete the batch: \
         `gristmill batch delete {batch}`"
    ))
}

/// The error for a batch that has not ended.
pub(crate) fn not_ended(batch: BatchId, state: BatchState) -> StoreError {
    StoreError::Conflict(format!(
        "batch {batch} is {state}; only a batch that has ended can be deleted: cancel it first"
    ))
}

/// The error for a batch whose callbacks are not finished.
pub(crate) fn unfinished_jobs(batch: BatchId, jobs: u64) -> StoreError {
    StoreError::Conflict(format!(
        "batch {batch} has {jobs} unfinished jobs, such as its callbacks; wait for them, or cancel them: \
         `gristmill job cancel --batch {batch}`"
    ))
}

/// Refuses a queue that has jobs.
pub(crate) fn refuse_jobs(queue: &str, jobs: &BTreeMap<JobState, u64>) -> Result<()> {
    let counted: Vec<String> =
        jobs.iter().filter(|(_, jobs)| **jobs > 0).map(|(state, jobs)| format!("{jobs} {state}")).collect();
    if counted.is_empty() {
        return Ok(());
    }
    Err(StoreError::Conflict(format!(
        "queue {queue} has jobs: {}; those that are done or cancelled can go with it: \
         `gristmill queue delete {queue} --finished`",
        counted.join(", ")
    )))
}

/// Refuses a queue that a limit names.
pub(crate) fn refuse_limit(queue: &str, name: &str, spec: &LimitSpec) -> Result<()> {
    if !spec.queues.contains(queue) {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("the limit `{name}` names queue {queue}; change or drop the limit first")))
}

/// The error for a queue of which nothing is known.
pub(crate) fn no_queue(queue: &str) -> StoreError {
    StoreError::NotFound(format!("there is no queue {queue}; `gristmill queue list` shows those that are there"))
}
