//! When a batch will have ended, from the chunks around the place at which its work is.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::batch::BatchState;
use gristmill_core::eta::{Estimate, Observed, estimate};
use gristmill_core::job::JobState;
use gristmill_store::{BatchView, CHUNK_BRIEFS_MAX, ChunkBrief, Result, StoreHandle};

use crate::documents::EtaDocument;

/// How many of the chunks that are read lie before the place at which the work is: the rest run, or are about to.
const BEHIND: u64 = 1_500;

/// Estimates when a batch will have ended. `None` for one that has, that is being aggregated, or whose input is still being
/// read: how much that is, is not known yet.
///
/// # Errors
///
/// Those of the store.
pub async fn eta(store: &StoreHandle, batch: &BatchView, now: Instant) -> Result<Option<EtaDocument>> {
    if batch.state != BatchState::Sealed {
        return Ok(None);
    }
    if batch.paused {
        return Ok(Some(EtaDocument::new(Estimate::Idle, now)));
    }
    let ended = batch.chunks.saturating_sub(batch.remaining);
    let first = i64::try_from(ended.saturating_sub(BEHIND)).unwrap_or_default();
    let chunks = store.chunk_briefs(batch.id, first, CHUNK_BRIEFS_MAX).await?;
    Ok(eta_by(batch, &chunks, now))
}

/// The same by chunks that were read already: those around the place at which the work is.
pub fn eta_by(batch: &BatchView, chunks: &[ChunkBrief], now: Instant) -> Option<EtaDocument> {
    if batch.state != BatchState::Sealed {
        return None;
    }
    if batch.paused {
        return Some(EtaDocument::new(Estimate::Idle, now));
    }
    let observed = observed(chunks, batch.remaining, now);
    // The range stays where it is until something has happened.
    let seed = batch.id.0.as_u64_pair().1 ^ batch.chunks.saturating_sub(batch.remaining);
    Some(EtaDocument::new(estimate(&observed, seed), now))
}

/// What chunks say about the times that they take.
fn observed(chunks: &[ChunkBrief], remaining: u64, now: Instant) -> Observed {
    let between = |from: Instant, to: Instant| (to - from).to_std().unwrap_or_default();
    let done = chunks.iter().filter(|chunk| chunk.state == JobState::Done);
    let finished = done.clone().filter_map(|chunk| Some(between(chunk.started_at?, chunk.finished_at?)));
    let run = chunks.iter().filter(|chunk| chunk.state == JobState::Running);
    let running: Vec<Duration> = run.filter_map(|chunk| Some(between(chunk.started_at?, now))).collect();
    let last = done.filter_map(|chunk| chunk.finished_at).max();
    Observed {
        finished: finished.collect(),
        waiting: remaining.saturating_sub(running.len() as u64),
        running,
        since_last: last.map_or(Duration::ZERO, |last| between(last, now)),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use gristmill_core::id::JobId;

    use super::*;

    #[test]
    fn chunks_that_run_count_for_as_long_as_they_have_run() {
        let now = DateTime::from_timestamp(1_000, 0).expect("an instant");
        let ago = |seconds| Some(now - TimeDelta::seconds(seconds));
        let chunk = |state, started_at, finished_at| ChunkBrief {
            seq: 0,
            job: JobId(uuid::Uuid::nil()),
            state,
            attempt: 1,
            items: 1,
            started_at,
            finished_at,
        };
        let chunks = [
            chunk(JobState::Done, ago(60), ago(40)),
            chunk(JobState::Done, ago(30), ago(20)),
            chunk(JobState::Dead, ago(90), ago(10)),
            chunk(JobState::Running, ago(5), None),
            chunk(JobState::Queued, None, None),
        ];
        let seconds = Duration::from_secs;
        let expected = Observed {
            finished: vec![seconds(20), seconds(10)],
            running: vec![seconds(5)],
            waiting: 6,
            since_last: seconds(20),
        };
        assert_eq!(observed(&chunks, 7, now), expected);
    }
}
