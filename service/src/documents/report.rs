//! What a verb that changes jobs, items or messages did, or would do.

use gristmill_store::{BatchDocument, ControlReport};
use serde::{Deserialize, Serialize};

use super::enqueued::EndedJobsDocument;
use crate::control::dead::RedriveReport;

/// The most reasons for those that are no dead letters.
const REASONS_MAX: usize = 20;

/// What a verb did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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

impl From<ReportDocument> for ControlReport {
    fn from(document: ReportDocument) -> Self {
        let ReportDocument { dry_run: _, affected, samples, generation } = document;
        Self { affected, samples, generation, ..Self::default() }
    }
}

/// What redriving or discarding dead letters did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many it changed.
    pub affected: u64,
    /// Up to five of them.
    pub samples: Vec<String>,
    /// How many it could not change now, those included that are no dead letters.
    pub refused: u64,
    /// Why, for some of them.
    pub reasons: Vec<String>,
}

impl DeadReportDocument {
    /// What a verb did, or would do; `others` says of those that were named why they are no dead letters.
    pub fn new(dry_run: bool, report: &RedriveReport, others: Vec<String>) -> Self {
        let RedriveReport { redriven, refused, reasons } = report;
        Self {
            dry_run,
            affected: redriven.affected,
            samples: redriven.samples.clone(),
            refused: refused + others.len() as u64,
            reasons: others.into_iter().take(REASONS_MAX).chain(reasons.iter().cloned()).collect(),
        }
    }
}

impl From<DeadReportDocument> for RedriveReport {
    fn from(document: DeadReportDocument) -> Self {
        let DeadReportDocument { dry_run: _, affected, samples, refused, reasons } = document;
        Self { redriven: ControlReport { affected, samples, ..ControlReport::default() }, refused, reasons }
    }
}

/// How redriven dead letters ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RedrivenDocument {
    /// Those that belong to no batch.
    pub ended: EndedJobsDocument,
    /// The batches of the others, as they ended.
    pub batches: Vec<BatchDocument>,
}
