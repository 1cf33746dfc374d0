//! What charts over time share: their size, their axes, and the frame with title, description and table.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

/// The width of a chart in its own units; it takes the room that there is.
pub(super) const WIDE: f64 = 720.0;

/// Its height.
pub(super) const HIGH: f64 = 180.0;

/// The room at the left for what the lines mean.
pub(super) const LEFT: f64 = 56.0;

/// The room at the right, above, and below for the times.
const RIGHT: f64 = 8.0;
const ABOVE: f64 = 8.0;
const BELOW: f64 = 22.0;

/// How many times are written below, at most.
const TIMES_MAX: usize = 8;

/// What is said of a chart to those who do not see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    /// An id that no other picture of the page has.
    pub(super) id: &'a str,
    /// What it shows.
    pub(super) title: &'a str,
    /// What can be seen in it, in a sentence.
    pub(super) about: &'a str,
}

/// The height of the line that is a share of the way up, from 0 to 1.
pub(super) fn up(share: f64) -> f64 {
    let room = HIGH - ABOVE - BELOW;
    ABOVE + room * (1.0 - share.clamp(0.0, 1.0))
}

/// Where a bar of so many begins, and how wide it is.
pub(super) fn across(at: usize, of: usize) -> (f64, f64) {
    let width = (WIDE - LEFT - RIGHT) / of.max(1) as f64;
    (LEFT + width * at as f64, width)
}

/// A coordinate, short: a tenth of a unit is finer than a pixel.
pub(super) fn short(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// The next of 1, 2 and 5 times a power of ten that is not below a count: where an axis ends.
pub(super) fn ceiling(count: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            match power.checked_mul(factor) {
                Some(end) if end >= count => return end,
                Some(_) => {}
                None => return u64::MAX,
            }
        }
        power = power.saturating_mul(10);
    }
}

/// The lines across, each at a share of the way up and with what it means.
pub(super) fn lines(lines: &[(f64, String)]) -> Markup {
    html! {
        @for (share, meaning) in lines {
            @let y = up(*share);
            path class="c-grid" d={ "M" (LEFT) " " (short(y)) "H" (WIDE - RIGHT) } {}
            text class="c-text" x=(LEFT - 6.0) y=(short(y + 4.0)) text-anchor="end" { (meaning) }
        }
    }
}

/// The times below bars, as many as have room. Days where a bar is an hour or longer, and midnight is among them.
pub(super) fn times(bars: &[DateTime<Utc>], length: TimeDelta) -> Markup {
    let long = length * i32::try_from(bars.len()).unwrap_or(i32::MAX) > TimeDelta::hours(36);
    let step = bars.len().div_ceil(TIMES_MAX).max(1);
    let format = if long { "%b %-d %H:%M" } else { "%H:%M" };
    html! {
        @for (at, time) in bars.iter().enumerate().step_by(step) {
            @let (x, _) = across(at, bars.len());
            text class="c-text" x=(short(x)) y=(HIGH - 6.0) { (time.format(format)) }
        }
    }
}

/// A chart with its title, its description, what is drawn, and the same as a table.
pub(super) fn chart(said: Said<'_>, drawn: Markup, legend: Markup, twin: Markup) -> Markup {
    let Said { id, title, about } = said;
    html! {
        figure class="chart" id=(id) {
            svg class="plot" viewBox={ "0 0 " (WIDE) " " (HIGH) } role="img" aria-labelledby={ (id) "-title " (id) "-about" } {
                title id={ (id) "-title" } { (title) }
                desc id={ (id) "-about" } { (about) }
                (drawn)
            }
            (legend)
            (twin)
        }
    }
}

/// What colours mean.
pub(super) fn legend(entries: &[(&str, &str)]) -> Markup {
    html! {
        ul class="legend" {
            @for (class, word) in entries {
                li { svg viewBox="0 0 12 12" aria-hidden="true" { rect class=(class) width="12" height="12" {} } (word) }
            }
        }
    }
}

/// The same as a table, closed until it is wanted.
pub(super) fn twin(id: &str, table: Markup) -> Markup {
    html! { details id={ (id) "-twin" } { summary { "As a table" } (table) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_that_is_not_below() {
        for (count, end) in [(0, 1), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (480, 500), (501, 1_000)] {
            assert_eq!(ceiling(count), end, "{count}");
        }
        assert_eq!(ceiling(u64::MAX), u64::MAX);
    }

    #[test]
    fn bars_fill_the_width_and_heights_stay_within_the_frame() {
        let (x, width) = across(59, 60);
        assert!((x + width - (WIDE - RIGHT)).abs() < 1e-6);
        assert_eq!((up(0.0), up(1.0), up(7.0)), (158.0, 8.0, 8.0));
        assert_eq!((short(7.04), short(7.06), short(12.0)), ("7".to_owned(), "7.1".to_owned(), "12".to_owned()));
    }

    #[test]
    fn few_times_stand_below_however_many_bars_there_are() {
        let first: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let minutes: Vec<_> = (0..60).map(|minute| first + TimeDelta::minutes(minute)).collect();
        let shown = times(&minutes, TimeDelta::minutes(1)).into_string();
        assert_eq!(shown.matches("<text").count(), 8);
        assert!(shown.contains(">09:08<"), "{shown}");
        let hours: Vec<_> = (0..168).map(|hour| first + TimeDelta::hours(hour)).collect();
        assert!(times(&hours, TimeDelta::hours(1)).into_string().contains(">Dec 1 06:00<"));
    }
}
