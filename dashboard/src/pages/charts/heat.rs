//! A field of cells: each one thing, or a range of things of which the worst decides how it looks.

use maud::{Markup, html};

/// The most cells of a field.
pub const CELLS_MAX: usize = 2_500;

/// The room of a cell with the gap beside it, and without.
const STEP: usize = 14;
const SIDE: usize = 12;

/// What decides how a cell looks, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// All of it is done.
    Done,
    /// It was called off.
    Off,
    /// It waits.
    Waiting,
    /// It runs.
    Running,
    /// It is tried again.
    Again,
    /// It has failed.
    Failed,
}

impl Look {
    /// All, in the order of a legend.
    pub const ALL: [Self; 6] = [Self::Done, Self::Running, Self::Waiting, Self::Again, Self::Failed, Self::Off];

    /// The class of its colour.
    pub fn class(self) -> &'static str {
        match self {
            Self::Done => "f-ok",
            Self::Off => "f-off",
            Self::Waiting => "f-wait",
            Self::Running => "f-run",
            Self::Again => "f-careful",
            Self::Failed => "f-bad",
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Off => "cancelled",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Again => "to be tried again",
            Self::Failed => "dead",
        }
    }

    /// The lines by which it is known without its colour: a cross, a dash, a dot, a ring.
    fn mark(self) -> Option<&'static str> {
        match self {
            Self::Done | Self::Waiting => None,
            Self::Off => Some("M3.5 6h5"),
            Self::Running => Some("M6 3.5v5M3.5 6h5"),
            Self::Again => Some("M3.5 8.5l5-5"),
            Self::Failed => Some("M3.5 3.5l5 5M8.5 3.5l-5 5"),
        }
    }
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// How it looks.
    pub look: Look,
    /// How much of it is done, of 12.
    pub filled: u8,
    /// What it is, in words.
    pub title: String,
    /// Where it leads.
    pub href: String,
}

/// A field of cells, with as many columns as make it about three times as wide as it is high.
pub fn heat(label: &str, cells: &[Cell]) -> Markup {
    let columns = columns(cells.len());
    let rows = cells.len().div_ceil(columns);
    let (width, height) = (columns * STEP, rows * STEP);
    // A cell is 24 pixels wide where there is room: that many a finger needs.
    html! {
        svg class="heat" role="group" aria-label=(label) data-columns=(columns) width=(columns * 24)
            viewBox={ "0 0 " (width) " " (height) } {
            title { (label) }
            @for (at, cell) in cells.iter().take(CELLS_MAX).enumerate() {
                (drawn(cell, at % columns * STEP, at / columns * STEP, at == 0))
            }
        }
    }
}

/// Of links in a field the script moves from one to the next by arrows: only the first is a stop of the tabulator.
fn drawn(cell: &Cell, x: usize, y: usize, first: bool) -> Markup {
    let filled = usize::from(cell.filled).min(SIDE);
    let part = cell.look != Look::Done && filled > 0;
    let at = format!("translate({x} {y})");
    let inner = html! {
        title { (cell.title) }
        rect class=(cell.look.class()) width=(SIDE) height=(SIDE) rx="2" {}
        @if part { rect class="f-ok" y=(SIDE - filled) width=(SIDE) height=(filled) rx="1" {} }
        @if let Some(mark) = cell.look.mark() { path class="mark-line" d=(mark) {} }
    };
    html! {
        @if cell.href.is_empty() { g transform=(at) { (inner) } }
        @else { a href=(cell.href) tabindex=(if first { "0" } else { "-1" }) transform=(at) { (inner) } }
    }
}

fn columns(cells: usize) -> usize {
    let wanted = ((cells * 3) as f64).sqrt().ceil() as usize;
    wanted.clamp(1, 84)
}

/// What the looks mean, with how many cells have each.
pub fn legend(cells: &[Cell]) -> Markup {
    html! {
        ul class="legend" {
            @for look in Look::ALL {
                @let count = cells.iter().filter(|cell| cell.look == look).count();
                @if count > 0 {
                    li {
                        svg viewBox="0 0 12 12" aria-hidden="true" {
                            rect class=(look.class()) width="12" height="12" {}
                            @if let Some(mark) = look.mark() { path class="mark-line" d=(mark) {} }
                        }
                        (look.word()) " " (count)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_wider_than_it_is_high_and_fits() {
        for (cells, expected) in [(0, 1), (1, 2), (27, 9), (300, 30), (2_500, 84)] {
            assert_eq!(columns(cells), expected, "{cells}");
        }
    }

    #[test]
    fn a_cell_says_what_it_is_and_hostile_text_stays_text() {
        let cell = Cell {
            look: Look::Failed,
            filled: 3,
            title: "chunk 7: <script>".to_owned(),
            href: "/jobs/\"onclick=\"".to_owned(),
        };
        let html = heat("Chunks", &[cell]).into_string();
        assert!(html.contains("chunk 7: &lt;script&gt;") && !html.contains("<script>"), "{html}");
        assert!(html.contains("f-bad") && html.contains("f-ok") && html.contains("mark-line"), "{html}");
        assert!(!html.contains("\"onclick"), "{html}");
    }
}
