//! What was deleted after its time, what would be, and how large the database is.

use std::collections::BTreeMap;

use gristmill_service::control::retention::{Deleted, DeletedQueue};
use gristmill_service::documents::{DatabaseSizeDocument, DeletedBatchesDocument, DeletedQueueDocument, PruneDocument};
use gristmill_service::retention::Survey;
use gristmill_store::{DatabaseSize, PruneNoun, PrunedView, TableSize};

use super::{Sample, at, id, sample};

fn sizes() -> Vec<Sample> {
    let table = TableSize { name: "job".to_owned(), rows: 1_000, bytes: 409_600, index_bytes: 204_800 };
    let full =
        DatabaseSize { bytes: 1_048_576, free_bytes: Some(8_192), log_bytes: Some(4_096), tables: vec![table.clone()] };
    let minimal = DatabaseSize { bytes: 0, free_bytes: None, log_bytes: None, tables: Vec::new() };
    let view = PrunedView { noun: PruneNoun::Jobs, deleted: 9, since: at(0), last_at: at(1), horizon: Some(id(1)) };
    let full = DatabaseSizeDocument::new("sqlite:gristmill.db".to_owned(), full, vec![view]);
    let pruned = full.pruned[0].clone();
    let minimal = DatabaseSizeDocument::new("postgres://db/app".to_owned(), minimal, Vec::new());
    vec![
        sample("DatabaseSizeDocument", &full, &minimal),
        sample("TableSizeDocument", &table, &table),
        sample("PrunedDocument", &pruned, &pruned),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let survey = Survey { rows: BTreeMap::from([(PruneNoun::Jobs, (3, Some(at(0)))), (PruneNoun::Keys, (1, None))]) };
    let full = PruneDocument::survey(&survey);
    let minimal = PruneDocument::deleted(&Deleted::default());
    let (some, none) = (full.nouns[0].clone(), full.nouns[1].clone());
    let batches = |dry_run, deleted| DeletedBatchesDocument { dry_run, chunks: 2, deleted };
    let deleted = BTreeMap::from([(PruneNoun::Batches, 1), (PruneNoun::Chunks, 3)]);
    let queue = DeletedQueue { jobs: 5, messages: Some(1), broker: None };
    let mut samples = vec![
        sample("PruneDocument", full, minimal),
        sample("PruneNounDocument", some, none),
        sample("DeletedBatchesDocument", batches(false, deleted), batches(true, BTreeMap::new())),
        sample(
            "DeletedQueueDocument",
            DeletedQueueDocument::new(false, "old", &queue),
            DeletedQueueDocument::new(true, "old", &DeletedQueue::default()),
        ),
    ];
    samples.extend(sizes());
    samples
}
