//! What several pages show of a batch: its name, its bar, where in its input it is.

use gristmill_core::batch::Counts;
use gristmill_store::{BatchView, ChunkRange, ChunkRanges};
use maud::{Markup, html};

use super::progress::{Share, bar};
use crate::pages::charts::heat::Look;

/// The name of a batch, as a link, with enough of its id to tell runs apart.
pub fn name(batch: &BatchView) -> Markup {
    let id = batch.id.to_string();
    // The end of an id is random, its beginning is the time.
    let tail = &id[id.len() - 6..];
    html! { a href={ "/batches/" (id) } { (batch.name) } " " span class="mono muted" title=(id) { "…\u{2060}" (tail) } }
}

/// Its items by what became of them.
pub fn shares(counts: &Counts) -> [Share; 5] {
    let share = |name, count, class| Share { name, count, class };
    [
        share("ok", counts.ok, "f-ok"),
        share("skipped", counts.skipped, "f-skip"),
        share("quarantined", counts.quarantined, "f-bad"),
        share("cancelled", counts.cancelled, "f-off"),
        share("pending", counts.pending(), "f-wait"),
    ]
}

/// Its items as a bar.
pub fn progress(batch: &BatchView) -> Markup {
    bar("Items", &shares(&batch.counts))
}

/// How each range of its chunks looks: the worst decides.
pub fn looks(batch: &BatchView, ranges: &ChunkRanges, width: u32) -> Vec<Look> {
    all_ranges(batch.chunks, ranges, width).map(|(range, size)| look(&range, size)).collect()
}

/// Every range of a batch's chunks with its size, also those of which nothing is counted.
pub fn all_ranges(chunks: u64, ranges: &ChunkRanges, width: u32) -> impl Iterator<Item = (ChunkRange, u64)> + '_ {
    let (width, mut known) = (u64::from(width.max(1)), ranges.ranges.iter().peekable());
    (0..chunks.div_ceil(width)).map(move |number| {
        let first = i64::try_from(number * width).unwrap_or(i64::MAX);
        let range = known.next_if(|range| range.first == first).copied();
        (range.unwrap_or(ChunkRange { first, ..ChunkRange::default() }), width.min(chunks - number * width))
    })
}

/// How a range of so many chunks looks.
pub fn look(range: &ChunkRange, size: u64) -> Look {
    let ended = range.done + range.cancelled;
    match range {
        ChunkRange { dead: 1.., .. } => Look::Failed,
        ChunkRange { retry: 1.., .. } => Look::Again,
        ChunkRange { running: 1.., .. } => Look::Running,
        _ if ended < size => Look::Waiting,
        ChunkRange { cancelled: 1.., .. } => Look::Off,
        _ => Look::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_how_a_range_looks() {
        let range =
            |done, running, retry, dead, cancelled| ChunkRange { first: 0, done, running, retry, dead, cancelled };
        for (range, expected) in [
            (range(10, 0, 0, 0, 0), Look::Done),
            (range(9, 0, 0, 0, 0), Look::Waiting),
            (range(9, 1, 0, 0, 0), Look::Running),
            (range(8, 1, 1, 0, 0), Look::Again),
            (range(7, 1, 1, 1, 0), Look::Failed),
            (range(7, 0, 0, 0, 3), Look::Off),
        ] {
            assert_eq!(look(&range, 10), expected, "{range:?}");
        }
    }

    #[test]
    fn ranges_of_which_nothing_is_counted_wait() {
        let counted = ChunkRange { first: 4, done: 4, ..ChunkRange::default() };
        let ranges = ChunkRanges { ranges: vec![counted], complete: true };
        let all: Vec<(i64, u64, u64)> =
            all_ranges(10, &ranges, 4).map(|(range, size)| (range.first, range.done, size)).collect();
        assert_eq!(all, [(0, 0, 4), (4, 4, 4), (8, 0, 2)]);
        assert_eq!(all_ranges(0, &ranges, 4).count(), 0);
    }
}
