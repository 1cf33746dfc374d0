//! An operation that would be started.

use gristmill_core::Instant;
use gristmill_core::operation::OperationVerb;
use gristmill_store::OperationPreview;
use serde::{Deserialize, Serialize};

use crate::control::operation::OperationRequest;

/// What an operation would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WouldOperateDocument {
    /// Always `true`.
    pub dry_run: bool,
    /// What would be done to each job, item or batch.
    pub verb: OperationVerb,
    /// Which.
    pub query: String,
    /// As of when. An operation that is started with this snapshot selects the same, and nothing that was created since.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub snapshot: Instant,
    /// How many.
    pub matches: u64,
    /// Whether there may be more: no more were looked at.
    pub more: bool,
    /// The first five of them, by their ids or numbers.
    pub samples: Vec<String>,
    /// How many a second at most; `null` is as fast as it goes.
    pub rate: Option<u32>,
    /// How long that takes at this rate, in seconds.
    pub seconds: Option<u64>,
}

impl WouldOperateDocument {
    /// What would be done, by its preview.
    pub fn new(request: &OperationRequest, preview: &OperationPreview) -> Self {
        let OperationPreview { snapshot, matches, more, samples } = preview.clone();
        let seconds = request.rate.map(|rate| matches.div_ceil(u64::from(rate.max(1))));
        let (verb, query, rate) = (request.verb, request.query.to_string(), request.rate);
        Self { dry_run: true, verb, query, snapshot, matches, more, samples, rate, seconds }
    }
}
