//! What a redrive of quarantined items answers, and a line of their export.

use gristmill_store::{MendSample, PatchReport, QuarantineView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a redrive did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PatchReportDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// How many items run again.
    pub affected: u64,
    /// How many stay in quarantine because they cannot be patched this way.
    pub kept: u64,
    /// How many rows of an imported table were not changed, and stay; `null` where no table was imported.
    pub unchanged: Option<usize>,
    /// How many of the imported items another caller has redriven meanwhile; `null` where none were imported.
    #[serde(default)]
    pub meanwhile: Option<u64>,
    /// Up to five of those that run again, before and after.
    pub samples: Vec<MendSample>,
    /// Those that are kept: at most a thousand.
    pub refused: Vec<RefusedItemDocument>,
    /// The batch's generation afterwards, where one was opened.
    pub generation: Option<u32>,
}

/// An item that stays in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefusedItemDocument {
    /// Its number.
    pub id: i64,
    /// Why.
    pub reason: String,
}

impl PatchReportDocument {
    /// What a redrive did, or would do; `unchanged` as in the field of that name.
    pub fn new(dry_run: bool, report: &PatchReport, unchanged: Option<usize>) -> Self {
        let refused = report.refused.iter().map(|(id, reason)| RefusedItemDocument { id: *id, reason: reason.clone() });
        Self {
            dry_run,
            affected: report.redriven,
            kept: report.kept,
            unchanged,
            meanwhile: None,
            samples: report.samples.clone(),
            refused: refused.collect(),
            generation: report.generation,
        }
    }
}

impl From<PatchReportDocument> for PatchReport {
    fn from(document: PatchReportDocument) -> Self {
        let PatchReportDocument { affected, kept, samples, refused, generation, .. } = document;
        let refused = refused.into_iter().map(|RefusedItemDocument { id, reason }| (id, reason)).collect();
        Self { redriven: affected, kept, samples, refused, generation, ..Self::default() }
    }
}

/// A line of an export.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ExportedItemDocument<'a> {
    /// Its number.
    pub id: i64,
    /// Its position in the whole input, counted from 0.
    pub position: u64,
    /// The line on which it begins, counted from 1, where the source has lines.
    pub line: Option<u64>,
    /// The stage that refused it.
    pub stage: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The item as it came from the source.
    pub item: &'a Value,
}

impl<'a> From<&'a QuarantineView> for ExportedItemDocument<'a> {
    fn from(item: &'a QuarantineView) -> Self {
        let QuarantineView { id, position, line, stage, reason, item, .. } = item;
        Self { id: *id, position: *position, line: *line, stage, reason, item }
    }
}
