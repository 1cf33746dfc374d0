//! What the doctor finds in the surroundings, and what a reconciliation finds in the counters.

use gristmill_store::ReconcileReport;
use serde::Serialize;

/// All that the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DoctorDocument {
    /// Whether all of it is well.
    pub ok: bool,
    /// The findings, in the order of the checks.
    pub findings: Vec<FindingDocument>,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FindingDocument {
    /// What was checked.
    pub what: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it, if it is not well.
    pub remedy: Option<String>,
}

impl FindingDocument {
    /// It is well.
    pub fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, ok: true, found: found.into(), remedy: None }
    }

    /// It is not well.
    pub fn problem(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, ok: false, found: found.into(), remedy: Some(remedy.into()) }
    }
}

impl From<Vec<FindingDocument>> for DoctorDocument {
    fn from(findings: Vec<FindingDocument>) -> Self {
        Self { ok: findings.iter().all(|finding| finding.ok), findings }
    }
}

/// The result of comparing all counters with what they count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ReconcileDocument {
    /// Whether every counter was what it counts.
    pub ok: bool,
    /// Whether nothing was corrected.
    pub dry_run: bool,
    /// How many batches were checked.
    pub batches: u64,
    /// What was wrong, in words, each with what was done about it.
    pub findings: Vec<String>,
}

impl ReconcileDocument {
    /// What a reconciliation did, or would do.
    pub fn new(dry_run: bool, report: &ReconcileReport) -> Self {
        let findings = report.findings.clone();
        Self { ok: findings.is_empty(), dry_run, batches: report.batches, findings }
    }
}
