//! A batch: its head, its chunks as a field of cells, what it waits for, and its tabs.

use chrono::{DateTime, Utc};
use gristmill_core::access::Permission;
use gristmill_core::batch::BatchState;
use gristmill_core::id::BatchId;
use gristmill_core::job::JobState;
use gristmill_service::eta::eta_by;
use gristmill_store::{BatchView, JobView, Wait, why_batch_by};
use maud::{Markup, html};

use super::grid;
use super::list;
use super::near::Near;
use super::record;
use super::steer::actions;
use super::tabs::{self, Tab};
use super::timeline;
use super::zoom::Zoom;
use crate::api::batches::find;
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Path, Query, perm};
use crate::live::Topic;
use crate::pages::email::funnels;
use crate::pages::parts::batch::{progress, shares};
use crate::pages::parts::copies::{copies, copy};
use crate::pages::parts::eta as eta_part;
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{count, counted, duration, none, percent};
use crate::pages::parts::panel::{head, note, panel};
use crate::pages::parts::progress::legend;
use crate::pages::parts::state::{self, Tone};
use crate::pages::parts::table::facts;
use crate::pages::parts::time::{instant, since};
use crate::pages::parts::waits::{because, waits};
use crate::pages::{Head, Paged, View};

/// What is wanted of a batch.
pub(super) struct Wanted {
    tab: Tab,
    zoom: Zoom,
    states: Vec<JobState>,
    /// Whether it is shown how the estimates of the batches before it have held.
    before: bool,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            tab: query.one("tab", "What is shown below its chunks").unwrap_or(Tab::Chunks),
            zoom: query.one("range", "Only chunks with these numbers, such as 1000-1999").unwrap_or_default(),
            states: query.many("state", "Only chunks in this state; may be repeated"),
            before: query.flag("before", "Show how estimates of the batches before it have held"),
        }
    }
}

pub(super) async fn show(
    caller: Allowed<perm::BatchesRead>,
    view: View,
    Path(id): Path<BatchId>,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let batch = find(&caller, id).await?;
    let near = Near::read(&caller, &view, &batch).await;
    let main = html! {
        (title(&caller, &view, &batch))
        (summary(&view, &batch, &near))
        (funnels::of_batch(&caller, &view, id).await)
        (grid::panel(&caller, &view, &batch, wanted.zoom, &near).await)
        @if batch.chunks > 0 { (timeline::panel(&caller, &view, &batch, wanted.zoom, &near).await) }
        (record::panel(&caller, &view, &batch, wanted.before, &near).await)
        @if !batch.state.is_final() { (blocked(&caller, &view, &batch).await) }
        (tabs::shown(&caller, &view, &batch, wanted.tab, &wanted.states, &paging).await?)
        (copies(&format!("gristmill batch show {id}"), &format!("/api/v1/batches/{id}")))
    };
    let title = format!("{} {}", batch.name, batch.state);
    let head = Head::new(title, "/batches").live([Topic::Batch(id)]);
    // What begins and what waits changes none of the counts that the topic has.
    let head = if batch.state.is_final() { head } else { head.poll(3) };
    Ok(view.page(&caller, head, main))
}

fn title(caller: &Caller, view: &View, batch: &BatchView) -> Markup {
    let about = html! {
        span id="state" { (state::batch(batch.state, batch.paused)) }
        @if batch.generation > 0 { span { "generation " (batch.generation) } }
        span { "started " (instant(batch.created_at)) }
        @if let Some(end) = batch.finished_at { span { "ended " (instant(end)) } }
    };
    let again = caller.may(Permission::BatchesStart) && list::definitions(caller).contains(&batch.name);
    let acts = html! {
        @if again && batch.state.is_final() {
            a class="button" href={ "/batches/new?definition=" (batch.name) } { "Run again" }
        }
        @for action in actions(caller, batch, view.address(), false) { (action.form()) }
    };
    html! {
        (head(&batch.name, about, acts))
        (copy("id", "Id", &batch.id.to_string()))
        @if let Some(pause) = batch.pause.as_ref().filter(|_| batch.paused) {
            (note(Tone::Careful, Icon::Paused, html! { "Paused" (because(Some(pause))) ", since " (instant(pause.since)) "." }))
        }
        @if let Some(reason) = &batch.reason {
            (note(Tone::Bad, Icon::Warning, html! { (batch.state) ": " (reason) }))
        }
    }
}

/// The numbers, the bar, and when it will have ended.
fn summary(view: &View, batch: &BatchView, near: &Near) -> Markup {
    let estimate = near.chunks.as_ref().and_then(|chunks| eta_by(batch, chunks, view.now()));
    panel(
        "summary",
        "Items",
        html! {
            (progress(batch))
            (legend(&shares(&batch.counts)))
            (numbers(view.now(), batch, true))
            @if let Some(estimate) = &estimate {
                p id="eta" { span class="muted" { "Ends: " } (eta_part::eta(estimate, view.now())) }
            }
        },
    )
}

/// The numbers. `live` where a script goes on counting.
pub(super) fn numbers(now: DateTime<Utc>, batch: &BatchView, live: bool) -> Markup {
    let counts = &batch.counts;
    let ended = counts.input - counts.pending();
    let running = batch.finished_at.unwrap_or(now) - batch.created_at;
    let rate = ended as f64 / steps(running.as_seconds_f64(), batch.finished_at.is_some());
    let so_far = if batch.state == BatchState::Open { " so far" } else { "" };
    let done = html! { (percent(ended, counts.input)) " " span class="muted" { "of " (count(counts.input)) (so_far) } };
    let chunks = html! {
        (counted(batch.chunks, "chunk", "chunks")) ", " (count(batch.remaining)) " to go"
        @if batch.chunks_dead > 0 { ", " (count(batch.chunks_dead)) " dead" }
    };
    let quarantined = html! { (count(counts.quarantined)) " " span class="muted" { "budget " (batch.failure_budget) } };
    let took = html! {
        @if live && batch.finished_at.is_none() { (since(batch.created_at)) } @else { (duration(running.to_std().unwrap_or_default())) }
        @if batch.finished_at.is_none() { " so far" }
    };
    facts([
        ("Done", done),
        ("Chunks", chunks),
        ("Quarantined", quarantined),
        ("Tried again", html! { (counted(batch.retries, "time", "times")) }),
        (
            "Rate",
            if ended > 0 {
                html! { (speed(rate)) }
            } else {
                none()
            },
        ),
        ("Took", took),
    ])
}

/// A time in steps of ten seconds while it goes on: a page whose every digit moves is sent again and again.
fn steps(seconds: f64, ended: bool) -> f64 {
    if ended { seconds.max(0.001) } else { (seconds / 10.0).ceil().max(1.0) * 10.0 }
}

fn speed(rate: f64) -> String {
    match rate {
        rate if rate >= 10.0 => format!("{rate:.0} items/s"),
        rate if rate >= 0.1 => format!("{rate:.1} items/s"),
        rate => format!("{:.1} items/min", rate * 60.0),
    }
}

/// How many chunks of each state are named.
const NAMED: u32 = 8;

/// Why it is not done: the chunks that are not, and what they wait for.
async fn blocked(caller: &Caller, view: &View, batch: &BatchView) -> Markup {
    let store = caller.whole_store();
    let states = [JobState::Running, JobState::Retry, JobState::Queued, JobState::Scheduled, JobState::Dead];
    let read = view.panel(store.first_chunks(batch.id, &states, NAMED)).await;
    let reasons = match &read {
        Some(chunks) => view.panel(why_batch_by(store, batch, chunks)).await,
        None => None,
    };
    let read = read.unwrap_or_default();
    let of = |state: JobState| (state, read.iter().filter(|job| job.state == state).cloned().collect::<Vec<JobView>>());
    let named = states.map(of);
    panel(
        "why",
        "Why is it not done?",
        html! {
            @match reasons.as_deref() {
                None => { p class="muted" { "This could not be read within a second." } }
                Some(reasons) => { (sentence(batch, reasons)) (waits(reasons)) }
            }
            dl class="facts named" {
                @for (state, jobs) in named.iter().filter(|(_, jobs)| !jobs.is_empty()) {
                    div { dt { (state::job(*state)) } dd { (chunks(*state, jobs)) } }
                }
            }
        },
    )
}

fn sentence(batch: &BatchView, reasons: &[Wait]) -> Markup {
    html! {
        p {
            @if batch.state == BatchState::Open {
                "Its input is still being read: " (counted(batch.chunks, "chunk", "chunks")) " so far."
            }
            @else if batch.remaining == 0 { "All of its chunks are final; its results are being merged." }
            @else if reasons.is_empty() { (counted(batch.remaining, "chunk is", "chunks are")) " not final, and it gets on." }
            @else { (counted(batch.remaining, "chunk is", "chunks are")) " not final, and none of them runs:" }
        }
    }
}

/// Chunks by their numbers, each with what is particular to its state.
fn chunks(state: JobState, jobs: &[JobView]) -> Markup {
    html! {
        @for (at, job) in jobs.iter().enumerate() {
            @if at > 0 { ", " }
            a href={ "/jobs/" (job.id) } { "chunk " (job.seq.unwrap_or_default()) }
            @match state {
                JobState::Running => { @if let Some(at) = job.started_at { span class="muted" { " for " (since(at)) } } }
                JobState::Retry => { @if let Some(at) = job.run_at { span class="muted" { " again " (instant(at)) } } }
                _ => {}
            }
        }
        @if jobs.len() >= NAMED as usize { span class="muted" { " and others" } }
    }
}
