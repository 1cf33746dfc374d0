//! How much passed: a bar for each length of time, of what is done, what failed and is tried again, and what died.

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_core::history::Throughput;
use maud::{Markup, html};

use super::plot::{Said, across, ceiling, chart, legend, lines, short, times, twin, up};
use crate::pages::parts::number::{counted, grouped};
use crate::pages::parts::table::{column, numbers, row, table};

/// The chart. Bars follow each other without gaps, each `length` long.
pub fn throughput(id: &str, title: &str, bars: &[(DateTime<Utc>, Throughput)], length: TimeDelta) -> Markup {
    let most = bars.iter().map(|(_, passed)| (passed.done + passed.failed).max(passed.enqueued)).max().unwrap_or(0);
    let end = ceiling(most);
    let about = about(bars);
    let at: Vec<DateTime<Utc>> = bars.iter().map(|(at, _)| *at).collect();
    let drawn = html! {
        (lines(&[(0.0, "0".to_owned()), (0.5, half(end)), (1.0, grouped(end))]))
        @for (number, (at, passed)) in bars.iter().enumerate() { (bar(number, bars.len(), *at, passed, end)) }
        path class="c-line" d=(enqueued(bars, end)) {}
        (times(&at, length))
    };
    let meanings = [("f-ok", "done"), ("f-careful", "failed, tried again"), ("f-bad", "dead"), ("c-key", "enqueued")];
    chart(Said { id, title, about: &about }, drawn, legend(&meanings), twin(id, as_table(id, title, bars)))
}

/// Half of where the axis ends, where that is a whole number.
fn half(end: u64) -> String {
    if end.is_multiple_of(2) { grouped(end / 2) } else { format!("{}.5", grouped(end / 2)) }
}

/// What can be seen, in a sentence.
fn about(bars: &[(DateTime<Utc>, Throughput)]) -> String {
    let mut total = Throughput::default();
    bars.iter().for_each(|(_, passed)| total.add(passed));
    if total.is_empty() {
        return "Nothing passed in this time.".to_owned();
    }
    let done = counted(total.done, "job is done", "jobs are done");
    let failed = counted(total.failed, "attempt failed", "attempts failed");
    let dead = counted(total.dead, "job died", "jobs died");
    let enqueued = counted(total.enqueued, "was enqueued", "were enqueued");
    format!("{done}, {failed}, {dead}; {enqueued}.")
}

/// A bar. One in which nothing passed is not drawn.
fn bar(number: usize, of: usize, at: DateTime<Utc>, passed: &Throughput, end: u64) -> Markup {
    let (x, width) = across(number, of);
    let gap = (width * 0.15).min(2.0);
    let parts =
        [("f-ok", passed.done), ("f-careful", passed.failed.saturating_sub(passed.dead)), ("f-bad", passed.dead)];
    let mut below = 0;
    let drawn = parts.map(|(class, count)| {
        let (from, to) = (up(below as f64 / end as f64), up((below + count) as f64 / end as f64));
        below += count;
        (class, count, to, from - to)
    });
    html! {
        @if below > 0 {
            g {
                title {
                    (at.format("%Y-%m-%d %H:%M UTC")) ": " (grouped(passed.done)) " done, " (grouped(passed.failed))
                    " failed, " (grouped(passed.dead)) " dead, " (grouped(passed.enqueued)) " enqueued"
                }
                @for (class, count, y, height) in drawn {
                    @if count > 0 {
                        rect class=(class) x=(short(x + gap / 2.0)) y=(short(y)) width=(short(width - gap)) height=(short(height.max(1.0))) {}
                    }
                }
            }
        }
    }
}

/// The steps of what was enqueued.
fn enqueued(bars: &[(DateTime<Utc>, Throughput)], end: u64) -> String {
    let mut path = String::new();
    for (number, (_, passed)) in bars.iter().enumerate() {
        let (x, width) = across(number, bars.len());
        let y = short(up(passed.enqueued as f64 / end as f64));
        path.push_str(&match number {
            0 => format!("M{} {y}H{}", short(x), short(x + width)),
            _ => format!("V{y}H{}", short(x + width)),
        });
    }
    path
}

fn as_table(id: &str, title: &str, bars: &[(DateTime<Utc>, Throughput)]) -> Markup {
    let columns = [column("From"), numbers("Enqueued"), numbers("Done"), numbers("Failed"), numbers("Dead")];
    let number = |count: u64| html! { (grouped(count)) };
    let rows = bars.iter().filter(|(_, passed)| !passed.is_empty()).map(|(at, passed)| {
        let Throughput { enqueued, done, failed, dead, .. } = passed;
        let from = html! { (at.format("%Y-%m-%d %H:%M UTC")) };
        row(at.timestamp().to_string(), [from, number(*enqueued), number(*done), number(*failed), number(*dead)])
    });
    table(&format!("{id}-table"), title, &columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> Vec<(DateTime<Utc>, Throughput)> {
        let first: DateTime<Utc> = "2026-11-30T09:00:00Z".parse().expect("an instant");
        let passed =
            |done, failed, dead, enqueued| Throughput { enqueued, done, failed, dead, ..Throughput::default() };
        let minutes = [passed(6, 4, 2, 20), Throughput::default(), passed(20, 0, 0, 0)];
        minutes.into_iter().zip(0..).map(|(passed, minute)| (first + TimeDelta::minutes(minute), passed)).collect()
    }

    #[test]
    fn what_is_done_failed_and_dead_stands_on_each_other_to_scale() {
        let (at, passed) = &bars()[0];
        let golden = "<g><title>2026-11-30 09:00 UTC: 6 done, 4 failed, 2 dead, 20 enqueued</title>\
            <rect class=\"f-ok\" x=\"57\" y=\"113\" width=\"216.7\" height=\"45\"></rect>\
            <rect class=\"f-careful\" x=\"57\" y=\"98\" width=\"216.7\" height=\"15\"></rect>\
            <rect class=\"f-bad\" x=\"57\" y=\"83\" width=\"216.7\" height=\"15\"></rect></g>";
        assert_eq!(bar(0, 3, *at, passed, 20).into_string(), golden);
        assert_eq!(enqueued(&bars(), 20), "M56 8H274.7V158H493.3V158H712");
    }

    #[test]
    fn it_says_in_words_and_as_a_table_what_it_shows() {
        let shown = throughput("t", "Throughput", &bars(), TimeDelta::minutes(1)).into_string();
        let about = "26\u{a0}jobs are done, 4\u{a0}attempts failed, 2\u{a0}jobs died; 20\u{a0}were enqueued.";
        assert!(shown.contains(&format!("<desc id=\"t-about\">{about}</desc>")), "{shown}");
        assert!(shown.contains("<title id=\"t-title\">Throughput</title>"), "{shown}");
        assert_eq!(shown.matches("<tr id=\"t-table-").count(), 2, "a minute without anything has no row");
        let empty = throughput("t", "Throughput", &[], TimeDelta::minutes(1)).into_string();
        assert!(empty.contains("Nothing passed in this time.") && !empty.contains("NaN"), "{empty}");
    }
}
