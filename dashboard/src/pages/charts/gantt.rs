//! Bars over time in rows: what ran when, and beside what. Bars that do not overlap share a row, so that there are as many
//! rows as ran at once. The longest are drawn one by one; of all, a strip above says how many were under way.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::plot::short;

/// How many bars are drawn one by one.
pub const BARS_MAX: usize = 500;

/// How many rows there are at most.
const ROWS_MAX: usize = 64;

/// How many columns the strip has.
const COLUMNS: usize = 120;

const WIDE: f64 = 720.0;
const STRIP: f64 = 22.0;
const ROW: f64 = 10.0;
const BELOW: f64 = 20.0;

/// What a bar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has ended well.
    Done,
    /// It ran far longer than most.
    Slow,
    /// It runs.
    Running,
    /// It has failed.
    Failed,
}

impl Kind {
    /// All, in the order of a legend.
    pub const ALL: [Self; 4] = [Self::Done, Self::Slow, Self::Running, Self::Failed];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Slow => "took far longer than most",
            Self::Running => "running",
            Self::Failed => "dead",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Done => "f-ok",
            Self::Slow => "f-careful",
            Self::Running => "f-run",
            Self::Failed => "f-bad",
        }
    }

    /// By which lines it is known without its colour, across a bar.
    fn mark(self) -> Option<&'static str> {
        match self {
            Self::Done => None,
            Self::Slow => Some("M1.5 1.5v5"),
            Self::Running => Some("M1.5 4h4"),
            Self::Failed => Some("M1.5 1.5l5 5M6.5 1.5l-5 5"),
        }
    }
}

/// A bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// When it begins.
    pub from: DateTime<Utc>,
    /// When it ends.
    pub to: DateTime<Utc>,
    /// What it stands for.
    pub kind: Kind,
    /// What it is, in words.
    pub title: String,
    /// Where it leads.
    pub href: String,
}

impl Bar {
    fn micros(&self) -> i64 {
        (self.to - self.from).num_microseconds().unwrap_or(i64::MAX)
    }
}

/// Which bars are drawn one by one: those that run, and then the longest. In the order in which they begin.
fn drawn(bars: &[Bar]) -> Vec<&Bar> {
    let mut chosen: Vec<&Bar> = bars.iter().collect();
    chosen.sort_by_key(|bar| (bar.kind != Kind::Running, std::cmp::Reverse(bar.micros())));
    chosen.truncate(BARS_MAX);
    chosen.sort_by_key(|bar| (bar.from, bar.to));
    chosen
}

/// Gives each bar a row: the first that is free when it begins. `None` for those that find none.
fn rows(bars: &[&Bar]) -> Vec<Option<usize>> {
    let mut free: Vec<DateTime<Utc>> = Vec::new();
    let place = |bar: &&Bar| {
        let row = free.iter().position(|until| *until <= bar.from);
        let row = row.or_else(|| {
            (free.len() < ROWS_MAX).then(|| {
                free.push(bar.from);
                free.len() - 1
            })
        })?;
        free[row] = bar.to;
        Some(row)
    };
    bars.iter().map(place).collect()
}

/// How many bars are under way in each of so many columns.
fn under_way(bars: &[Bar], from: i64, micros: f64) -> [u64; COLUMNS] {
    let mut changes = [0_i64; COLUMNS + 1];
    let column = |at: DateTime<Utc>| {
        (((at.timestamp_micros() - from) as f64 / micros * COLUMNS as f64) as usize).min(COLUMNS - 1)
    };
    for bar in bars {
        changes[column(bar.from)] += 1;
        changes[column(bar.to) + 1] -= 1;
    }
    let mut sum = 0;
    std::array::from_fn(|at| {
        sum += changes[at];
        sum.unsigned_abs()
    })
}

/// The picture. `None` when there is no bar.
pub fn gantt(id: &str, title: &str, about: &str, bars: &[Bar]) -> Option<Markup> {
    let from = bars.iter().map(|bar| bar.from).min()?;
    let until = bars.iter().map(|bar| bar.to).max()?;
    let (begin, micros) = (from.timestamp_micros(), ((until - from).num_microseconds()? as f64).max(1.0));
    let x = |at: DateTime<Utc>| WIDE * (at.timestamp_micros() - begin) as f64 / micros;
    let drawn = drawn(bars);
    let rows = rows(&drawn);
    let high = rows.iter().flatten().max().map_or(0, |row| row + 1);
    let bottom = STRIP + 4.0 + high as f64 * ROW;
    let under_way = under_way(bars, begin, micros);
    Some(html! {
        svg class="plot gantt" viewBox={ "0 0 " (WIDE) " " (short(bottom + BELOW)) } role="group" aria-labelledby={ (id) "-title " (id) "-about" } {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-about" } { (about) }
            (strip(&under_way))
            @for (bar, row) in drawn.iter().zip(&rows) {
                @if let Some(row) = row {
                    (one(bar, x(bar.from), x(bar.to), STRIP + 4.0 + *row as f64 * ROW))
                }
            }
            text class="c-text" x="0" y=(short(bottom + 14.0)) { (from.format("%b %-d %H:%M:%S")) }
            text class="c-text" x=(WIDE) y=(short(bottom + 14.0)) text-anchor="end" { (until.format("%b %-d %H:%M:%S UTC")) }
        }
    })
}

fn strip(under_way: &[u64; COLUMNS]) -> Markup {
    let most = under_way.iter().copied().max().unwrap_or(0).max(1);
    let width = WIDE / COLUMNS as f64;
    html! {
        g {
            title { "At most " (most) " at once" }
            @for (at, count) in under_way.iter().enumerate() {
                @if *count > 0 {
                    @let height = STRIP * *count as f64 / most as f64;
                    rect class="c-area" x=(short(at as f64 * width)) y=(short(STRIP - height)) width=(short(width)) height=(short(height)) {}
                }
            }
        }
    }
}

fn one(bar: &Bar, from: f64, to: f64, y: f64) -> Markup {
    let width = (to - from).max(1.5);
    let at = format!("translate({} {})", short(from), short(y));
    let inner = html! {
        title { (bar.title) }
        rect class=(bar.kind.class()) width=(short(width)) height=(short(ROW - 2.0)) rx="1.5" {}
        @if let Some(mark) = bar.kind.mark().filter(|_| width >= 8.0) { path class="mark-line" d=(mark) {} }
    };
    html! {
        @if bar.href.is_empty() { g transform=(at) { (inner) } }
        @else { a href=(bar.href) tabindex="-1" transform=(at) { (inner) } }
    }
}

/// What bars mean, with how many there are of each.
pub fn legend(bars: &[Bar]) -> Markup {
    html! {
        ul class="legend" {
            @for kind in Kind::ALL {
                @let count = bars.iter().filter(|bar| bar.kind == kind).count();
                @if count > 0 {
                    li {
                        svg viewBox="0 0 12 8" aria-hidden="true" {
                            rect class=(kind.class()) width="12" height="8" {}
                            @if let Some(mark) = kind.mark() { path class="mark-line" d=(mark) {} }
                        }
                        (kind.word()) " " (count)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn bar(from: i64, to: i64, kind: Kind) -> Bar {
        let begin: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let at = |second| begin + TimeDelta::seconds(second);
        Bar { from: at(from), to: at(to), kind, title: format!("{from} to {to}"), href: "/jobs/<x>".to_owned() }
    }

    #[test]
    fn bars_that_do_not_overlap_share_a_row_and_others_do_not() {
        let bars = [bar(0, 10, Kind::Done), bar(2, 5, Kind::Done), bar(5, 9, Kind::Done), bar(10, 12, Kind::Done)];
        let drawn: Vec<&Bar> = bars.iter().collect();
        assert_eq!(rows(&drawn), [Some(0), Some(1), Some(1), Some(0)]);
        let many: Vec<Bar> = (0..70).map(|_| bar(0, 10, Kind::Done)).collect();
        let many: Vec<&Bar> = many.iter().collect();
        assert_eq!(
            rows(&many).iter().flatten().count(),
            ROWS_MAX,
            "more than there is room for are in the strip alone"
        );
    }

    #[test]
    fn what_runs_and_the_longest_are_drawn_and_everything_is_in_the_strip() {
        let mut bars: Vec<Bar> = (0..600).map(|at| bar(at, at + 1 + at % 7, Kind::Done)).collect();
        bars.push(bar(599, 600, Kind::Running));
        let drawn = drawn(&bars);
        assert_eq!(drawn.len(), BARS_MAX);
        assert!(drawn.iter().any(|bar| bar.kind == Kind::Running), "although it is short");
        let shortest = drawn.iter().filter(|bar| bar.kind == Kind::Done).map(|bar| bar.micros()).min();
        assert_eq!(shortest, Some(2_000_000), "those of a second are left out");
        let counts =
            under_way(&[bar(0, 60, Kind::Done), bar(30, 120, Kind::Done)], bars[0].from.timestamp_micros(), 120e6);
        assert_eq!((counts[0], counts[45], counts[119]), (1, 2, 1));
    }

    #[test]
    fn a_bar_lies_to_scale_under_its_strip_and_hostile_text_stays_text() {
        let two = [bar(0, 50, Kind::Slow), bar(50, 100, Kind::Failed)];
        let shown = gantt("g", "Chunks", "Two chunks.", &two).expect("a picture").into_string();
        let golden = "<a href=\"/jobs/&lt;x&gt;\" tabindex=\"-1\" transform=\"translate(360 26)\"><title>50 to 100</title>\
            <rect class=\"f-bad\" width=\"360\" height=\"8\" rx=\"1.5\"></rect>\
            <path class=\"mark-line\" d=\"M1.5 1.5l5 5M6.5 1.5l-5 5\"></path></a>";
        assert!(shown.contains(golden), "{shown}");
        assert!(shown.contains("viewBox=\"0 0 720 56\""), "{shown}");
        assert!(gantt("g", "Chunks", "None.", &[]).is_none());
    }
}
