//! What was said of an end before: for each moment the range, and what was likely. Where what was likely stays level, the
//! end has not slipped.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::plot::{Said, chart, legend, short, twin};
use crate::pages::parts::number::none;
use crate::pages::parts::table::{column, row, table};

/// The corners of what is drawn.
const LEFT: f64 = 8.0;
const RIGHT: f64 = 712.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 150.0;

/// What was said at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// Not before.
    pub soonest: Option<DateTime<Utc>>,
    /// As likely before as after.
    pub likely: Option<DateTime<Utc>>,
    /// Not after.
    pub latest: Option<DateTime<Utc>>,
}

impl Moment {
    fn range(&self) -> Option<[DateTime<Utc>; 3]> {
        Some([self.soonest?, self.likely?, self.latest?])
    }
}

/// The chart. Times pass to the right, and what was said is the higher the later it is.
pub fn track(id: &str, title: &str, about: &str, said: &[Moment], ended: Option<DateTime<Utc>>) -> Markup {
    let ranges: Vec<(DateTime<Utc>, [DateTime<Utc>; 3])> =
        said.iter().filter_map(|moment| Some((moment.at, moment.range()?))).collect();
    let across = Scale::of(ranges.iter().map(|(at, _)| *at), LEFT, RIGHT);
    let up = Scale::of(ranges.iter().flat_map(|(_, range)| *range).chain(ended), BOTTOM, TOP);
    let x = |at: DateTime<Utc>| short(across.place(at));
    let y = |at: DateTime<Utc>| short(up.place(at));
    let drawn = html! {
        @if let Some(end) = ended {
            path class="c-grid c-end" d={ "M" (LEFT) " " (y(end)) "H" (RIGHT) } {}
            text class="c-text" x=(LEFT) y=(short(up.place(end) - 4.0)) { "ended " (end.format("%H:%M:%S UTC")) }
        }
        @for (at, [soonest, likely, latest]) in &ranges {
            g {
                title {
                    "at " (at.format("%H:%M:%S")) ": between " (soonest.format("%H:%M:%S")) " and "
                    (latest.format("%H:%M:%S UTC")) ", likely at " (likely.format("%H:%M:%S"))
                }
                path class="c-range" d={ "M" (x(*at)) " " (y(*soonest)) "V" (y(*latest)) } {}
                circle class="c-mid" cx=(x(*at)) cy=(y(*likely)) r="3.5" {}
            }
        }
        path class="c-line" d=(line(&ranges, &across, &up)) {}
    };
    let meanings = [("c-band", "four times in five"), ("c-key", "likely")];
    chart(Said { id, title, about }, drawn, legend(&meanings), twin(id, as_table(id, title, said)))
}

/// Through what was likely.
fn line(ranges: &[(DateTime<Utc>, [DateTime<Utc>; 3])], across: &Scale, up: &Scale) -> String {
    let point = |(number, (at, [_, likely, _])): (usize, &(DateTime<Utc>, [DateTime<Utc>; 3]))| {
        let draw = if number == 0 { "M" } else { "L" };
        format!("{draw}{} {}", short(across.place(*at)), short(up.place(*likely)))
    };
    ranges.iter().enumerate().map(point).collect()
}

/// From instants to coordinates.
struct Scale {
    from: f64,
    length: f64,
    begin: f64,
    end: f64,
}

impl Scale {
    fn of(instants: impl Iterator<Item = DateTime<Utc>> + Clone, begin: f64, end: f64) -> Self {
        let micros = |at: DateTime<Utc>| at.timestamp_micros() as f64;
        let (from, to) = (instants.clone().min().map_or(0.0, micros), instants.max().map_or(0.0, micros));
        Self { from, length: (to - from).max(1.0), begin, end }
    }

    fn place(&self, at: DateTime<Utc>) -> f64 {
        let share = (at.timestamp_micros() as f64 - self.from) / self.length;
        self.begin + (self.end - self.begin) * share
    }
}

fn as_table(id: &str, title: &str, said: &[Moment]) -> Markup {
    let columns = [column("Said at"), column("Not before"), column("Likely"), column("Not after")];
    let time = |at: Option<DateTime<Utc>>| {
        html! { @if let Some(at) = at { (at.format("%Y-%m-%d %H:%M:%S UTC")) } @else { (none()) } }
    };
    let rows = said.iter().map(|moment| {
        let cells = [time(Some(moment.at)), time(moment.soonest), time(moment.likely), time(moment.latest)];
        row(moment.at.timestamp_micros().to_string(), cells)
    });
    table(&format!("{id}-table"), title, &columns, rows)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn said() -> [Moment; 3] {
        let begin: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let at = |seconds| begin + TimeDelta::seconds(seconds);
        let moment = |now, likely| Moment {
            at: at(now),
            soonest: Some(at(likely - 10)),
            likely: Some(at(likely)),
            latest: Some(at(likely + 10)),
        };
        let early = Moment { at: at(10), soonest: None, likely: None, latest: None };
        [early, moment(20, 100), moment(60, 160)]
    }

    #[test]
    fn what_becomes_later_rises_and_what_was_not_said_is_not_drawn() {
        let shown = track("e", "When it was said to end", "It slipped.", &said(), None).into_string();
        // 90 to 170 seconds fill the height: 100 lies an eighth up, 160 seven eighths.
        assert!(shown.contains("<path class=\"c-line\" d=\"M8 133.2L712 32.8\"></path>"), "{shown}");
        assert_eq!((shown.matches("<circle").count(), shown.matches("<tr id=\"e-table-").count()), (2, 3));
        let nothing = track("e", "When", "Nothing was said.", &[], None).into_string();
        assert!(!nothing.contains("NaN"), "{nothing}");
    }
}
