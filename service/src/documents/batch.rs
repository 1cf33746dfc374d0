//! A batch with its result, and one that would be started.

use gristmill_store::{BatchDocument, BatchView, Wait};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::eta::{EtaDocument, EtaRecordDocument};

/// One batch: what `batch show`, `watch` and `run` answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BatchWithResult {
    /// The batch.
    pub batch: BatchDocument,
    /// The merged result, once it is complete or halted.
    #[serde(default, deserialize_with = "gristmill_core::json::maybe")]
    pub result: Option<Value>,
    /// What it waits for; empty when it gets on or has ended. Left out where it was not requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Vec<Wait>>,
    /// When it will have ended. Left out where it was not requested, once its chunks are final, and while its input is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<EtaDocument>,
    /// What was said of its end before. Left out where it was not requested, and where it has too many chunks, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_record: Option<EtaRecordDocument>,
}

impl From<&BatchView> for BatchWithResult {
    fn from(batch: &BatchView) -> Self {
        Self { batch: batch.into(), result: batch.result.clone(), waits: None, eta: None, eta_record: None }
    }
}

impl From<BatchWithResult> for BatchView {
    fn from(document: BatchWithResult) -> Self {
        document.batch.into_view(document.result)
    }
}

impl BatchWithResult {
    /// The same with when it will have ended, as far as that is known.
    #[must_use]
    pub fn ending(self, eta: Option<EtaDocument>) -> Self {
        Self { eta, ..self }
    }

    /// The same with what was said of its end before, as far as that is known.
    #[must_use]
    pub fn recorded(self, eta_record: Option<EtaRecordDocument>) -> Self {
        Self { eta_record, ..self }
    }

    /// The same with what it waits for.
    #[must_use]
    pub fn waiting_for(self, waits: Vec<Wait>) -> Self {
        Self { waits: Some(waits), ..self }
    }
}

/// What a dry run of `batch run` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldStartDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// The batch as it would begin.
    pub batch: PlannedBatchDocument,
}

/// A batch that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedBatchDocument {
    /// The name of its definition.
    pub name: String,
    /// How many chunks it would have.
    pub chunks: u64,
    /// How many items.
    pub counts: PlannedCounts,
}

/// The items of a batch that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlannedCounts {
    /// How many the input has.
    pub input: u64,
}

impl WouldStartDocument {
    /// A batch of this many items in this many chunks.
    pub fn new(name: &str, chunks: u64, items: u64) -> Self {
        let counts = PlannedCounts { input: items };
        Self { dry_run: true, batch: PlannedBatchDocument { name: name.to_owned(), chunks, counts } }
    }
}
