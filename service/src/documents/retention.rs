//! What was deleted after its time, what would be, and how large the database is.

use std::collections::BTreeMap;

use gristmill_core::Instant;
use gristmill_store::{DatabaseSize, PruneNoun, PrunedView};
use serde::{Deserialize, Serialize};

use crate::control::retention::{Deleted, DeletedQueue};
use crate::retention::Survey;

/// What a pass deleted, or would delete.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PruneDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many rows, of all nouns.
    pub rows: u64,
    /// How many rows of each noun; only those that are not 0.
    pub nouns: Vec<PruneNounDocument>,
}

/// One noun of it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PruneNounDocument {
    /// What.
    pub noun: PruneNoun,
    /// How many rows.
    pub rows: u64,
    /// At a dry run: when the oldest of them ended, where that is known.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    pub since: Option<Instant>,
}

impl PruneDocument {
    /// What a pass deleted.
    pub fn deleted(deleted: &Deleted) -> Self {
        Self::new(false, deleted.rows.iter().map(|(noun, rows)| (*noun, *rows, None)).collect())
    }

    /// What a pass would delete.
    pub fn survey(survey: &Survey) -> Self {
        Self::new(true, survey.rows.iter().map(|(noun, (rows, since))| (*noun, *rows, *since)).collect())
    }

    fn new(dry_run: bool, nouns: Vec<(PruneNoun, u64, Option<Instant>)>) -> Self {
        let rows = nouns.iter().map(|(_, rows, _)| rows).sum();
        let noun = |(noun, rows, since)| PruneNounDocument { noun, rows, since };
        Self { dry_run, rows, nouns: nouns.into_iter().map(noun).collect() }
    }
}

/// How large the database is, and what was deleted so far.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DatabaseSizeDocument {
    /// Which database, never with a password.
    pub database: String,
    /// Its sizes; its fields are those of the document.
    #[serde(flatten)]
    pub size: DatabaseSize,
    /// What was deleted after its time, by noun.
    pub pruned: Vec<PrunedDocument>,
}

/// What was deleted of one noun.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PrunedDocument {
    /// What.
    pub noun: PruneNoun,
    /// How many rows.
    pub deleted: u64,
    /// When the first was deleted.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub since: Instant,
    /// When the last was deleted.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub last_at: Instant,
}

impl DatabaseSizeDocument {
    /// The sizes of a database.
    pub fn new(database: String, size: DatabaseSize, pruned: Vec<PrunedView>) -> Self {
        let pruned = pruned.into_iter().map(|PrunedView { noun, deleted, since, last_at, horizon: _ }| {
            PrunedDocument { noun, deleted, since, last_at }
        });
        Self { database, size, pruned: pruned.collect() }
    }
}

/// What deleting batches did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeletedBatchesDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many chunks they had.
    pub chunks: u64,
    /// How many rows were deleted, by noun. A batch that is not among them has spools that another machine removes
    /// first: a scheduler deletes it then.
    pub deleted: BTreeMap<PruneNoun, u64>,
}

/// What deleting a queue did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeletedQueueDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The queue.
    pub queue: String,
    /// How many finished jobs were deleted with it.
    pub jobs: u64,
    /// How many messages the broker had for it. `null` when it was not asked.
    pub messages: Option<u32>,
}

impl DeletedQueueDocument {
    /// What deleting a queue did, or would do.
    pub fn new(dry_run: bool, queue: &str, deleted: &DeletedQueue) -> Self {
        Self { dry_run, queue: queue.to_owned(), jobs: deleted.jobs, messages: deleted.messages }
    }
}
