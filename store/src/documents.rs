//! A batch in JSON, as the command line, callbacks and clients read it.
//!
//! The jobs that report on a batch are written in the transaction that changes it: that is why this one document lives
//! beside the stores, and the others in the service crate.

use gristmill_core::Instant;
use gristmill_core::batch::{BatchState, Counts};
use gristmill_core::id::BatchId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{BatchView, PauseView};

/// A batch, without its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct BatchDocument {
    /// Its id; also its key in lists.
    pub id: BatchId,
    /// The name of its definition.
    pub name: String,
    /// The tenant that owns it.
    pub tenant: String,
    /// Its state.
    pub state: BatchState,
    /// Whether its chunks cannot be claimed at the moment.
    pub paused: bool,
    /// Since when, by whom and why; `null` when it is not paused, or was paused before this was recorded.
    pub pause: Option<PauseView>,
    /// 0 for the first run, one more for each time that some of its work was begun anew after it ended.
    pub generation: u32,
    /// What became of its items.
    pub counts: CountsDocument,
    /// How many chunks it has.
    pub chunks: u64,
    /// How many of them are not final.
    pub remaining: u64,
    /// How many of them are dead.
    pub chunks_dead: u64,
    /// How many times a chunk was tried again.
    pub retries: u64,
    /// Its failure budget, as written: a count, or a percentage.
    pub failure_budget: String,
    /// Why it halted or was cancelled.
    pub reason: Option<String>,
    /// When it was created.
    #[cfg_attr(feature = "schema", schema(value_type = chrono::DateTime<chrono::Utc>))]
    pub created_at: Instant,
    /// When it ended.
    #[cfg_attr(feature = "schema", schema(value_type = Option<chrono::DateTime<chrono::Utc>>))]
    pub finished_at: Option<Instant>,
}

/// What became of a batch's items: `input` is the sum of all the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CountsDocument {
    /// Items that the plan has found so far.
    pub input: u64,
    /// Items that went through.
    pub ok: u64,
    /// Items that a transform dropped on purpose.
    pub skipped: u64,
    /// Items set aside one by one with a reason, and all items of dead chunks.
    pub quarantined: u64,
    /// Items of cancelled chunks.
    pub cancelled: u64,
    /// Items whose outcome is not known yet.
    pub pending: u64,
}

impl BatchDocument {
    /// The names of its fields, for those who read it in templates.
    pub const FIELDS: [&str; 16] = [
        "id",
        "name",
        "tenant",
        "state",
        "paused",
        "pause",
        "generation",
        "counts",
        "chunks",
        "remaining",
        "chunks_dead",
        "retries",
        "failure_budget",
        "reason",
        "created_at",
        "finished_at",
    ];
}

impl BatchDocument {
    /// The batch as the store shows it, with its result.
    pub fn into_view(self, result: Option<Value>) -> BatchView {
        let CountsDocument { input, ok, skipped, quarantined, cancelled, pending: _ } = self.counts;
        BatchView {
            id: self.id,
            tenant: self.tenant,
            name: self.name,
            state: self.state,
            paused: self.paused,
            pause: self.pause,
            generation: self.generation,
            counts: Counts { input, ok, skipped, quarantined, cancelled },
            chunks: self.chunks,
            remaining: self.remaining,
            chunks_dead: self.chunks_dead,
            retries: self.retries,
            failure_budget: self.failure_budget,
            result,
            reason: self.reason,
            created_at: self.created_at,
            finished_at: self.finished_at,
        }
    }
}

impl From<&BatchView> for BatchDocument {
    fn from(batch: &BatchView) -> Self {
        Self {
            id: batch.id,
            name: batch.name.clone(),
            tenant: batch.tenant.clone(),
            state: batch.state,
            paused: batch.paused,
            pause: batch.pause.clone(),
            generation: batch.generation,
            counts: CountsDocument::from(&batch.counts),
            chunks: batch.chunks,
            remaining: batch.remaining,
            chunks_dead: batch.chunks_dead,
            retries: batch.retries,
            failure_budget: batch.failure_budget.clone(),
            reason: batch.reason.clone(),
            created_at: batch.created_at,
            finished_at: batch.finished_at,
        }
    }
}

impl From<&Counts> for CountsDocument {
    fn from(counts: &Counts) -> Self {
        let Counts { input, ok, skipped, quarantined, cancelled } = *counts;
        Self { input, ok, skipped, quarantined, cancelled, pending: counts.pending() }
    }
}

/// What the receivers and the templates of a batch's callbacks get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallbackDocument {
    /// The batch as it is at that moment.
    pub batch: BatchDocument,
    /// What there is to report.
    #[serde(flatten)]
    pub news: News,
}

/// What a callback reports about its batch. The order of the variants matters for parsing: each has a field that the
/// ones before lack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum News {
    /// The first item of a generation was set aside, or its first chunk died.
    FirstFailure {
        /// What failed.
        failure: FailureDocument,
    },
    /// It ended.
    Ended {
        /// The merged result; `null` when it is too large to travel.
        #[serde(deserialize_with = "gristmill_core::json::value")]
        result: Value,
        /// How many bytes the result has, when it is too large to travel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result_bytes: Option<usize>,
    },
    /// It did not end in time.
    Late {
        /// The time that it had, such as `2h`.
        late_after: Option<String>,
    },
}

/// What failed first in a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureDocument {
    /// The chunk's number.
    #[serde(rename = "chunk")]
    pub seq: i64,
    /// The item's position in the whole input, if it was a single item.
    pub position: Option<i64>,
    /// Its line, if the source has lines.
    pub line: Option<i64>,
    /// The stage that refused it.
    pub stage: Option<String>,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_news_is_read_back_as_what_it_was() {
        let failure = FailureDocument { seq: 3, reason: "no number".to_owned(), ..FailureDocument::default() };
        let all = [
            News::FirstFailure { failure },
            News::Late { late_after: Some("2h".to_owned()) },
            News::Late { late_after: None },
            News::Ended { result: json!({ "rows": 2 }), result_bytes: None },
            News::Ended { result: Value::Null, result_bytes: Some(600_000) },
        ];
        for news in all {
            let text = serde_json::to_string(&news).expect("JSON");
            assert_eq!(serde_json::from_str::<News>(&text).expect("read"), news, "{text}");
        }
    }
}
