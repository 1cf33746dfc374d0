//! What a verb that changes jobs, items or messages did, or would do.

use gristmill_store::{BatchDocument, ControlReport};
use serde::{Deserialize, Serialize};

use super::enqueued::EndedJobsDocument;

/// What a verb did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many jobs (or items, or messages) it changed.
    pub affected: u64,
    /// Up to five of them.
    pub samples: Vec<String>,
    /// The batch's generation afterwards, where one was opened.
    pub generation: Option<u32>,
}

impl ReportDocument {
    /// What a verb did, or would do.
    pub fn new(dry_run: bool, report: &ControlReport) -> Self {
        let ControlReport { affected, samples, generation, dispatched: _ } = report;
        Self { dry_run, affected: *affected, samples: samples.clone(), generation: *generation }
    }
}

/// How redriven dead letters ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RedrivenDocument {
    /// Those that belong to no batch.
    pub ended: EndedJobsDocument,
    /// The batches of the others, as they ended.
    pub batches: Vec<BatchDocument>,
}
