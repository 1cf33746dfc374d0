//! What the doctor finds in the surroundings, and what a reconciliation finds in the counters.

use gristmill_store::ReconcileReport;
use serde::Serialize;

/// All that the doctor found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorDocument {
    /// Whether all of it is well.
    pub ok: bool,
    /// What was found, in the order in which it was looked at.
    pub findings: Vec<FindingDocument>,
}

/// What one look has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingDocument {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it, where it is not well.
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

/// What a comparison of all counters with what they count found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReconcileDocument {
    /// Whether every counter was what it counts.
    pub ok: bool,
    /// Whether nothing was corrected.
    pub dry_run: bool,
    /// How many batches were looked at.
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
