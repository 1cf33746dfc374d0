//! Queues and limits: how much waits and for how long, who serves it, what holds it back.
//!
//! * [`limits`]: how many jobs may run at once, or begin in a period.
//! * [`one`]: a queue by itself.

mod limits;
mod one;

use gristmill_core::access::Permission;
use gristmill_store::{HistoryPoint, QueueView, UnhandledView, WorkerView};
use maud::{Markup, html};

use super::answer::Paged;
use super::history::{self, Of, Span};
use super::parts::action::Action;
use super::parts::copies::copies;
use super::parts::empty::empty;
use super::parts::icon::{Icon, icon};
use super::parts::number::{count, count_or_none, counted, none};
use super::parts::panel::{head, late_panel, panel};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, actions, column, numbers, row, table};
use super::parts::{links, time};
use super::view::{Head, View};
use crate::gate::{Allowed, Caller, Routes, perm};
use crate::live::Topic;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/queues", "Queues with what waits, who serves them and what limits them", list)
        .get("/queues/{queue}", "A queue", one::show)
        .post("/queues/{queue}/pause", "Stop claiming from it; what runs is finished", one::pause)
        .post("/queues/{queue}/resume", "Claim from it again", one::resume)
        .get("/limits/new", "The form for a new limit", limits::blank)
        .get("/limits/{limit}", "A limit, with what runs under it", limits::show)
        .post("/limits", "Create a limit", limits::create)
        .post("/limits/{limit}", "Change a limit", limits::change)
        .post("/limits/{limit}/drop", "Drop a limit", limits::remove)
}

async fn list(caller: Allowed<perm::QueuesRead>, view: View) -> Paged {
    let queues = view.read(caller.store().queues(caller.tenant())).await?;
    let workers = workers(&caller, &view).await;
    let unhandled = view.panel(caller.store().unhandled(caller.tenant())).await;
    let limits = match caller.may(Permission::LimitsRead) {
        true => Some(view.panel(caller.whole_store().limits()).await),
        false => None,
    };
    let passed = history::read(&caller, &view, Span::Hour, Of::default()).await;
    let waiting: u64 = queues.iter().map(|queue| queue.queued).sum();
    let about =
        html! { (counted(queues.len() as u64, "queue", "queues")) ", " (counted(waiting, "job waits", "jobs wait")) };
    let main = html! {
        (head("Queues", about, Markup::default()))
        (lacking(&queues, workers.as_deref()))
        (panel("queues", "Queues", html! {
            @if queues.is_empty() {
                (empty("There is no queue yet", "The first job makes one:", &["gristmill enqueue exec --payload '{\"command\": [\"echo\", \"hello\"]}'"]))
            } @else { (rows(&caller, &view, &queues, workers.as_deref(), passed.as_deref())) }
        }))
        (late_panel("unhandled", "Jobs that no worker can run", unhandled, |found| unhandled_rows(&found)))
        @if let Some(limits) = limits {
            (late_panel("limits", "Limits", limits, |limits| limits::rows(&caller, &limits)))
        }
        (copies("gristmill queue list", "/api/v1/queues"))
    };
    Ok(view.page(&caller, Head::new("Queues", "/queues").live([Topic::Queues, Topic::Workers]), main))
}

/// The workers, as far as the caller may know them and they can be read in time.
async fn workers(caller: &Caller, view: &View) -> Option<Vec<WorkerView>> {
    match caller.may(Permission::WorkersRead) {
        true => view.panel(caller.whole_store().workers()).await,
        false => None,
    }
}

/// Whether jobs wait on a queue that is not paused, and no worker serves it.
fn lacks_workers(queue: &QueueView, workers: &[WorkerView]) -> bool {
    let served = workers.iter().any(|worker| worker.works() && worker.serves(&queue.name));
    queue.queued > 0 && !queue.paused && !served
}

fn lacking(queues: &[QueueView], workers: Option<&[WorkerView]>) -> Markup {
    let Some(workers) = workers else { return Markup::default() };
    let lacking: Vec<&QueueView> = queues.iter().filter(|queue| lacks_workers(queue, workers)).collect();
    let names: Vec<&str> = lacking.iter().map(|queue| queue.name.as_str()).collect();
    html! {
        @if !lacking.is_empty() {
            div class="note bad" role="status" id="lacking" {
                (icon(Icon::Warning))
                div {
                    p { "No worker serves " (names.join(", ")) ", and jobs wait there." }
                    p { "Start one: " code { "gristmill worker run --queues " (names.join(",")) } }
                }
            }
        }
    }
}

fn rows(
    caller: &Caller,
    view: &View,
    queues: &[QueueView],
    workers: Option<&[WorkerView]>,
    passed: Option<&[HistoryPoint]>,
) -> Markup {
    let columns = [
        column("Queue"),
        column("State"),
        numbers("Waiting"),
        column("Oldest"),
        numbers("Running"),
        numbers("Later"),
        numbers("Dead"),
        column("Done, last hour"),
        column("Served by"),
        actions(),
    ];
    table(
        "list",
        "Queues",
        &columns,
        queues.iter().map(|queue| {
            let line = match passed {
                Some(points) => history::spark_of(points, &queue.name, view.now()),
                None => none(),
            };
            one_of(caller, queue, workers, line)
        }),
    )
}

fn one_of(caller: &Caller, queue: &QueueView, workers: Option<&[WorkerView]>, line: Markup) -> Row {
    let link = |state: &str, number: u64| {
        html! {
            @if number == 0 { (none()) }
            @else { a href={ "/jobs?state=" (state) "&queue=" (queue.name) } { (count(number)) } }
        }
    };
    let cells = [
        html! { a href={ "/queues/" (queue.name) } { (queue.name) } },
        shown(queue),
        link("queued", queue.queued),
        html! { @if let Some(since) = queue.oldest_queued_at { (time::since(since)) } @else { (none()) } },
        link("running", queue.running),
        html! {
            span title={ (queue.scheduled) " scheduled, " (queue.retry) " to be tried again" } {
                (count_or_none(queue.scheduled + queue.retry))
            }
        },
        link("dead", queue.dead),
        line,
        served(queue, workers),
        if caller.may(Permission::QueuesControl) { switch(queue) } else { Markup::default() },
    ];
    row(queue.name.clone(), cells)
}

/// Whether it is open or paused.
fn shown(queue: &QueueView) -> Markup {
    match (queue.paused, &queue.pause) {
        (false, _) => state(Icon::Done, "open", Tone::Good),
        (true, None) => state(Icon::Paused, "paused", Tone::Careful),
        (true, Some(pause)) => html! {
            span {
                (state(Icon::Paused, "paused", Tone::Careful))
                @if let Some(reason) = &pause.reason { " " span class="muted" { (links::cut(reason, 120)) } }
            }
        },
    }
}

fn served(queue: &QueueView, workers: Option<&[WorkerView]>) -> Markup {
    let Some(workers) = workers else { return html! { span class="muted" { "not known" } } };
    let serving = workers.iter().filter(|worker| worker.works() && worker.serves(&queue.name)).count() as u64;
    html! {
        @if serving > 0 { a href="/workers" { (counted(serving, "worker", "workers")) } }
        @else if lacks_workers(queue, workers) { (state(Icon::Warning, "no worker", Tone::Bad)) }
        @else { (state(Icon::Waiting, "no worker", Tone::Calm)) }
    }
}

/// Pause or resume.
fn switch(queue: &QueueView) -> Markup {
    let name = &queue.name;
    match queue.paused {
        true => {
            Action::light(format!("resume-{name}"), format!("/queues/{name}/resume"), "Resume", "Claim from it again")
                .form()
        }
        false => {
            let about = "Nothing more is claimed from it; what runs is finished. It stays so until it is resumed.";
            Action::confirmed(format!("pause-{name}"), format!("/queues/{name}/pause"), "Pause", about).form()
        }
    }
}

fn unhandled_rows(found: &[UnhandledView]) -> Markup {
    if found.is_empty() {
        return html! { p class="muted" { "None: every kind that waits is known to a worker that serves its queue." } };
    }
    let columns = [column("Queue"), column("Kind"), numbers("Version"), numbers("Jobs")];
    let line = |one: &UnhandledView| {
        let cells = [
            html! { a href={ "/queues/" (one.queue) } { (one.queue) } },
            html! { a href={ "/jobs?state=queued&kind=" (one.kind) } { (one.kind) } },
            html! { (one.version) },
            html! { (count(one.jobs)) @if one.jobs >= 1_000 { " or more" } },
        ];
        row(format!("{}-{}-{}", one.queue, one.kind, one.version), cells)
    };
    table("kinds", "Jobs that no live worker can run", &columns, found.iter().map(line))
}

#[cfg(test)]
mod tests {
    use gristmill_core::Instant;
    use gristmill_core::id::WorkerId;
    use uuid::Uuid;

    use super::*;

    fn worker(queues: &[&str], state: &str, slots: u32) -> WorkerView {
        WorkerView {
            id: WorkerId(Uuid::nil()),
            role: "worker".to_owned(),
            host: "a".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            slots,
            running: 0,
            queues: queues.iter().map(|name| (*name).to_owned()).collect(),
            kinds: Vec::new(),
            started_at: Instant::UNIX_EPOCH,
            seen_at: Instant::UNIX_EPOCH,
            state: state.to_owned(),
        }
    }

    #[test]
    fn a_queue_lacks_workers_when_jobs_wait_and_none_that_lives_serves_it() {
        let waiting = QueueView { name: "mail".to_owned(), queued: 3, ..QueueView::default() };
        assert!(lacks_workers(&waiting, &[]));
        assert!(lacks_workers(
            &waiting,
            &[worker(&["default"], "alive", 4), worker(&[], "lost", 4), worker(&[], "alive", 0)]
        ));
        assert!(!lacks_workers(&waiting, &[worker(&["mail"], "alive", 4)]));
        assert!(!lacks_workers(&waiting, &[worker(&[], "alive", 1)]), "no name is every queue");
        assert!(!lacks_workers(&QueueView { paused: true, ..waiting.clone() }, &[]), "it waits on purpose");
        assert!(!lacks_workers(&QueueView { queued: 0, ..waiting }, &[]));
    }
}
