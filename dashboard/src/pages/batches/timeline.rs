//! The chunks of a batch over time: what ran when and beside what, and which took far longer than most.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use gristmill_core::job::JobState;
use gristmill_store::{BatchView, CHUNK_BRIEFS_MAX, ChunkBrief};
use maud::{Markup, html};

use super::near::Near;
use super::zoom::Zoom;
use crate::gate::Caller;
use crate::pages::View;
use crate::pages::charts::gantt::{BARS_MAX, Bar, Kind, gantt, legend};
use crate::pages::parts::number::{counted, duration, grouped};
use crate::pages::parts::panel::late_panel;
use crate::pages::parts::table::{column, numbers, row, table};
use crate::pages::parts::time::instant;

/// How many of the chunks that are read lie before the place at which the work is.
const BEHIND: u64 = 2_000;

/// From how many times the middle on a chunk took far longer than most.
const SLOW: u32 = 3;

/// A chunk is not slow before this long.
const SLOW_AT_LEAST: Duration = Duration::from_secs(1);

/// How many rows the table has.
const ROWS: usize = 50;

/// The timeline of the chunks that are shown, or of those around the place at which the work is: as many as are read one
/// by one, by their numbers.
pub(super) async fn panel(caller: &Caller, view: &View, batch: &BatchView, zoom: Zoom, near: &Near) -> Markup {
    let (first, size, read) = match near.part(batch, zoom) {
        Some((first, chunks)) => (first, chunks.len() as u64, Some(Cow::Borrowed(chunks))),
        None => {
            let (first, size) = window(batch, zoom);
            let from = i64::try_from(first).unwrap_or(i64::MAX);
            let limit = u32::try_from(size).unwrap_or(CHUNK_BRIEFS_MAX).clamp(1, CHUNK_BRIEFS_MAX);
            let read = view.panel(caller.store().chunk_briefs(batch.id, from, limit)).await;
            (first, u64::from(limit), read.map(Cow::Owned))
        }
    };
    late_panel("timeline", "Timeline", read, |chunks| {
        let spans = spans(&chunks, stepped(view.now()));
        let about = said(&spans);
        let bars: Vec<Bar> = spans.iter().map(|span| span.bar()).collect();
        html! {
            @match gantt("timeline-chart", "When chunks ran", &about, &bars) {
                None => { p class="muted" { "None of these chunks has begun." } }
                Some(picture) => {
                    p class="muted" {
                        @if size < batch.chunks {
                            "Chunks " (grouped(first)) " to " (grouped(first + size.max(1) - 1)) " of " (grouped(batch.chunks)) ". "
                        }
                        (about)
                        @if bars.len() > BARS_MAX { " The " (BARS_MAX) " longest are drawn one by one, all are in the strip above." }
                    }
                    (picture)
                    (legend(&bars))
                    (twin(&spans))
                }
            }
        }
    })
}

/// The number of the first chunk that is read, and how many are.
fn window(batch: &BatchView, zoom: Zoom) -> (u64, u64) {
    let (first, size) = zoom.within(batch.chunks);
    let most = u64::from(CHUNK_BRIEFS_MAX);
    if size <= most {
        return (first, size);
    }
    let ended = batch.chunks.saturating_sub(batch.remaining);
    let around = ended.saturating_sub(BEHIND).clamp(first, first + size - most);
    (around, most)
}

/// A time in steps of ten seconds: a page whose every bar moves is sent again and again.
fn stepped(now: DateTime<Utc>) -> DateTime<Utc> {
    now.duration_trunc(TimeDelta::seconds(10)).unwrap_or(now)
}

/// A chunk that has begun.
pub(super) struct Span<'c> {
    chunk: &'c ChunkBrief,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    kind: Kind,
}

impl Span<'_> {
    fn took(&self) -> Duration {
        (self.to - self.from).to_std().unwrap_or_default()
    }

    pub(super) fn bar(&self) -> Bar {
        let attempts = if self.chunk.attempt > 1 { format!(", attempt {}", self.chunk.attempt) } else { String::new() };
        let title = format!("chunk {}: {}, {}{attempts}", self.chunk.seq, self.kind.word(), duration(self.took()));
        let href = format!("/jobs/{}", self.chunk.job);
        Bar { from: self.from, to: self.to, kind: self.kind, title, href }
    }
}

/// The last attempts of the chunks that run or have ended, each from its beginning to its end.
pub(super) fn spans(chunks: &[ChunkBrief], now: DateTime<Utc>) -> Vec<Span<'_>> {
    let mut spans: Vec<Span<'_>> = chunks.iter().filter_map(|chunk| span(chunk, now)).collect();
    let mut times: Vec<Duration> = spans.iter().filter(|span| span.kind == Kind::Done).map(Span::took).collect();
    times.sort_unstable();
    let slow = times.get(times.len() / 2).map_or(Duration::MAX, |middle| (*middle * SLOW).max(SLOW_AT_LEAST));
    for span in spans.iter_mut().filter(|span| span.kind == Kind::Done && span.took() >= slow) {
        span.kind = Kind::Slow;
    }
    spans
}

fn span(chunk: &ChunkBrief, now: DateTime<Utc>) -> Option<Span<'_>> {
    let from = chunk.started_at?;
    let (kind, to) = match chunk.state {
        JobState::Done => (Kind::Done, chunk.finished_at?),
        JobState::Dead => (Kind::Failed, chunk.finished_at?),
        JobState::Running => (Kind::Running, now.max(from)),
        JobState::Scheduled | JobState::Queued | JobState::Retry | JobState::Cancelled => return None,
    };
    Some(Span { chunk, from, to: to.max(from), kind })
}

/// What can be seen, in a sentence.
pub(super) fn said(spans: &[Span<'_>]) -> String {
    let of = |kind: Kind| spans.iter().filter(|span| span.kind == kind).count() as u64;
    let mut parts = vec![counted(of(Kind::Done) + of(Kind::Slow), "chunk is done", "chunks are done")];
    for (kind, words) in
        [(Kind::Slow, "of them took far longer than most"), (Kind::Running, "run"), (Kind::Failed, "dead")]
    {
        if of(kind) > 0 {
            parts.push(format!("{} {words}", grouped(of(kind))));
        }
    }
    format!("{}.", parts.join(", "))
}

/// The longest of them as a table.
fn twin(spans: &[Span<'_>]) -> Markup {
    let mut longest: Vec<&Span<'_>> = spans.iter().collect();
    longest.sort_by_key(|span| (Reverse(span.took()), span.chunk.seq));
    let columns = [column("Chunk"), column("State"), column("Began"), numbers("Took"), numbers("Attempt")];
    let rows = longest.into_iter().take(ROWS).map(|span| {
        let cells = [
            html! { a href={ "/jobs/" (span.chunk.job) } { "chunk " (span.chunk.seq) } },
            html! { (span.kind.word()) },
            instant(span.from),
            html! { (duration(span.took())) },
            html! { (span.chunk.attempt) },
        ];
        row(span.chunk.seq.to_string(), cells)
    });
    html! {
        details id="timeline-twin" {
            summary { "The longest as a table" }
            (table("timeline-table", "Chunks, those that took longest first", &columns, rows))
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::id::JobId;

    use super::*;

    fn chunk(seq: i64, state: JobState, began: Option<i64>, took: i64) -> ChunkBrief {
        let at = |second| DateTime::from_timestamp(1_000 + second, 0);
        let ended = matches!(state, JobState::Done | JobState::Dead);
        ChunkBrief {
            seq,
            job: JobId(uuid::Uuid::nil()),
            state,
            attempt: 1,
            items: 1,
            started_at: began.and_then(at),
            finished_at: began.filter(|_| ended).and_then(|began| at(began + took)),
        }
    }

    #[test]
    fn a_straggler_is_one_that_took_three_times_as_long_as_the_middle() {
        let chunks = [
            chunk(0, JobState::Done, Some(0), 10),
            chunk(1, JobState::Done, Some(0), 11),
            chunk(2, JobState::Done, Some(10), 40),
            chunk(3, JobState::Dead, Some(11), 5),
            chunk(4, JobState::Running, Some(20), 0),
            chunk(5, JobState::Queued, None, 0),
        ];
        let now = DateTime::from_timestamp(1_060, 0).expect("an instant");
        let spans = spans(&chunks, now);
        let kinds: Vec<(i64, Kind, u64)> =
            spans.iter().map(|span| (span.chunk.seq, span.kind, span.took().as_secs())).collect();
        let expected = [
            (0, Kind::Done, 10),
            (1, Kind::Done, 11),
            (2, Kind::Slow, 40),
            (3, Kind::Failed, 5),
            (4, Kind::Running, 40),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(said(&spans), "3\u{a0}chunks are done, 1 of them took far longer than most, 1 run, 1 dead.");
    }

    #[test]
    fn quick_chunks_are_not_slow_however_much_quicker_others_are() {
        let quick: Vec<ChunkBrief> = (0..9).map(|seq| chunk(seq, JobState::Done, Some(0), 0)).collect();
        let now = DateTime::from_timestamp(2_000, 0).expect("an instant");
        assert!(spans(&quick, now).iter().all(|span| span.kind == Kind::Done));
    }
}
