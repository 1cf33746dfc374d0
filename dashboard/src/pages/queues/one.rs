//! A queue by itself: its jobs by state, its pause, who serves it, what limits it; pause, resume.

use gristmill_core::access::Permission;
use gristmill_core::id::is_name;
use gristmill_core::job::JobState;
use gristmill_core::limit::QueueSpec;
use gristmill_store::{LimitView, QueueView, WorkerView};
use maud::{Markup, html};

use super::{lacking, lacks_workers, limits, shown, switch, unhandled_rows, workers};
use crate::gate::{Allowed, ApiError, Caller, Params, Path, Result, perm};
use crate::live::Topic;
use crate::pages::answer::{Paged, Redirect};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::history::{self, Of, Span};
use crate::pages::job_list::of_state;
use crate::pages::parts::copies::{copies, shell};
use crate::pages::parts::icon::{Icon, icon};
use crate::pages::parts::number::{grouped, none};
use crate::pages::parts::panel::{head, late_panel, tile};
use crate::pages::parts::table::{column, facts, numbers, row, table};
use crate::pages::parts::{links, time};
use crate::pages::view::{Head, View};

pub(super) async fn show(
    caller: Allowed<perm::QueuesRead>,
    view: View,
    Path(name): Path<String>,
    Params(span): Params<Span>,
) -> Paged {
    let queues = view.read(caller.store().queues(caller.tenant())).await?;
    let missing = || ApiError::not_found(format!("there is no queue `{name}`")).hint("its first job makes it");
    let queue = queues.into_iter().find(|queue| queue.name == name).ok_or_else(missing)?;
    let workers = workers(&caller, &view).await;
    let unhandled = view.panel(caller.store().unhandled(caller.tenant())).await;
    let limited = view.panel(caller.store().limited()).await;
    let limits = match caller.may(Permission::LimitsRead) {
        true => Some(view.panel(caller.whole_store().limits()).await),
        false => None,
    };
    let passed = history::read(&caller, &view, span, Of { queue: Some(&name), kind: None }).await;
    let spread = passed.as_deref().map(|points| history::spread(span, points)).unwrap_or_default();
    let acts = if caller.may(Permission::QueuesControl) { switch(&queue) } else { Markup::default() };
    let main = html! {
        (head(html! { "Queue " (queue.name) }, about(&queue), acts))
        (pause_note(&queue))
        (lacking(std::slice::from_ref(&queue), workers.as_deref()))
        (tiles(&queue))
        (history::panels(&view, span, passed))
        (spread)
        (late_panel("workers", "Who serves it", workers, |workers| serving(&queue, &workers)))
        (late_panel("unhandled", "Jobs on it that no worker can run", unhandled, |found| {
            unhandled_rows(&found.into_iter().filter(|one| one.queue == queue.name).collect::<Vec<_>>())
        }))
        (late_panel("settings", "Its settings", limited, |limited| settings(limited.specs.get(&queue.name))))
        @if let Some(limits) = limits { (late_panel("limits", "Limits on it", limits, |limits| own_limits(&caller, &queue, limits))) }
        (copies(&format!("gristmill queue list --json | jq '.[] | select(.name == \"{}\")'", queue.name), &format!("/api/v1/queues/{}", queue.name)))
    };
    let title = format!("Queue {}", queue.name);
    Ok(view.page(&caller, Head::new(title, "/queues").live([Topic::Queues, Topic::Workers]), main))
}

fn about(queue: &QueueView) -> Markup {
    html! {
        (shown(queue))
        @if let Some(since) = queue.oldest_queued_at { span { "the oldest has waited " (time::since(since)) } }
        @else { span { "nothing waits" } }
    }
}

/// Since when it is paused, by whom and why. A pause has no end of its own.
fn pause_note(queue: &QueueView) -> Markup {
    if !queue.paused {
        return Markup::default();
    }
    html! {
        div class="note careful" role="status" id="pause" {
            (icon(Icon::Paused))
            p {
                "Nothing is claimed from it"
                @if let Some(pause) = &queue.pause {
                    ", since " (time::instant(pause.since))
                    @if let Some(by) = &pause.by { ", by " strong { (by) } }
                    @if let Some(reason) = &pause.reason { ": " (reason) } @else { ". No reason was given" }
                }
                ". It stays so until somebody resumes it."
            }
        }
    }
}

fn tiles(queue: &QueueView) -> Markup {
    let one = |state: JobState| {
        let number = of_state(queue, state);
        let class = if state == JobState::Dead && number > 0 { "bad" } else { "" };
        let href = format!("/jobs?state={state}&queue={}", queue.name);
        tile(state.as_str(), grouped(number), "", class, Some(&href))
    };
    html! { div class="tiles" id="states" { @for state in JobState::ALL { (one(state)) } } }
}

fn serving(queue: &QueueView, workers: &[WorkerView]) -> Markup {
    let serving: Vec<&WorkerView> =
        workers.iter().filter(|worker| worker.works() && worker.serves(&queue.name)).collect();
    if serving.is_empty() {
        let waits = if lacks_workers(queue, workers) { "jobs wait for one" } else { "nothing waits for one just now" };
        return html! {
            p { "No worker serves this queue; " (waits) "." }
            pre { code { "gristmill worker run --queues " (shell(&queue.name)) } }
        };
    }
    let columns =
        [column("Worker"), column("Host"), numbers("Running"), numbers("Slots"), column("Queues"), column("Heard of")];
    let line = |worker: &&WorkerView| {
        let id = worker.id.to_string();
        let cells = [
            html! { a class="mono" href={ "/workers#list-" (id) } title=(id) { (links::short(&id)) } },
            html! { (worker.host) },
            html! { (worker.running) },
            html! { (worker.slots) },
            html! { @if worker.queues.is_empty() { "all" } @else { (worker.queues.join(", ")) } },
            time::instant(worker.seen_at),
        ];
        row(id, cells)
    };
    table("serving", "Workers that serve the queue", &columns, serving.iter().map(line))
}

fn settings(spec: Option<&QueueSpec>) -> Markup {
    let fair = spec.is_some_and(|spec| spec.fair);
    let raised = spec.and_then(|spec| spec.age_after);
    html! {
        (facts([
            ("Turns", html! { @if fair { "its keys take turns" } @else { "in the order of priority and time" } }),
            ("Moves up one priority after", html! {
                @if let Some(after) = raised { (gristmill_core::duration::format(after.0)) } @else { (none()) }
            }),
        ]))
        p class="muted" { "They stand in the configuration: " code { "[queue.NAME]" } "." }
    }
}

fn own_limits(caller: &Caller, queue: &QueueView, limits: Vec<LimitView>) -> Markup {
    let own = |limit: &LimitView| limit.spec.queues.is_empty() || limit.spec.queues.contains(&queue.name);
    let own: Vec<LimitView> = limits.into_iter().filter(own).collect();
    limits::rows(caller, &own)
}

/// The name of a queue that may be paused before it has had a job.
fn named(name: &str) -> Result<()> {
    if is_name(name) { Ok(()) } else { Err(ApiError::not_found(format!("`{name}` cannot be the name of a queue"))) }
}

/// Whether it is paused. A report says how many jobs wait on it, which may be none.
async fn is_paused(caller: &Caller, queue: &str) -> Result<bool> {
    let queues = caller.store().queues(caller.tenant()).await?;
    Ok(queues.iter().any(|known| known.name == queue && known.paused))
}

pub(super) async fn pause(
    caller: Allowed<perm::QueuesControl>,
    Path(queue): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    named(&queue)?;
    let change = form.change();
    form.finish()?;
    let was = is_paused(&caller, &queue).await?;
    caller.service().pause_queue(&caller.order(&change), &queue).await?;
    let flash = match was {
        true => Flash::careful(format!("{queue} was paused already; the first pause and its reason stay.")),
        false => Flash::done(format!("{queue} is paused. What runs is finished.")),
    };
    Ok(Redirect::to(format!("/queues/{queue}")).saying(flash))
}

pub(super) async fn resume(
    caller: Allowed<perm::QueuesControl>,
    Path(queue): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    named(&queue)?;
    let change = form.change();
    form.finish()?;
    let was = is_paused(&caller, &queue).await?;
    caller.service().resume_queue(&caller.order(&change), &queue).await?;
    let flash = match was {
        false => Flash::careful(format!("{queue} was not paused.")),
        true => Flash::done(format!("{queue} is open again.")),
    };
    Ok(Redirect::to(format!("/queues/{queue}")).saying(flash))
}
