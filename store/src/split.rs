//! What the stores say of an attempt whose worker never closed it, and of a chunk that is split.

use gristmill_core::chunk::ChunkPayload;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_core::retry::RetryPolicy;
use gristmill_core::settle::Ending;
use gristmill_core::split::{Loss, LostChunk, lost};
use serde_json::{Value, json};

use crate::error::{Result, StoreError};

/// Why a chunk is split that its worker did not survive.
pub(crate) const LOST: &str = "its worker died again";

/// Why a chunk is split by hand.
pub(crate) const BY_HAND: &str = "by hand";

/// What went wrong in an attempt whose worker never closed it.
pub(crate) fn unclosed(ending: Ending) -> &'static str {
    match ending {
        Ending::WorkerLost => "the worker's lease ran out before the attempt ended",
        _ => "the attempt took longer than its timeout, and its worker did not say so",
    }
}

/// What a chunk that was split says instead of an error.
pub(crate) fn note(halves: [i64; 2], why: &str) -> String {
    format!("split into chunks {} and {}: {why}", halves[0], halves[1])
}

/// Its output.
pub(crate) fn output(halves: [i64; 2]) -> Value {
    json!({ "split_into": halves })
}

/// Why an item is set aside that stood alone when its worker died.
pub(crate) fn condemned(deaths: u64) -> String {
    format!("its worker died {deaths} times while it worked on this item alone")
}

/// What becomes of a chunk whose worker died; `payload` is known where the chunk is near its end.
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
