//! What was said of a batch's end before, and how well it held.
//!
//! Nothing is kept for this: what the page said at an earlier moment follows from the chunks, of which it is known when each
//! began and ended. So the record is there of every batch, also of one that was never looked at, and it is of the estimator
//! as it is now. It knows only the last attempt of each chunk.

use std::time::Duration;

use gristmill_core::Instant;
use gristmill_core::eta::{Observed, estimate};
use gristmill_core::job::JobState;
use gristmill_store::{BatchFilter, BatchView, CHUNK_BRIEFS_MAX, ChunkBrief, Page, Result, StoreHandle};

use crate::documents::{EtaDocument, EtaRecordDocument, EtaSaidDocument};

/// At how many moments an estimate is made anew, evenly by the chunks that had ended.
const MOMENTS: usize = 12;

/// How many of the last batches of a definition say how often ranges held.
const BATCHES: u32 = 5;

/// What was said of the end of a batch. `None` for one with more than [`CHUNK_BRIEFS_MAX`] chunks, or none: then reading
/// them all is no part of showing it.
///
/// # Errors
///
/// Those of the store.
pub async fn eta_record(store: &StoreHandle, batch: &BatchView) -> Result<Option<EtaRecordDocument>> {
    if batch.chunks == 0 || batch.chunks > u64::from(CHUNK_BRIEFS_MAX) {
        return Ok(None);
    }
    let chunks = store.chunk_briefs(batch.id, 0, CHUNK_BRIEFS_MAX).await?;
    Ok(Some(eta_record_by(batch, &chunks)))
}

/// The same by all chunks of the batch, which were read already.
pub fn eta_record_by(batch: &BatchView, chunks: &[ChunkBrief]) -> EtaRecordDocument {
    let over = batch.remaining == 0 && batch.state.is_final();
    record(chunks, batch.id.0.as_u64_pair().1, over)
}

/// The same of the last batches of a definition that have ended, together: how many ranges were given, and how many of
/// them held. At most five batches, each with few enough chunks, are read.
///
/// # Errors
///
/// Those of the store.
pub async fn held_before(store: &StoreHandle, batch: &BatchView) -> Result<(u64, u64)> {
    let filter = BatchFilter { tenant: batch.tenant.clone(), name: Some(batch.name.clone()), ..BatchFilter::default() };
    let page = Page { after: Some(batch.id.to_string()), limit: BATCHES };
    let (mut ranges, mut held) = (0, 0);
    for before in store.batches(&filter, &page).await?.iter().filter(|before| before.state.is_final()) {
        if let Some(record) = eta_record(store, before).await? {
            ranges += record.ranges;
            held += record.held;
        }
    }
    Ok((ranges, held))
}

/// The record of a batch of these chunks. `over` when all of them are final.
fn record(chunks: &[ChunkBrief], seed: u64, over: bool) -> EtaRecordDocument {
    let said: Vec<EtaSaidDocument> = moments(chunks, over)
        .into_iter()
        .map(|at| {
            let (observed, ended) = observed_at(chunks, at);
            EtaSaidDocument { at, eta: EtaDocument::new(estimate(&observed, seed ^ ended), at) }
        })
        .collect();
    let ended_at = over.then(|| chunks.iter().filter_map(|chunk| chunk.finished_at).max()).flatten();
    let ranges = said.iter().filter_map(|one| Some((one.eta.soonest?, one.eta.latest?)));
    let held = ended_at
        .map_or(0, |end| ranges.clone().filter(|(soonest, latest)| (*soonest..=*latest).contains(&end)).count());
    let likely = |one: &EtaSaidDocument| one.eta.likely;
    let (first, last) = (said.iter().find_map(likely), said.iter().rev().find_map(likely));
    let slipped = first.zip(ended_at.or(last)).map(|(first, last)| (last - first).num_seconds());
    let ranges = if ended_at.is_some() { ranges.count() as u64 } else { 0 };
    EtaRecordDocument { slipped_seconds: slipped, ended_at, ranges, held: held as u64, said }
}

/// When estimates are made anew: when even shares of the chunks that have ended had ended.
fn moments(chunks: &[ChunkBrief], over: bool) -> Vec<Instant> {
    let mut ends: Vec<Instant> = chunks.iter().filter_map(|chunk| chunk.started_at.and(chunk.finished_at)).collect();
    ends.sort_unstable();
    // When the last one has ended nothing is left to be estimated.
    let moments = if over { MOMENTS } else { MOMENTS + 1 };
    let mut at: Vec<Instant> =
        (1..moments).filter_map(|number| ends.get((ends.len() * number / MOMENTS).checked_sub(1)?).copied()).collect();
    at.dedup();
    at
}

/// What was known at a moment, and how many chunks had ended.
fn observed_at(chunks: &[ChunkBrief], at: Instant) -> (Observed, u64) {
    let between = |from: Instant, to: Instant| (to - from).to_std().unwrap_or_default();
    let mut observed = Observed::default();
    let (mut ended, mut last) = (0, None);
    for chunk in chunks {
        match (chunk.started_at, chunk.finished_at) {
            (_, Some(end)) if end <= at => {
                ended += 1;
                last = last.max(Some(end));
                if let (JobState::Done, Some(from)) = (chunk.state, chunk.started_at) {
                    observed.finished.push(between(from, end));
                }
            }
            (Some(from), end) if from <= at && (end.is_some() || chunk.state == JobState::Running) => {
                observed.running.push(between(from, at));
            }
            _ => observed.waiting += 1,
        }
    }
    observed.since_last = last.map_or(Duration::ZERO, |last| between(last, at));
    (observed, ended)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use gristmill_core::id::JobId;

    use super::*;
    use crate::documents::EtaState;

    fn at(second: i64) -> Instant {
        DateTime::from_timestamp(1_000_000 + second, 0).expect("an instant")
    }

    /// Chunks that take about eleven seconds each, on four slots; the second half of them `longer` seconds more.
    fn chunks(count: i64, longer: i64) -> Vec<ChunkBrief> {
        let mut free = [0; 4];
        let chunk = |seq: i64| {
            let slot = &mut free[usize::try_from(seq % 4).expect("small")];
            let begin = *slot;
            *slot += 10 + seq % 3 + if seq >= count / 2 { longer } else { 0 };
            ChunkBrief {
                seq,
                job: JobId(uuid::Uuid::nil()),
                state: JobState::Done,
                attempt: 1,
                items: 1,
                started_at: Some(at(begin)),
                finished_at: Some(at(*slot)),
            }
        };
        (0..count).map(chunk).collect()
    }

    #[test]
    fn steady_work_ends_when_it_was_said_to_and_has_hardly_slipped() {
        let record = record(&chunks(200, 0), 7, true);
        assert!(record.ranges >= 8 && record.held * 10 >= record.ranges * 7, "{record:?}");
        assert!(record.slipped_seconds.expect("it was said").abs() < 60, "{record:?}");
        assert_eq!(record.said[0].eta.state, EtaState::TooEarly, "16 of 200 say nothing yet: {record:?}");
        assert!(record.said.windows(2).all(|two| two[0].at < two[1].at), "in their order");
    }

    #[test]
    fn work_that_becomes_slower_has_slipped() {
        let record = record(&chunks(200, 10), 7, true);
        assert!(record.slipped_seconds.expect("it was said") > 120, "{record:?}");
    }

    #[test]
    fn of_a_batch_under_way_nothing_has_held_or_failed_to_hold() {
        let mut under_way = chunks(200, 0);
        for chunk in &mut under_way[150..] {
            (chunk.state, chunk.started_at, chunk.finished_at) = (JobState::Queued, None, None);
        }
        let last = under_way[..150].iter().filter_map(|chunk| chunk.finished_at).max();
        (under_way[150].state, under_way[150].started_at) = (JobState::Running, last);
        let record = record(&under_way, 7, false);
        assert_eq!((record.ranges, record.held, record.ended_at), (0, 0, None));
        assert!(!record.said.is_empty() && record.said.len() <= MOMENTS);
    }

    #[test]
    fn what_is_known_at_a_moment_is_what_was_known_then() {
        let chunks = chunks(8, 0);
        let (observed, ended) = observed_at(&chunks, at(11));
        // The first four take 10, 11, 12 and 10 seconds; the one that follows the third has not begun.
        assert_eq!(ended, 3);
        assert_eq!(observed.finished.len(), 3);
        assert_eq!((observed.running.len(), observed.waiting), (4, 1));
        assert_eq!(observed.since_last, Duration::ZERO);
        assert!(moments(&[], true).is_empty());
    }
}
