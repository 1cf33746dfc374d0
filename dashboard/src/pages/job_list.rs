//! The list of jobs: by state, filtered, with what waits the longest; retry or cancel those that are ticked.

use std::collections::BTreeSet;

use gristmill_core::access::Permission;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::query::{List, Query as Asked};
use gristmill_store::{ControlReport, JobFilter, JobView, QueueView, StoreError};
use maud::{Markup, html};

use super::answer::{Paged, Redirect};
use super::flash::Flash;
use super::form::Form;
use super::parts::copies::{copies, path, shell};
use super::parts::empty::empty;
use super::parts::filters::{self, Tab, typed};
use super::parts::number::counted;
use super::parts::pager::pager;
use super::parts::panel::{head, panel};
use super::parts::selection::{self, Ticked, Verb};
use super::parts::table::{Row, column, numbers, row, table, wide};
use super::parts::{links, state, time};
use super::view::{Head, View};
use crate::api::jobs::as_of_now;
use crate::gate::{Allowed, Caller, Paging, Parameters, Params, Query, Result, Routes, asked, perm};
use crate::live::Topic;

/// The form to which the boxes of the rows belong.
const TICKED: &str = "ticked";

const VERBS: [Verb<'_>; 2] = [
    Verb { name: "Run now", to: "/jobs/retry", word: None },
    Verb { name: "Cancel", to: "/jobs/cancel", word: Some("cancel") },
];

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/jobs", "Jobs, newest first", list)
        .post("/jobs/retry", "Let jobs that wait for their time run now", retry)
        .post("/jobs/cancel", "Call off jobs that are not final", cancel)
}

/// Which jobs are shown.
#[derive(Debug, Default)]
struct Wanted {
    state: Option<JobState>,
    queue: Option<String>,
    kind: Option<String>,
    key: Option<String>,
    batch: Option<BatchId>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            state: filters::value(query, "state", "Only in this state"),
            queue: filters::text(query, "queue", "Only on this queue"),
            kind: filters::text(query, "kind", "Only of this kind"),
            key: filters::text(query, "key", "Only with this key"),
            batch: filters::value(query, "batch", "Only of this batch"),
            asked: asked(query, List::Jobs),
        }
    }
}

impl Wanted {
    fn filter(&self, tenant: &str, query: Asked) -> JobFilter {
        JobFilter {
            tenant: tenant.to_owned(),
            query,
            states: self.state.into_iter().collect(),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            key: self.key.clone(),
            batch: self.batch,
            ..JobFilter::default()
        }
    }

    /// The same as parameters, with another state.
    fn address(&self, at: &str, state: Option<JobState>) -> String {
        let (batch, asked) = (self.batch.map(|batch| batch.to_string()), self.asked());
        let pairs = [
            ("q", asked.as_deref()),
            ("state", state.map(JobState::as_str)),
            ("queue", self.queue.as_deref()),
            ("kind", self.kind.as_deref()),
            ("key", self.key.as_deref()),
            ("batch", batch.as_deref()),
        ];
        path(at, &pairs)
    }

    /// The query as it is written.
    fn asked(&self) -> Option<String> {
        Some(self.asked.to_string()).filter(|text| !text.is_empty())
    }

    fn command(&self) -> String {
        let (batch, asked) = (self.batch.map(|batch| batch.to_string()), self.asked());
        let flags = [
            ("--query", asked.as_deref()),
            ("--state", self.state.map(JobState::as_str)),
            ("--queue", self.queue.as_deref()),
            ("--kind", self.kind.as_deref()),
            ("--key", self.key.as_deref()),
            ("--batch", batch.as_deref()),
        ];
        let said = flags.iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", shell((*value)?))));
        format!("gristmill job list{}", said.collect::<String>())
    }

    /// Whether the counters of queues say how many there are.
    fn is_counted(&self) -> bool {
        self.kind.is_none() && self.key.is_none() && self.batch.is_none() && self.asked().is_none()
    }

    fn is_everything(&self) -> bool {
        self.state.is_none() && self.queue.is_none() && self.is_counted()
    }
}

async fn list(
    caller: Allowed<perm::JobsRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let query = as_of_now(&caller, wanted.asked.clone()).await?;
    let jobs = view.read(caller.store().jobs(&wanted.filter(caller.tenant(), query), &paging.0)).await?;
    let queues = match caller.may(Permission::QueuesRead) {
        true => view.panel(caller.store().queues(caller.tenant())).await,
        false => None,
    };
    let next = paging.next(&jobs, |job| job.id.to_string());
    let main = html! {
        (head("Jobs", oldest(queues.as_deref()), html! {
            @if caller.may(Permission::JobsEnqueue) { a class="button" href="/jobs/new" { "Enqueue" } }
            (all_of_them(&caller, &wanted))
        }))
        (tabs(&wanted, queues.as_deref()))
        (panel("list", "Jobs, newest first", html! {
            (form(&wanted))
            @if jobs.is_empty() { (nothing(&wanted)) } @else {
                (rows(&caller, &jobs))
                (pager(&view, jobs.len(), next.as_deref()))
            }
        }))
        @if caller.may(Permission::JobsControl) && !jobs.is_empty() {
            (selection::bar(TICKED, &view, "jobs", &VERBS))
        }
        (copies(&wanted.command(), &wanted.address("/api/v1/jobs", wanted.state)))
    };
    Ok(view.page(&caller, Head::new("Jobs", "/jobs").live([Topic::Queues]), main))
}

/// What has waited the longest.
fn oldest(queues: Option<&[QueueView]>) -> Markup {
    let waiting = queues.unwrap_or_default().iter().filter_map(|queue| Some((queue.oldest_queued_at?, queue)));
    match waiting.min_by_key(|(since, _)| *since) {
        Some((since, queue)) => html! {
            span {
                "The one that has waited longest: " (time::since(since)) " on "
                a href={ "/queues/" (queue.name) } { (queue.name) }
                @if queue.paused { ", which is paused" }
            }
        },
        None => html! { "None is waiting for a worker" },
    }
}

fn tabs(wanted: &Wanted, queues: Option<&[QueueView]>) -> Markup {
    let counted = queues.filter(|_| wanted.is_counted());
    let count = |state: JobState| {
        let own = |queue: &&QueueView| wanted.queue.as_ref().is_none_or(|name| *name == queue.name);
        counted.map(|queues| queues.iter().filter(own).map(|queue| of_state(queue, state)).sum())
    };
    let tab = |state: JobState| Tab {
        name: state.as_str(),
        href: wanted.address("/jobs", Some(state)),
        count: count(state),
        current: wanted.state == Some(state),
    };
    let all = Tab { name: "all", href: wanted.address("/jobs", None), count: None, current: wanted.state.is_none() };
    let tabs: Vec<Tab<'_>> = std::iter::once(all).chain(JobState::ALL.into_iter().map(tab)).collect();
    filters::tabs("States", &tabs)
}

/// How many jobs a queue has in a state.
pub(super) fn of_state(queue: &QueueView, state: JobState) -> u64 {
    match state {
        JobState::Scheduled => queue.scheduled,
        JobState::Queued => queue.queued,
        JobState::Running => queue.running,
        JobState::Retry => queue.retry,
        JobState::Done => queue.done,
        JobState::Dead => queue.dead,
        JobState::Cancelled => queue.cancelled,
    }
}

/// The way to an operation over everything that the query selects.
fn all_of_them(caller: &Caller, wanted: &Wanted) -> Markup {
    let asked = wanted.asked().filter(|_| caller.may(Permission::OperationsControl));
    html! {
        @if let Some(asked) = asked {
            a class="button" href=(path("/operations/start", &[("verb", Some("cancel")), ("q", Some(&asked))])) {
                "All that the query selects\u{2026}"
            }
        }
    }
}

fn form(wanted: &Wanted) -> Markup {
    let (batch, asked) = (wanted.batch.map(|batch| batch.to_string()), wanted.asked());
    let fields = [
        typed("q", "Query", asked.as_deref()),
        typed("queue", "Queue", wanted.queue.as_deref()),
        typed("kind", "Kind", wanted.kind.as_deref()),
        typed("key", "Key", wanted.key.as_deref()),
        typed("batch", "Batch", batch.as_deref()),
    ];
    filters::form("/jobs", &[("state", wanted.state.map(JobState::as_str))], &fields)
}

fn nothing(wanted: &Wanted) -> Markup {
    if wanted.is_everything() {
        let first = ["gristmill enqueue exec --payload '{\"command\": [\"echo\", \"hello\"]}'", "gristmill worker"];
        return empty("There are no jobs yet", "Enqueue the first, and start a worker that runs it:", &first);
    }
    empty("No job is like that", "Other states and filters may have some.", &[])
}

fn rows(caller: &Caller, jobs: &[JobView]) -> Markup {
    let chooses = caller.may(Permission::JobsControl);
    let columns = [
        column("Choose"),
        column("Job"),
        column("State"),
        column("Kind"),
        column("Queue"),
        column("Key"),
        column("Batch"),
        numbers("Attempts"),
        column("Enqueued"),
        wide("Error"),
    ];
    let from = usize::from(!chooses);
    table("jobs", "Jobs, newest first", &columns[from..], jobs.iter().map(|job| one(job, chooses)))
}

fn one(job: &JobView, chooses: bool) -> Row {
    let tick = chooses.then(|| match job.state.is_final() {
        true => Markup::default(),
        false => selection::tick(TICKED, "job", job.id, format_args!("job {}", job.id)),
    });
    let cells = [
        links::job(job.id),
        state::job(job.state),
        html! { (job.kind) },
        html! { a href={ "/queues/" (job.queue) } { (job.queue) } },
        html! { @if let Some(key) = &job.key { code { (key) } } },
        html! { @if let Some(batch) = job.batch { (links::batch(batch)) } },
        html! { (job.attempt) " of " (job.max_attempts) },
        time::instant(job.created_at),
        html! { @if let Some(error) = &job.error { (links::cut(error, 160)) } },
    ];
    row(job.id.to_string(), tick.into_iter().chain(cells))
}

/// What was done with each of several jobs: those that cannot be are counted, with the first reason.
#[derive(Debug, Default)]
struct Done {
    affected: u64,
    refused: u64,
    reason: Option<String>,
}

impl Done {
    fn note(&mut self, one: Result<ControlReport, StoreError>) -> Result<(), StoreError> {
        match one {
            Ok(report) => self.affected += report.affected,
            Err(StoreError::Conflict(why) | StoreError::NotFound(why)) => {
                self.refused += 1;
                self.reason.get_or_insert(why);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn said(self, verb: &str) -> Flash {
        let done = format!("{} {verb}.", counted(self.affected, "job", "jobs"));
        match (self.refused, self.reason) {
            (0, _) | (_, None) => Flash::done(done),
            (refused, Some(why)) => Flash::careful(format!("{done} {refused} could not be: {why}")),
        }
    }
}

async fn retry(caller: Allowed<perm::JobsControl>, mut form: Form) -> Result<Redirect> {
    let Ticked { values, change, next } = selection::ticked::<JobId>(&mut form, "job", None)?;
    let (order, mut done) = (caller.order(&change), Done::default());
    for job in values.into_iter().collect::<BTreeSet<_>>() {
        done.note(caller.service().retry_job(&order, job).await)?;
    }
    Ok(Redirect::to(next).saying(done.said("may run now")))
}

async fn cancel(caller: Allowed<perm::JobsControl>, mut form: Form) -> Result<Redirect> {
    let Ticked { values, change, next } = selection::ticked::<JobId>(&mut form, "job", Some("cancel"))?;
    let asked = values.len() as u64;
    let report = caller.service().cancel_jobs(&caller.order(&change), &values, |_| {}).await?;
    let refused = asked.saturating_sub(report.affected);
    let reason = Some("they were final already, or are aggregates".to_owned());
    Ok(Redirect::to(next).saying(Done { affected: report.affected, refused, reason }.said("cancelled")))
}
