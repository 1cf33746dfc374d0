//! What has passed, over time: the page of a queue's or a kind's history, and the charts that other pages show of it.

use chrono::{DateTime, TimeDelta, Utc};
use gristmill_core::history::{Histogram, HistoryStep, Throughput, bars};
use gristmill_service::documents::HistoryBy;
use gristmill_service::history::HistoryAsk;
use gristmill_store::HistoryPoint;
use maud::{Markup, html};

use super::answer::Paged;
use super::charts::bands::bands;
use super::charts::histogram::histogram;
use super::charts::spark::spark;
use super::charts::throughput::throughput;
use super::parts::copies::{copies, path, shell};
use super::parts::filters::{self, Tab, tabs, typed};
use super::parts::number::{count_or_none, counted, duration, none};
use super::parts::panel::{head, late_panel};
use super::parts::table::{column, numbers, row, table};
use super::view::{Head, View};
use crate::gate::{Allowed, Caller, Parameters, Params, Query, Routes, perm};
use crate::live::Topic;

/// The parameter that says how far back charts go.
const SPAN: &str = "span";

/// How many queues or kinds the table of the page has at most.
const ROWS_MAX: usize = 100;

gristmill_core::words! {
    /// How far back charts go.
    #[derive(Default)]
    pub(super) enum Span {
        /// An hour, minute by minute.
        #[default]
        Hour = "1h",
        /// Six hours, five minutes by five minutes.
        SixHours = "6h",
        /// A day, hour by hour.
        Day = "24h",
        /// A week, hour by hour.
        Week = "7d",
    }
}

impl Span {
    /// How long it is, and how long each bar.
    fn lengths(self) -> (TimeDelta, TimeDelta) {
        match self {
            Self::Hour => (TimeDelta::hours(1), TimeDelta::minutes(1)),
            Self::SixHours => (TimeDelta::hours(6), TimeDelta::minutes(5)),
            Self::Day => (TimeDelta::hours(24), TimeDelta::hours(1)),
            Self::Week => (TimeDelta::days(7), TimeDelta::hours(1)),
        }
    }

    /// Which points are read: at most 360 of each queue and kind.
    fn step(self) -> HistoryStep {
        match self {
            Self::Hour | Self::SixHours => HistoryStep::Minute,
            Self::Day | Self::Week => HistoryStep::Hour,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Hour => "in the last hour",
            Self::SixHours => "in the last six hours",
            Self::Day => "in the last 24 hours",
            Self::Week => "in the last seven days",
        }
    }

    /// When its first bar begins, if the last one is not over at `now`.
    fn from(self, now: DateTime<Utc>) -> DateTime<Utc> {
        let (all, bar) = self.lengths();
        now - all + bar
    }
}

impl Parameters for Span {
    fn read(query: &mut Query) -> Self {
        filters::value(query, SPAN, "How far back charts go: 1h, 6h, 24h or 7d").unwrap_or_default()
    }
}

/// What is read for charts.
#[derive(Debug, Clone, Default)]
pub(super) struct Of<'a> {
    pub(super) queue: Option<&'a str>,
    pub(super) kind: Option<&'a str>,
}

/// What passed, as far as it can be read in time.
pub(super) async fn read(caller: &Caller, view: &View, span: Span, of: Of<'_>) -> Option<Vec<HistoryPoint>> {
    let now = view.now();
    let ask = HistoryAsk {
        step: Some(span.step()),
        queue: of.queue.map(str::to_owned),
        kind: of.kind.map(str::to_owned),
        ..HistoryAsk::all(span.from(now), now)
    };
    let filter = ask.filter(caller.tenant());
    view.panel(caller.store().history(&filter)).await
}

/// The choice of how far back charts go; each is a link.
fn choice(view: &View, span: Span) -> Markup {
    let choices: Vec<Tab<'_>> = Span::ALL
        .into_iter()
        .map(|one| {
            let said = (one != Span::default()).then_some(one.as_str());
            Tab { name: one.as_str(), href: view.with(SPAN, said), count: None, current: one == span }
        })
        .collect();
    tabs("How far back", &choices)
}

/// What passed in each bar.
fn drawn(points: &[HistoryPoint], span: Span, now: DateTime<Utc>) -> Vec<(DateTime<Utc>, Throughput)> {
    let (_, length) = span.lengths();
    bars(points.iter().map(|point| (point.at, &point.passed)), span.from(now), now, length)
}

fn of_bars(bars: &[(DateTime<Utc>, Throughput)], of: fn(&Throughput) -> &Histogram) -> Vec<(DateTime<Utc>, Histogram)> {
    bars.iter().map(|(at, passed)| (*at, of(passed).clone())).collect()
}

/// The charts of what passed: how much, how long it waited, and how long it ran.
pub(super) fn panels(view: &View, span: Span, points: Option<Vec<HistoryPoint>>) -> Markup {
    let (_, length) = span.lengths();
    late_panel("history", "Throughput", points, |points| {
        let bars = drawn(&points, span, view.now());
        let (waits, runs) = (of_bars(&bars, |passed| &passed.waits), of_bars(&bars, |passed| &passed.runs));
        html! {
            (choice(view, span))
            (throughput("passed", &format!("What passed {}", span.words()), &bars, length))
            div class="columns" {
                div { h3 { "Waited" } (bands("waited", &format!("How long attempts waited {}", span.words()), &waits, length)) }
                div { h3 { "Ran" } (bands("ran", &format!("How long attempts ran {}", span.words()), &runs, length)) }
            }
        }
    })
}

/// How long attempts ran, each time by itself.
pub(super) fn spread(span: Span, points: &[HistoryPoint]) -> Markup {
    let mut runs = Histogram::default();
    points.iter().for_each(|point| runs.add(&point.passed.runs));
    let title = format!("How many attempts ran for how long {}", span.words());
    super::parts::panel::panel("spread", "How long they ran", histogram("spread-runs", &title, &runs))
}

/// A line of what a queue has done in the last hour, for a table.
pub(super) fn spark_of(points: &[HistoryPoint], queue: &str, now: DateTime<Utc>) -> Markup {
    let own = points.iter().filter(|point| point.queue == queue).map(|point| (point.at, &point.passed));
    let counts: Vec<u64> =
        bars(own, Span::Hour.from(now), now, TimeDelta::minutes(1)).iter().map(|(_, passed)| passed.done).collect();
    let done: u64 = counts.iter().sum();
    match done {
        0 => none(),
        done => spark(&format!("{} in the last hour", counted(done, "job done", "jobs done")), &counts),
    }
}

pub(super) fn routes() -> Routes {
    Routes::default().get("/history", "What passed through queues, by kind and over time", show)
}

/// Of what history is shown.
#[derive(Debug)]
struct Wanted {
    span: Span,
    queue: Option<String>,
    kind: Option<String>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            span: Span::read(query),
            queue: filters::text(query, "queue", "Only of this queue"),
            kind: filters::text(query, "kind", "Only of this kind"),
        }
    }
}

async fn show(caller: Allowed<perm::QueuesRead>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let Wanted { span, queue, kind } = &wanted;
    let of = Of { queue: queue.as_deref(), kind: kind.as_deref() };
    let points = read(&caller, &view, *span, of).await;
    let fields = [typed("queue", "Queue", queue.as_deref()), typed("kind", "Kind", kind.as_deref())];
    let said = (*span != Span::default()).then_some(span.as_str());
    let parts = points.clone().unwrap_or_default();
    let main = html! {
        (head("History", about(&wanted), Markup::default()))
        (filters::form("/history", &[(SPAN, said)], &fields))
        (panels(&view, *span, points))
        (spread(*span, &parts))
        (series("kinds", "By kind", HistoryBy::Kind, &parts, &view))
        (series("queues", "By queue", HistoryBy::Queue, &parts, &view))
        (copies(&command(&wanted), &path("/api/v1/history", &[("queue", queue.as_deref()), ("kind", kind.as_deref()), ("by", Some("kind"))])))
    };
    Ok(view.page(&caller, Head::new("History", "/history").live([Topic::Queues]), main))
}

fn about(wanted: &Wanted) -> Markup {
    html! {
        "What passed " (wanted.span.words())
        @if let Some(kind) = &wanted.kind { ", of kind " code { (kind) } }
        @if let Some(queue) = &wanted.queue { ", through queue " code { (queue) } }
    }
}

fn command(wanted: &Wanted) -> String {
    let queue = wanted.queue.as_deref().map(|queue| format!(" {}", shell(queue))).unwrap_or_default();
    let kind = wanted.kind.as_deref().map(|kind| format!(" --kind {}", shell(kind))).unwrap_or_default();
    format!("gristmill queue stats{queue}{kind} --by kind --for {}", wanted.span)
}

/// What passed of each kind or queue, those with most first.
fn series(id: &str, heading: &str, by: HistoryBy, points: &[HistoryPoint], view: &View) -> Markup {
    let name = |point: &HistoryPoint| if by == HistoryBy::Kind { point.kind.clone() } else { point.queue.clone() };
    let mut all = std::collections::BTreeMap::<String, Throughput>::new();
    points.iter().for_each(|point| all.entry(name(point)).or_default().add(&point.passed));
    let mut sorted: Vec<(String, Throughput)> = all.into_iter().collect();
    sorted.sort_by_key(|(_, passed)| std::cmp::Reverse(passed.done + passed.failed));
    let columns = [
        column(if by == HistoryBy::Kind { "Kind" } else { "Queue" }),
        numbers("Enqueued"),
        numbers("Done"),
        numbers("Failed"),
        numbers("Dead"),
        numbers("Waited, half within"),
        numbers("Ran, half within"),
        numbers("Ran, 95 of 100"),
    ];
    let time = |times: &Histogram, share: f64| {
        html! { @if let Some(time) = times.quantile(share) { (duration(time)) } @else { (none()) } }
    };
    let rows = sorted.iter().take(ROWS_MAX).map(|(name, passed)| {
        let cells = [
            html! { a href=(view.with(by.as_str(), Some(name.as_str()))) { (name) } },
            count_or_none(passed.enqueued),
            count_or_none(passed.done),
            count_or_none(passed.failed),
            count_or_none(passed.dead),
            time(&passed.waits, 0.5),
            time(&passed.runs, 0.5),
            time(&passed.runs, 0.95),
        ];
        row(name.clone(), cells)
    });
    let inner = html! {
        @if sorted.is_empty() { p class="muted" { "Nothing passed in this time." } }
        @else { (table(&format!("{id}-list"), heading, &columns, rows)) }
    };
    super::parts::panel::panel(id, heading, inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_ends_with_the_bar_of_now_and_reads_few_points() {
        let now: DateTime<Utc> = "2026-11-30T09:17:42Z".parse().expect("an instant");
        for (span, expected) in Span::ALL.into_iter().zip([60, 72, 24, 168]) {
            let bars = drawn(&[], span, now);
            assert_eq!(bars.len(), expected, "{span}");
            let (last, (_, length)) = (bars.last().expect("a bar").0, span.lengths());
            assert!(last <= now && now < last + length, "{span} ends at {last}");
            let points = (now - span.from(now)).num_seconds() / span.step().length().num_seconds();
            assert!(points <= 360, "{span} reads {points} points of each");
        }
    }
}
