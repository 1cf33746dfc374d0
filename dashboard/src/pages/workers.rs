//! Workers: who is alive, late or lost, what they serve, and what they run now.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::id::WorkerId;
use gristmill_core::job::JobState;
use gristmill_store::{JobFilter, JobView, Page, WorkerView};
use maud::{Markup, html};

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::action::Action;
use super::parts::copies::copies;
use super::parts::empty::empty;
use super::parts::icon::{Icon, icon};
use super::parts::number::{count, counted, grouped};
use super::parts::panel::{head, late_panel, panel, tile};
use super::parts::state::{Tone, state};
use super::parts::table::{Row, actions, column, numbers, row, table};
use super::parts::{links, time};
use super::view::{Head, View};
use crate::gate::{Allowed, ApiError, Caller, Overseer, Path, Result, Routes, perm};
use crate::live::Topic;

/// After so long without a beat a process is late: it beats every few seconds, and is lost when its lease is over.
const LATE_AFTER: TimeDelta = TimeDelta::seconds(10);

/// How many running jobs are shown.
const RUNNING_MAX: u32 = 200;

pub(super) fn routes() -> Routes {
    Routes::default().get("/workers", "Processes that are alive, or were seen within the last day", list).post(
        "/workers/{worker}/retire",
        "End the lease of a worker: what it ran is queued again, unspent",
        retire,
    )
}

gristmill_core::words! {
    /// How a process is.
    #[derive(PartialOrd, Ord)]
    enum Health {
        /// It beats.
        Alive = "alive",
        /// It has not been heard of for a while, and its lease is not over yet.
        Late = "late",
        /// Its lease ran out.
        Lost = "lost",
        /// It has stopped as it should.
        Stopped = "stopped",
    }
}

impl Health {
    fn of(worker: &WorkerView, now: Instant) -> Self {
        match worker.state.as_str() {
            "alive" if now - worker.seen_at > LATE_AFTER => Self::Late,
            "alive" => Self::Alive,
            "lost" => Self::Lost,
            _ => Self::Stopped,
        }
    }

    fn show(self) -> Markup {
        let (shape, tone) = match self {
            Self::Alive => (Icon::Done, Tone::Good),
            Self::Late => (Icon::Warning, Tone::Careful),
            Self::Lost => (Icon::Dead, Tone::Bad),
            Self::Stopped => (Icon::Cancelled, Tone::Off),
        };
        state(shape, self.as_str(), tone)
    }
}

async fn list(caller: Allowed<perm::WorkersRead>, view: View) -> Paged {
    let mut workers = view.read(caller.whole_store().workers()).await?;
    let now = view.read(caller.store().now()).await?;
    workers.sort_by_key(|worker| (Health::of(worker, now), worker.host.clone(), worker.pid));
    let running = match caller.may(Permission::JobsRead) {
        true => Some(view.panel(running(&caller)).await),
        false => None,
    };
    let main = html! {
        (head("Workers", "Processes that are alive, or were seen within the last day. They serve all tenants.", Markup::default()))
        (notes(&workers, now))
        (tiles(&workers, now))
        (panel("workers", "Processes", html! {
            @if workers.is_empty() {
                (empty("No worker is alive", "Jobs wait until a worker runs them:", &["gristmill worker", "gristmill dev"]))
            } @else { (rows(&caller, &workers, now)) }
        }))
        @if let Some(jobs) = running {
            (late_panel("running", "What runs now", jobs, |jobs| by_worker(&jobs, &workers)))
        }
        (copies("gristmill worker list", "/api/v1/workers"))
    };
    Ok(view.page(&caller, Head::new("Workers", "/workers").live([Topic::Workers]), main))
}

async fn running(caller: &Caller) -> Result<Vec<JobView>, gristmill_store::StoreError> {
    let filter =
        JobFilter { tenant: caller.tenant().to_owned(), states: vec![JobState::Running], ..JobFilter::default() };
    caller.store().jobs(&filter, &Page { after: None, limit: RUNNING_MAX }).await
}

/// What a person should know of them.
fn notes(workers: &[WorkerView], now: Instant) -> Markup {
    let alive: Vec<&WorkerView> = workers.iter().filter(|worker| worker.state == "alive").collect();
    let versions: BTreeSet<&str> = alive.iter().map(|worker| worker.version.as_str()).collect();
    let late = alive.iter().filter(|worker| Health::of(worker, now) == Health::Late).count();
    let scheduler = alive.iter().any(|worker| worker.schedules());
    html! {
        @if late > 0 {
            (note("careful", html! { (counted(late as u64, "process has", "processes have")) " not been heard of for a while. When the lease is over, others get what it ran." }))
        }
        @if versions.len() > 1 {
            (note("careful", html! { "Different versions work at once: " (versions.iter().copied().collect::<Vec<_>>().join(", ")) ". That is meant for the time of an update." }))
        }
        @if !workers.is_empty() && !scheduler {
            (note("bad", html! { "No scheduler is alive: no job that waits for its time runs, and no schedule does. Start one: " code { "gristmill scheduler" } }))
        }
    }
}

fn note(tone: &str, text: Markup) -> Markup {
    html! { div class={ "note " (tone) } role="status" { (icon(Icon::Warning)) p { (text) } } }
}

fn tiles(workers: &[WorkerView], now: Instant) -> Markup {
    let working: Vec<&WorkerView> = workers.iter().filter(|worker| worker.works()).collect();
    let (slots, running): (u64, u64) = working.iter().fold((0, 0), |(slots, running), worker| {
        (slots + u64::from(worker.slots), running + u64::from(worker.running))
    });
    let of = |health: Health| workers.iter().filter(|worker| Health::of(worker, now) == health).count() as u64;
    let bad = |number: u64, class: &'static str| if number > 0 { class } else { "" };
    html! {
        div class="tiles" {
            (tile("alive", grouped(of(Health::Alive)), "", "", None))
            (tile("late", grouped(of(Health::Late)), "", bad(of(Health::Late), "careful"), None))
            (tile("lost", grouped(of(Health::Lost)), "within a day", bad(of(Health::Lost), "bad"), None))
            (tile("slots in use", format!("{} of {}", grouped(running), grouped(slots)), "", "", Some("/jobs?state=running")))
        }
    }
}

fn rows(caller: &Caller, workers: &[WorkerView], now: Instant) -> Markup {
    let columns = [
        column("Process"),
        column("State"),
        column("Role"),
        column("Host"),
        numbers("Running"),
        numbers("Slots"),
        column("Queues"),
        column("Version"),
        column("Up for"),
        column("Heard of"),
        actions(),
    ];
    let retires = caller.principal.installation && caller.may(Permission::WorkersControl);
    table("list", "Processes", &columns, workers.iter().map(|worker| one(worker, now, retires)))
}

fn one(worker: &WorkerView, now: Instant, retires: bool) -> Row {
    let id = worker.id.to_string();
    let kinds = worker.kinds.join(", ");
    let cells = [
        html! { span class="mono" title=(id) { (links::short(&id)) } },
        Health::of(worker, now).show(),
        html! { (worker.role) },
        html! { (worker.host) " " span class="muted" { (worker.pid) } },
        html! { (worker.running) },
        html! { (worker.slots) },
        html! { span title={ "Kinds: " (kinds) } { @if worker.queues.is_empty() { "all" } @else { (worker.queues.join(", ")) } } },
        html! { (worker.version) },
        time::since(worker.started_at),
        time::instant(worker.seen_at),
        if retires && worker.state == "alive" { retire_form(worker) } else { Markup::default() },
    ];
    row(id, cells)
}

fn retire_form(worker: &WorkerView) -> Markup {
    let about = "Ends its lease: what it runs is queued again, with the attempt unspent. For a process that hangs.";
    Action::confirmed(format!("retire-{}", worker.id), format!("/workers/{}/retire", worker.id), "Retire", about)
        .destroying()
        .form()
}

/// Jobs that run now, by the process that runs them.
fn by_worker(jobs: &[JobView], workers: &[WorkerView]) -> Markup {
    if jobs.is_empty() {
        return html! { p class="muted" { "Nothing of this tenant runs at this moment." } };
    }
    let hosts: BTreeMap<WorkerId, &str> = workers.iter().map(|worker| (worker.id, worker.host.as_str())).collect();
    let columns = [column("Job"), column("Kind"), column("Queue"), column("Batch"), column("For"), column("On")];
    let line = |job: &JobView| {
        let on = job.worker.and_then(|worker| hosts.get(&worker).copied()).unwrap_or("–");
        let cells = [
            links::job(job.id),
            html! { (job.kind) },
            html! { a href={ "/queues/" (job.queue) } { (job.queue) } },
            html! { @if let Some(batch) = job.batch { (links::batch(batch)) } },
            html! { @if let Some(at) = job.started_at { (time::since(at)) } },
            html! { (on) },
        ];
        row(job.id.to_string(), cells)
    };
    html! {
        (table("jobs", "Jobs that run now", &columns, jobs.iter().map(line)))
        @if jobs.len() >= RUNNING_MAX as usize {
            p class="muted" { "The newest " (count(u64::from(RUNNING_MAX))) "; " a href="/jobs?state=running" { "all of them" } }
        }
    }
}

async fn retire(
    caller: Overseer<perm::WorkersControl>,
    Path(worker): Path<WorkerId>,
    mut form: Form,
) -> Result<Redirect> {
    form.change();
    form.finish()?;
    let workers = caller.whole_store().workers().await?;
    let found = workers.iter().find(|one| one.id == worker);
    let found = found.ok_or_else(|| ApiError::not_found(format!("there is no worker {worker}")))?;
    if found.state != "alive" {
        return Err(ApiError::conflict(format!("the worker {worker} is {}", found.state)));
    }
    caller.service().retire_worker(worker).await?;
    let queued = counted(u64::from(found.running), "job that it ran is", "jobs that it ran are");
    Ok(Redirect::to("/workers").saying(Flash::done(format!("It is retired; {queued} queued again."))))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_process_is_late_before_it_is_lost() {
        let now = Instant::UNIX_EPOCH + TimeDelta::days(1);
        let worker = |state: &str, seconds: i64| WorkerView {
            id: WorkerId(Uuid::nil()),
            role: "worker".to_owned(),
            host: "a".to_owned(),
            pid: 1,
            version: "1".to_owned(),
            slots: 1,
            running: 0,
            queues: Vec::new(),
            kinds: Vec::new(),
            started_at: now,
            seen_at: now - TimeDelta::seconds(seconds),
            state: state.to_owned(),
        };
        for (state, seconds, health) in [
            ("alive", 3, Health::Alive),
            ("alive", 11, Health::Late),
            ("lost", 3, Health::Lost),
            ("stopped", 900, Health::Stopped),
        ] {
            assert_eq!(Health::of(&worker(state, seconds), now), health, "{state} {seconds}");
        }
    }
}
