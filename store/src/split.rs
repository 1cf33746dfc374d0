//! What the stores record about an attempt whose worker never closed it, and about a chunk that is split.

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::Ending;
use gristmill_core::split::{Loss, LostChunk, lost};
use serde_json::{Value, json};

use crate::error::{Result, StoreError};

/// The reason for splitting a chunk that its worker did not survive.
pub(crate) const LOST: &str = "its worker died again";

/// The reason for splitting a chunk by hand.
pub(crate) const BY_HAND: &str = "by hand";

/// What went wrong in an attempt whose worker never closed it.
pub(crate) fn unclosed(ending: Ending) -> &'static str {
    match ending {
        Ending::WorkerLost => "the worker's lease ran out before the attempt ended",
        _ => "the attempt took longer than its timeout, and its worker did not say so",
    }
}

/// What a split chunk has instead of an error.
pub(crate) fn note(halves: [i64; 2], why: &str) -> String {
    format!("split into chunks {} and {}: {why}", halves[0], halves[1])
}

/// Its output.
pub(crate) fn output(halves: [i64; 2]) -> Value {
    json!({ "split_into": halves })
}

/// The reason for setting aside an item that was alone in its chunk when its worker died.
pub(crate) fn condemned(deaths: u64) -> String {
    format!("its worker died {deaths} times while it worked on this item alone")
}

/// Decides about a chunk whose worker died; `payload` is known when the chunk is near its end.
pub(crate) fn decide(chunk: &LostChunk, payload: Option<&ChunkPayload>, policy: &RetryPolicy, random: f64) -> Loss {
    let condemned = payload.is_some_and(|payload| payload.condemned.is_some());
    lost(&LostChunk { condemned, ..*chunk }, policy, random)
}

/// Refuses to split by hand what cannot be split.
pub(crate) fn may_split(job: JobId, state: JobState, items: Option<u64>) -> Result<()> {
    let refused = |why: String| Err(StoreError::Conflict(format!("job {job} {why}")));
    match (state, items) {
        (_, None) => refused("is no chunk of a batch; only chunks have items to split".to_owned()),
        (JobState::Dead | JobState::Retry | JobState::Queued | JobState::Scheduled, Some(items)) if items > 1 => Ok(()),
        (JobState::Dead | JobState::Retry | JobState::Queued | JobState::Scheduled, Some(_)) => {
            refused("has one item, which stands alone already".to_owned())
        }
        (JobState::Running, Some(_)) => refused("is running; split it when its attempt has ended".to_owned()),
        (JobState::Done | JobState::Cancelled, Some(_)) => refused(format!("is {state}; there is nothing to split")),
    }
}

/// The halves of a payload.
pub(crate) fn halves(job: JobId, payload: &ChunkPayload) -> Result<[ChunkPayload; 2]> {
    let halves = payload.halves().map_err(|error| StoreError::Invalid(format!("job {job}: {error}")))?;
    halves.ok_or_else(|| StoreError::Conflict(format!("job {job} has one item, which stands alone already")))
}
