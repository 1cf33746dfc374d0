//! A job, or the chunk that it is: its attempts, its error, why it does not run, what it contains; [`enqueue`]: one from a form; [`logs`]: what
//! its attempts have said; [`steer`]: what can be done.

mod enqueue;
mod logs;
mod steer;

use gristmill_core::access::Permission;
use gristmill_core::id::JobId;
use gristmill_core::job::JobState;
use gristmill_store::{AttemptView, JobView, why};
use maud::{Markup, html};

use self::steer::{actions, editor};
use crate::api::jobs::find;
use crate::gate::{Allowed, Caller, Parameters, Params, Path, Query, Routes, perm};
use crate::live::Topic;
use crate::pages::parts::brief::brief;
use crate::pages::parts::copies::{copies, copy, path};
use crate::pages::parts::empty::empty;
use crate::pages::parts::json::json;
use crate::pages::parts::number::{count, duration};
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::state;
use crate::pages::parts::table::{Row, column, facts, numbers, row, table, wide};
use crate::pages::parts::time::{instant, maybe, since};
use crate::pages::parts::waits::waits;
use crate::pages::{Head, Paged, View, nav};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/jobs/new", "A form that enqueues a job", enqueue::ask)
        .post("/jobs/new", "Enqueue a job, or say whether anything is wrong with it", enqueue::enqueue)
        .get("/jobs/{job}", "A job: its attempts, its error, why it does not run", show)
        .post("/jobs/{job}/retry", "Let a job that waits in `retry` or `scheduled` run now", steer::retry)
        .post("/jobs/{job}/edit", "Change a job that waits: its priority, its queue, its time", steer::edit)
        .post("/jobs/{job}/cancel", "Call off a job that is not final", steer::cancel)
        .post("/jobs/{job}/redrive", "Give a dead job another chance", steer::redrive)
        .post("/jobs/{job}/split", "Put two halves in the place of a chunk that is dead or waits", steer::split)
}

/// What is wanted of a job: its contents only on demand.
struct Wanted {
    contents: bool,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self { contents: query.flag("contents", "Show its payload and its output") }
    }
}

async fn show(
    caller: Allowed<perm::JobsRead>,
    view: View,
    Path(id): Path<JobId>,
    Params(wanted): Params<Wanted>,
) -> Paged {
    let job = find(&caller, id).await?;
    let main = html! {
        (title(&caller, &view, &job))
        (about(&caller, &job))
        @if !job.state.is_final() && job.state != JobState::Running { (blocked(&caller, &view, &job).await) }
        @if let Some(error) = &job.error { (panel("error", "What went wrong last", html! { pre { code { (error) } } })) }
        (attempts(&job))
        (logs::said(&caller, &view, &job).await)
        (contents(&caller, &view, &job, wanted.contents))
        (copies(&format!("gristmill job show {id}"), &format!("/api/v1/jobs/{id}")))
    };
    let title = format!("{} {}", job.kind, job.state);
    let under = if job.batch.is_some() { "/batches" } else { "/jobs" };
    let head = Head::new(title, under).live([Topic::Job(id)]);
    // No topic tells of what a running attempt says.
    let head = if job.state == JobState::Running { head.poll(logs::EVERY_SECONDS) } else { head };
    Ok(view.page(&caller, head, main))
}

fn title(caller: &Caller, view: &View, job: &JobView) -> Markup {
    let name = match job.seq {
        Some(seq) => format!("Chunk {seq}"),
        None => job.kind.clone(),
    };
    let about = html! {
        span id="state" { (state::job(job.state)) }
        @if let Some(batch) = job.batch { span { "of " a href={ "/batches/" (batch) } { "its batch" } } }
        span { "on queue " @if nav::exists("/queues") { a href="/queues" { (job.queue) } } @else { (job.queue) } }
    };
    let acts = html! {
        @for action in actions(caller, job, view.address()) { (action.form()) }
        (editor(caller, job, view.address()))
    };
    html! { (head(name, about, acts)) (copy("id", "Id", &job.id.to_string())) }
}

fn about(caller: &Caller, job: &JobView) -> Markup {
    let mut known = vec![
        (
            "Kind",
            html! { (kind_of(caller, job)) @if job.version != 1 { span class="muted" { " version " (job.version) } } },
        ),
        ("Priority", html! { (job.priority) }),
        (
            "Attempts",
            html! {
                (job.attempt) span class="muted" { " of " (job.max_attempts) }
                @if job.snoozes > 0 { ", " (job.snoozes) " snoozed" }
            },
        ),
        ("Enqueued", instant(job.created_at)),
        ("May start", maybe(job.run_at)),
        ("Began", maybe(job.started_at)),
        ("Became final", maybe(job.finished_at)),
    ];
    if job.seq.is_some() {
        known.push(("Items", count(job.items)));
        known.push(("Generation", html! { (job.generation) }));
    }
    if let Some(key) = &job.key {
        known.push(("Key", html! { code { (key) } }));
    }
    if let Some(worker) = job.worker {
        let shown = html! { code { (worker) } };
        let linked = nav::exists("/workers") && caller.may(Permission::WorkersRead);
        known.push(("Worker", html! { @if linked { a href="/workers" { (shown) } } @else { (shown) } }));
    }
    if let (Some(from), JobState::Running) = (job.started_at, job.state) {
        known.push(("Has run for", since(from)));
    }
    if let (Some(from), Some(to)) = (job.started_at, job.finished_at) {
        known.push(("Took", html! { (duration((to - from).to_std().unwrap_or_default())) }));
    }
    panel("about", "About", facts(known))
}

/// The kind, which leads to what else of it has passed.
fn kind_of(caller: &Caller, job: &JobView) -> Markup {
    let href = path("/history", &[("kind", Some(&job.kind))]);
    html! { @if caller.may(Permission::QueuesRead) { a href=(href) { (job.kind) } } @else { (job.kind) } }
}

async fn blocked(caller: &Caller, view: &View, job: &JobView) -> Markup {
    let reasons = view.panel(why(caller.whole_store(), job)).await;
    panel(
        "why",
        "Why is it not running?",
        match reasons {
            Some(reasons) => waits(&reasons),
            None => html! { p class="muted" { "This could not be read within a second." } },
        },
    )
}

fn attempts(job: &JobView) -> Markup {
    let rows = job.attempts.iter().enumerate().map(attempt);
    let columns =
        [numbers("Attempt"), column("Ended as"), column("Began"), column("Took"), column("Worker"), wide("Error")];
    panel(
        "attempts",
        "Attempts that did not end well",
        html! {
            @if job.attempts.is_empty() { (empty("None", "One that ends well leaves no row: its job says it all.", &[])) }
            @else { (table("attempts-table", "Attempts, the first first", &columns, rows)) }
        },
    )
}

fn attempt((at, attempt): (usize, &AttemptView)) -> Row {
    let took = attempt.started_at.and_then(|from| (attempt.ended_at - from).to_std().ok());
    row(
        at.to_string(),
        [
            html! { (attempt.attempt) },
            html! { (attempt.ending) },
            maybe(attempt.started_at),
            html! { @if let Some(took) = took { (duration(took)) } },
            html! { @if let Some(worker) = attempt.worker { code { (worker) } } },
            html! {
                @if let Some(error) = &attempt.error {
                    details id={ "attempt-" (at) } { summary { (brief(error)) } pre { code { (error) } } }
                }
            },
        ],
    )
}

/// What it contains, on demand: it may be large, and not everybody sees it.
fn contents(caller: &Caller, view: &View, job: &JobView, wanted: bool) -> Markup {
    if !caller.may(Permission::ContentsRead) {
        return panel(
            "contents",
            "Payload and output",
            html! { p class="muted" { "Your role does not show what jobs contain." } },
        );
    }
    panel(
        "contents",
        "Payload and output",
        html! {
            @if wanted {
                h3 { "Payload" } (json("payload", &job.payload))
                @if let Some(output) = &job.output { h3 { "Output" } (json("output", output)) }
                p { a href=(view.with("contents", None)) { "Hide" } }
            } @else { p { a class="button" href=(view.with("contents", Some("true"))) { "Show" } } }
        },
    )
}
