//! How long something took, over time: for each length of time from the middle to what 95 and 99 of 100 did not exceed. The
//! scale is logarithmic, so that milliseconds and hours have room beside each other.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_core::history::Histogram;
use maud::{Markup, html};

use super::plot::{Said, across, chart, legend, lines, short, times, twin, up};
use crate::pages::parts::number::{duration, grouped};
use crate::pages::parts::table::{column, numbers, row, table};

/// The shares that are shown.
const SHARES: [f64; 3] = [0.5, 0.95, 0.99];

/// The lower end of the scale.
const SHORTEST: Duration = Duration::from_millis(1);

/// The chart. Bars follow each other without gaps, each `length` long.
pub fn bands(id: &str, title: &str, bars: &[(DateTime<Utc>, Histogram)], length: TimeDelta) -> Markup {
    let mut all = Histogram::default();
    bars.iter().for_each(|(_, times)| all.add(times));
    let longest = bars.iter().filter_map(|(_, times)| times.quantile(SHARES[2])).max().unwrap_or(SHORTEST);
    let scale = Scale::to(longest);
    let at: Vec<DateTime<Utc>> = bars.iter().map(|(at, _)| *at).collect();
    let drawn = html! {
        (lines(&scale.lines()))
        @for (number, (at, times)) in bars.iter().enumerate() { (bar(number, bars.len(), *at, times, &scale)) }
        (times(&at, length))
    };
    let meanings = [("c-mid", "half took no longer"), ("c-band", "95 of 100"), ("c-wide", "99 of 100")];
    chart(Said { id, title, about: &about(&all) }, drawn, legend(&meanings), twin(id, as_table(id, title, bars)))
}

/// A logarithmic scale from a millisecond to a power of ten.
struct Scale {
    powers: i32,
}

impl Scale {
    fn to(longest: Duration) -> Self {
        let powers = (longest.max(SHORTEST).as_secs_f64() / SHORTEST.as_secs_f64()).log10().ceil() as i32;
        Self { powers: powers.max(1) }
    }

    /// How far up a time is, from 0 to 1.
    fn share(&self, time: Duration) -> f64 {
        (time.max(SHORTEST).as_secs_f64() / SHORTEST.as_secs_f64()).log10() / f64::from(self.powers)
    }

    /// A line for each power of ten, or for every second one where they are many.
    fn lines(&self) -> Vec<(f64, String)> {
        let step = if self.powers > 5 { 2 } else { 1 };
        let line = |power: i32| {
            let time = SHORTEST.mul_f64(10_f64.powi(power));
            (f64::from(power) / f64::from(self.powers), duration(time))
        };
        (0..=self.powers).step_by(step).map(line).collect()
    }
}

fn percentiles(times: &Histogram) -> Option<[Duration; 3]> {
    let [middle, most, nearly_all] = SHARES.map(|share| times.quantile(share));
    Some([middle?, most?, nearly_all?])
}

fn about(all: &Histogram) -> String {
    match percentiles(all) {
        None => "Nothing ended in this time.".to_owned(),
        Some([middle, most, nearly_all]) => format!(
            "In all, half took no longer than {}, 95 of 100 no longer than {}, 99 of 100 no longer than {}.",
            duration(middle),
            duration(most),
            duration(nearly_all)
        ),
    }
}

fn bar(number: usize, of: usize, at: DateTime<Utc>, times: &Histogram, scale: &Scale) -> Markup {
    let Some([middle, most, nearly_all]) = percentiles(times) else { return Markup::default() };
    let (x, width) = across(number, of);
    let [low, high, top] = [middle, most, nearly_all].map(|time| up(scale.share(time)));
    let block = |class: &str, y: f64, height: f64| {
        html! { rect class=(class) x=(short(x)) y=(short(y)) width=(short(width)) height=(short(height)) {} }
    };
    html! {
        g {
            title {
                (at.format("%Y-%m-%d %H:%M UTC")) ": half within " (duration(middle)) ", 95 of 100 within " (duration(most))
                ", 99 of 100 within " (duration(nearly_all)) ", of " (grouped(times.count()))
            }
            (block("c-wide", top, (high - top).max(1.0)))
            (block("c-band", high, (low - high).max(1.0)))
            (block("c-mid", low - 1.0, 2.0))
        }
    }
}

fn as_table(id: &str, title: &str, bars: &[(DateTime<Utc>, Histogram)]) -> Markup {
    let columns =
        [column("From"), numbers("Attempts"), numbers("Half within"), numbers("95 of 100"), numbers("99 of 100")];
    let rows = bars.iter().filter_map(|(at, times)| {
        let [middle, most, nearly_all] = percentiles(times)?.map(|time| html! { (duration(time)) });
        let (from, count) = (html! { (at.format("%Y-%m-%d %H:%M UTC")) }, html! { (grouped(times.count())) });
        Some(row(at.timestamp().to_string(), [from, count, middle, most, nearly_all]))
    });
    table(&format!("{id}-table"), title, &columns, rows)
}

#[cfg(test)]
mod tests {
    use gristmill_core::history::bucket;

    use super::*;

    fn times(millis: &[u64]) -> Histogram {
        let mut times = Histogram::default();
        millis.iter().for_each(|millis| times.record(bucket(Duration::from_millis(*millis)), 1));
        times
    }

    #[test]
    fn milliseconds_and_hours_have_room_beside_each_other() {
        let scale = Scale::to(Duration::from_secs(3_600));
        assert_eq!(scale.powers, 7);
        assert!((scale.share(Duration::from_secs(10)) - 4.0 / 7.0).abs() < 1e-9);
        let shown: Vec<String> = scale.lines().into_iter().map(|(_, meaning)| meaning).collect();
        assert_eq!(shown, ["1\u{a0}ms", "100\u{a0}ms", "10\u{a0}s", "16\u{a0}min 40\u{a0}s"]);
        assert_eq!(Scale::to(Duration::ZERO).powers, 1);
    }

    #[test]
    fn a_bar_reaches_from_the_middle_to_nearly_all() {
        let at: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let golden = "<g><title>2026-11-30 09:00 UTC: half within 10\u{a0}ms, 95 of 100 within 97\u{a0}ms, \
            99 of 100 within 99\u{a0}ms, of 2</title>\
            <rect class=\"c-wide\" x=\"56\" y=\"58.1\" width=\"656\" height=\"1\"></rect>\
            <rect class=\"c-band\" x=\"56\" y=\"58.7\" width=\"656\" height=\"49.3\"></rect>\
            <rect class=\"c-mid\" x=\"56\" y=\"107\" width=\"656\" height=\"2\"></rect></g>";
        let scale = Scale::to(Duration::from_secs(1));
        assert_eq!(bar(0, 1, at, &times(&[8, 80]), &scale).into_string(), golden);
        assert_eq!(bar(0, 1, at, &Histogram::default(), &scale).into_string(), "");
    }

    #[test]
    fn it_says_in_words_and_as_a_table_what_it_shows() {
        let at: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let minute = TimeDelta::minutes(1);
        let shown = bands("w", "Waiting", &[(at, times(&[8, 80])), (at + minute, Histogram::default())], minute);
        let shown = shown.into_string();
        assert!(shown.contains("half took no longer than 10\u{a0}ms"), "{shown}");
        assert_eq!(shown.matches("<tr id=\"w-table-").count(), 1);
        let empty = bands("w", "Waiting", &[], minute).into_string();
        assert!(empty.contains("Nothing ended in this time.") && !empty.contains("NaN"), "{empty}");
    }
}
