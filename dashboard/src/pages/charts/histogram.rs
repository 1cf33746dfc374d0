//! How many took how long: a bar for each bucket, from the shortest to the longest that there is.

use std::time::Duration;

use gristmill_core::history::{Histogram, bounds};
use maud::{Markup, html};

use super::plot::{HIGH, Said, across, ceiling, chart, lines, short, twin, up};
use crate::pages::parts::number::{counted, duration, grouped, percent};
use crate::pages::parts::table::{column, numbers, row, table};

/// How many bounds are written below, at most.
const BOUNDS_MAX: usize = 8;

/// The chart.
pub fn histogram(id: &str, title: &str, times: &Histogram) -> Markup {
    let bars = bars(times);
    let end = ceiling(bars.iter().map(|(_, count)| *count).max().unwrap_or(0));
    let drawn = html! {
        (lines(&[(0.0, "0".to_owned()), (1.0, grouped(end))]))
        @for (at, (bucket, count)) in bars.iter().enumerate() { (bar(at, bars.len(), *bucket, *count, end)) }
        @for (at, (bucket, _)) in bars.iter().enumerate().step_by(bars.len().div_ceil(BOUNDS_MAX).max(1)) {
            @let (x, _) = across(at, bars.len());
            text class="c-text" x=(short(x)) y=(HIGH - 6.0) { (duration(bounds(*bucket).0)) }
        }
    };
    let about = match times.quantile(0.5) {
        Some(middle) => {
            format!("{}; half took no longer than {}.", counted(times.count(), "time", "times"), duration(middle))
        }
        None => "There is none.".to_owned(),
    };
    chart(Said { id, title, about: &about }, drawn, Markup::default(), twin(id, as_table(id, title, times)))
}

/// The buckets from the first to the last that has any.
fn bars(times: &Histogram) -> Vec<(i16, u64)> {
    let counts: std::collections::BTreeMap<i16, u64> = times.buckets().collect();
    let (Some((first, _)), Some((last, _))) = (counts.first_key_value(), counts.last_key_value()) else {
        return Vec::new();
    };
    (*first..=*last).map(|bucket| (bucket, counts.get(&bucket).copied().unwrap_or(0))).collect()
}

/// The bounds of a bucket in words.
fn between(bucket: i16) -> String {
    let (from, below) = bounds(bucket);
    match below {
        Some(below) if from == Duration::ZERO => format!("less than {}", duration(below)),
        Some(below) => format!("{} to {}", duration(from), duration(below)),
        None => format!("{} or longer", duration(from)),
    }
}

fn bar(at: usize, of: usize, bucket: i16, count: u64, end: u64) -> Markup {
    let (x, width) = across(at, of);
    let (y, foot) = (up(count as f64 / end as f64), up(0.0));
    html! {
        @if count > 0 {
            g {
                title { (between(bucket)) ": " (grouped(count)) }
                rect class="f-run" x=(short(x + 1.0)) y=(short(y)) width=(short((width - 2.0).max(1.0))) height=(short((foot - y).max(1.0))) {}
            }
        }
    }
}

fn as_table(id: &str, title: &str, times: &Histogram) -> Markup {
    let columns = [column("Took"), numbers("Attempts"), numbers("Share")];
    let rows = times.buckets().map(|(bucket, count)| {
        let share = html! { (percent(count, times.count())) };
        row(bucket.to_string(), [html! { (between(bucket)) }, html! { (grouped(count)) }, share])
    });
    table(&format!("{id}-table"), title, &columns, rows)
}

#[cfg(test)]
mod tests {
    use gristmill_core::history::bucket;

    use super::*;

    #[test]
    fn every_bucket_between_the_shortest_and_the_longest_has_its_place() {
        let mut times = Histogram::default();
        times.record(bucket(Duration::from_millis(12)), 4);
        times.record(bucket(Duration::from_millis(25)), 1);
        assert_eq!(bars(&times).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [4, 0, 1]);
        let shown = histogram("h", "Running", &times).into_string();
        assert!(shown.contains("<title>10\u{a0}ms to 15\u{a0}ms: 4</title>"), "{shown}");
        assert_eq!((shown.matches("<rect").count(), shown.matches("<tr id=\"h-table-").count()), (2, 2));
        let empty = histogram("h", "Running", &Histogram::default()).into_string();
        assert!(empty.contains("There is none.") && !empty.contains("NaN"), "{empty}");
    }

    #[test]
    fn bounds_are_said_in_words() {
        assert_eq!(between(0), "less than 1\u{a0}ms");
        assert_eq!(between(bucket(Duration::from_secs(90_000))), "1\u{a0}d or longer");
    }
}
