//! Chunks of a batch as a picture needs them: one by one, or counted by ranges.

use gristmill_core::Instant;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;

/// The most chunks that are shown one by one.
pub const CHUNK_BRIEFS_MAX: u32 = 2_500;

/// How many chunks of a state that is neither `done` nor waiting are counted by ranges: the first ones.
pub const CHUNKS_COUNTED_MAX: i64 = 50_000;

/// The states that are counted by ranges from the jobs themselves. What is done is counted by its results, whose index is
/// narrower, and what waits is the rest.
pub(crate) const COUNTED: [JobState; 4] = [JobState::Running, JobState::Retry, JobState::Dead, JobState::Cancelled];

/// A chunk, without what it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkBrief {
    /// Its number in the batch.
    pub seq: i64,
    /// Its job.
    pub job: JobId,
    /// That job's state.
    pub state: JobState,
    /// Attempts made.
    pub attempt: u32,
    /// How many items it holds.
    pub items: u64,
    /// When its last attempt began.
    pub started_at: Option<Instant>,
    /// When it became final.
    pub finished_at: Option<Instant>,
}

/// Chunks with neighbouring numbers, by their states. Those that are not counted here wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkRange {
    /// The number of the first.
    pub first: i64,
    /// How many are done.
    pub done: u64,
    /// How many run.
    pub running: u64,
    /// How many wait to be tried again.
    pub retry: u64,
    /// How many are dead.
    pub dead: u64,
    /// How many are cancelled.
    pub cancelled: u64,
}

/// Ranges of a batch's chunks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkRanges {
    /// Those in which anything is counted, in order.
    pub ranges: Vec<ChunkRange>,
    /// Whether everything is counted: not when more than [`CHUNKS_COUNTED_MAX`] are in one state.
    pub complete: bool,
}

impl ChunkRanges {
    /// Puts counts together: the number of a range, a state and how many.
    pub(crate) fn of(counts: impl IntoIterator<Item = (i64, JobState, u64)>, width: i64) -> Self {
        let mut ranges: std::collections::BTreeMap<i64, ChunkRange> = Default::default();
        let mut totals = [0; COUNTED.len()];
        for (number, state, count) in counts {
            let range =
                ranges.entry(number).or_insert_with(|| ChunkRange { first: number * width, ..Default::default() });
            let counter = match state {
                JobState::Done => &mut range.done,
                JobState::Running => &mut range.running,
                JobState::Retry => &mut range.retry,
                JobState::Dead => &mut range.dead,
                JobState::Cancelled => &mut range.cancelled,
                JobState::Scheduled | JobState::Queued => continue,
            };
            *counter += count;
            if let Some(at) = COUNTED.iter().position(|counted| *counted == state) {
                totals[at] += count;
            }
        }
        let complete = totals.iter().all(|total| *total < CHUNKS_COUNTED_MAX.unsigned_abs());
        Self { ranges: ranges.into_values().collect(), complete }
    }
}
