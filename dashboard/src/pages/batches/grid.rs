//! The chunks of a batch as a field: one cell each where there is room, else one for each range of them. The range that is
//! shown is in the address.

use gristmill_core::job::JobState;
use gristmill_store::{BatchView, CHUNK_BRIEFS_MAX, ChunkBrief, ChunkRange, ChunkRanges};
use maud::{Markup, html};

use super::near::Near;
use super::zoom::Zoom;
use crate::gate::Caller;
use crate::pages::View;
use crate::pages::charts::heat::{Cell, Look, heat, legend};
use crate::pages::parts::batch::{all_ranges, look};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{counted, grouped};
use crate::pages::parts::panel::{late_panel, note};
use crate::pages::parts::state::Tone;
use crate::pages::parts::table::{column, numbers, row, table};

/// How many ranges a field has that shows ranges.
pub(super) const RANGES: u64 = 1_000;

/// How many rows the table beside the field has at most.
const ROWS: usize = 50;

const NOT_ALL: &str = "So many chunks are in one state that only the first of them are shown as that.";

/// What was read of the chunks.
enum Seen {
    OneByOne(Vec<ChunkBrief>),
    ByRanges { ranges: ChunkRanges, width: u32 },
}

/// The field, with its legend and the same as a table.
pub(super) async fn panel(caller: &Caller, view: &View, batch: &BatchView, zoom: Zoom, near: &Near) -> Markup {
    let (first, size) = zoom.within(batch.chunks);
    let known = near.part(batch, zoom).filter(|_| near.all);
    let seen = if near.all {
        known.map(|(_, chunks)| Seen::OneByOne(chunks.to_vec()))
    } else if size <= u64::from(CHUNK_BRIEFS_MAX) {
        let (from, limit) = (i64::try_from(first).unwrap_or(i64::MAX), u32::try_from(size).unwrap_or(CHUNK_BRIEFS_MAX));
        view.panel(caller.store().chunk_briefs(batch.id, from, limit)).await.map(Seen::OneByOne)
    } else {
        let width = u32::try_from(size.div_ceil(RANGES)).unwrap_or(u32::MAX);
        let read = view.panel(caller.store().chunk_ranges(batch.id, width)).await;
        read.map(|ranges| Seen::ByRanges { ranges, width })
    };
    late_panel("chunks-field", "Chunks", seen, |seen| {
        let is_part = size < batch.chunks;
        html! {
            @if batch.chunks == 0 { p class="muted" { "It has no chunks yet." } }
            @else {
                p class="muted" {
                    @if is_part { (grouped(first)) " to " (grouped(first + size - 1)) " of " }
                    (counted(batch.chunks, "chunk", "chunks"))
                    @if let Seen::ByRanges { width, .. } = seen {
                        ", " (grouped(u64::from(width))) " a cell; the worst of them decides how it looks"
                    }
                    @if is_part { " · " a href=(view.with("range", None)) { "Show all" } }
                }
                (drawn(view, batch, &seen, first, size))
            }
        }
    })
}

fn drawn(view: &View, batch: &BatchView, seen: &Seen, first: u64, size: u64) -> Markup {
    match seen {
        Seen::OneByOne(chunks) => {
            let cells: Vec<Cell> = chunks.iter().map(cell).collect();
            html! { (heat("Chunks of the batch", &cells)) (legend(&cells)) (twin(&by_state(chunks))) }
        }
        Seen::ByRanges { ranges, width } => {
            let last = first + size - 1;
            let shown: Vec<(ChunkRange, u64)> = all_ranges(batch.chunks, ranges, *width)
                .filter(|(range, size)| {
                    let from = range.first.unsigned_abs();
                    from <= last && from + size > first
                })
                .collect();
            let cells: Vec<Cell> = shown.iter().map(|(range, size)| range_cell(view, range, *size)).collect();
            html! {
                (heat("Ranges of chunks of the batch", &cells))
                (legend(&cells))
                @if !ranges.complete { (note(Tone::Careful, Icon::Warning, html! { (NOT_ALL) })) }
                (twin(&merged(&shown)))
            }
        }
    }
}

/// A chunk as a cell that leads to it.
pub(super) fn cell(chunk: &ChunkBrief) -> Cell {
    let (look, filled) = match chunk.state {
        JobState::Done => (Look::Done, 12),
        JobState::Running => (Look::Running, 0),
        JobState::Queued | JobState::Scheduled => (Look::Waiting, 0),
        JobState::Retry => (Look::Again, 0),
        JobState::Dead => (Look::Failed, 0),
        JobState::Cancelled => (Look::Off, 0),
    };
    let attempts = if chunk.attempt > 1 { format!(", attempt {}", chunk.attempt) } else { String::new() };
    let title = format!("chunk {}: {}{attempts}, {}", chunk.seq, look.word(), counted(chunk.items, "item", "items"));
    Cell { look, filled, title, href: format!("/jobs/{}", chunk.job) }
}

fn range_cell(view: &View, range: &ChunkRange, size: u64) -> Cell {
    let (first, last) = (range.first.unsigned_abs(), range.first.unsigned_abs() + size - 1);
    Cell { href: view.with("range", Some(&format!("{first}-{last}"))), ..plain_range(range, size) }
}

/// A range of chunks as a cell that leads nowhere.
pub(super) fn plain_range(range: &ChunkRange, size: u64) -> Cell {
    let (first, last) = (range.first.unsigned_abs(), range.first.unsigned_abs() + size - 1);
    let filled = u8::try_from(range.done * 12 / size.max(1)).unwrap_or(12);
    let mut title = format!("chunks {first} to {last}: {} of {size} done", range.done);
    for (count, word) in [
        (range.running, "running"),
        (range.retry, "to be tried again"),
        (range.dead, "dead"),
        (range.cancelled, "cancelled"),
    ] {
        if count > 0 {
            title.push_str(&format!(", {count} {word}"));
        }
    }
    Cell { look: look(range, size), filled, title, href: String::new() }
}

/// One by one shown chunks as a single row of counts for each hundred.
fn by_state(chunks: &[ChunkBrief]) -> Vec<(ChunkRange, u64)> {
    let width = chunks.len().div_ceil(ROWS).max(1);
    let part = |chunks: &[ChunkBrief]| {
        let of = |state| chunks.iter().filter(|chunk| chunk.state == state).count() as u64;
        let range = ChunkRange {
            first: chunks.first().map_or(0, |chunk| chunk.seq),
            done: of(JobState::Done),
            running: of(JobState::Running),
            retry: of(JobState::Retry),
            dead: of(JobState::Dead),
            cancelled: of(JobState::Cancelled),
        };
        (range, chunks.len() as u64)
    };
    chunks.chunks(width).map(part).collect()
}

/// Ranges, of which several become one where they are many.
fn merged(ranges: &[(ChunkRange, u64)]) -> Vec<(ChunkRange, u64)> {
    let sum = |part: &[(ChunkRange, u64)]| {
        let of = |count: fn(&ChunkRange) -> u64| part.iter().map(|(range, _)| count(range)).sum();
        let range = ChunkRange {
            first: part.first().map_or(0, |(range, _)| range.first),
            done: of(|range| range.done),
            running: of(|range| range.running),
            retry: of(|range| range.retry),
            dead: of(|range| range.dead),
            cancelled: of(|range| range.cancelled),
        };
        (range, part.iter().map(|(_, size)| size).sum())
    };
    ranges.chunks(ranges.len().div_ceil(ROWS).max(1)).map(sum).collect()
}

/// The field as a table, for those who do not see it.
fn twin(ranges: &[(ChunkRange, u64)]) -> Markup {
    let columns = [
        column("Chunks"),
        numbers("Done"),
        numbers("Running"),
        numbers("Waiting"),
        numbers("To be tried again"),
        numbers("Dead"),
        numbers("Cancelled"),
    ];
    let rows = ranges.iter().map(|(range, size)| {
        let counted = range.done + range.running + range.retry + range.dead + range.cancelled;
        let number = |count: u64| html! { (grouped(count)) };
        row(
            range.first.to_string(),
            [
                html! { (range.first) " to " (range.first.unsigned_abs() + size - 1) },
                number(range.done),
                number(range.running),
                number(size.saturating_sub(counted)),
                number(range.retry),
                number(range.dead),
                number(range.cancelled),
            ],
        )
    });
    html! { details id="field-table" { summary { "As a table" } (table("field", "Chunks by their numbers", &columns, rows)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ranges_become_few_and_lose_nothing() {
        let one = |first| (ChunkRange { first, done: 2, dead: 1, ..ChunkRange::default() }, 4);
        let ranges: Vec<_> = (0..1_000).map(|number| one(number * 4)).collect();
        let merged = merged(&ranges);
        assert_eq!(merged.len(), 50);
        assert_eq!(
            merged.iter().map(|(range, size)| (range.done, range.dead, *size)).fold((0, 0, 0), |a, b| (
                a.0 + b.0,
                a.1 + b.1,
                a.2 + b.2
            )),
            (2_000, 1_000, 4_000)
        );
    }
}
