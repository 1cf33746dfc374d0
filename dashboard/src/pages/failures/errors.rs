//! Errors by fingerprint: what fails, how often, since when; and the jobs of each.

use gristmill_core::access::Permission;
use gristmill_core::job::JobState;
use gristmill_store::{AcknowledgementView, JobFilter, JobView};
use maud::{Markup, html};

use super::groups::{self, Group, LOOKED_AT, Read, Standing, failed_at, fingerprint};
use crate::gate::{Allowed, ApiError, Caller, Parameters, Params, Path, Query, Result, Routes, perm};
use crate::live::Topic;
use crate::pages::answer::{Paged, Redirect};
use crate::pages::charts::spark::spark;
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, path, shell};
use crate::pages::parts::empty::empty;
use crate::pages::parts::filters::{self, Tab, typed};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::number::{count, count_or_none, counted};
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::selection::{self, Verb};
use crate::pages::parts::state::Tone;
use crate::pages::parts::table::{Row, column, facts, numbers, row, table, wide};
use crate::pages::parts::{links, state, time};
use crate::pages::view::{Head, View};

/// The most jobs of an error that are listed.
const LISTED: usize = 200;

const TICKED: &str = "ticked";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/errors", "Errors of dead and retrying jobs, by fingerprint", list)
        .get("/errors/{fingerprint}", "The jobs with one error", show)
        .post("/errors/{fingerprint}/acknowledge", "Note that an error was seen", acknowledge)
        .post("/errors/{fingerprint}/reopen", "Take that back", reopen)
}

/// Whose errors are shown.
#[derive(Debug, Default)]
struct Wanted {
    state: Option<JobState>,
    queue: Option<String>,
    kind: Option<String>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        let state = filters::value(query, "state", "Only of jobs in this state: `dead` or `retry`");
        if state.is_some_and(|state| !matches!(state, JobState::Dead | JobState::Retry)) {
            query.fault("state", "must be `dead` or `retry`: no other jobs have failed");
        }
        Self {
            state,
            queue: filters::text(query, "queue", "Only on this queue"),
            kind: filters::text(query, "kind", "Only of this kind"),
        }
    }
}

impl Wanted {
    fn filter(&self, tenant: &str) -> JobFilter {
        JobFilter {
            tenant: tenant.to_owned(),
            states: self.states(),
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            ..JobFilter::default()
        }
    }

    fn states(&self) -> Vec<JobState> {
        self.state.map_or(vec![JobState::Dead, JobState::Retry], |state| vec![state])
    }

    fn command(&self) -> String {
        let states: String = self.states().iter().map(|state| format!(" --state {state}")).collect();
        let flags = [("--queue", &self.queue), ("--kind", &self.kind)];
        let flags = flags.iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", shell(value.as_ref()?))));
        format!("gristmill job list{states}{}", flags.collect::<String>())
    }

    fn api(&self) -> String {
        let states: Vec<&str> = self.states().into_iter().map(JobState::as_str).collect();
        let pairs = [("state", Some(states.join(","))), ("queue", self.queue.clone()), ("kind", self.kind.clone())];
        path("/api/v1/jobs", &pairs.each_ref().map(|(name, value)| (*name, value.as_deref())))
    }

    fn address(&self, at: &str, state: Option<JobState>) -> String {
        let pairs =
            [("state", state.map(JobState::as_str)), ("queue", self.queue.as_deref()), ("kind", self.kind.as_deref())];
        path(at, &pairs)
    }
}

async fn list(caller: Allowed<perm::JobsRead>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let read = groups::read(&caller, &view, &wanted.filter(caller.tenant())).await?;
    let mut groups = groups::grouped(&read.jobs, view.now());
    let seen = acknowledged(&caller, &view, &groups).await;
    // What needs no look comes last.
    groups.sort_by_key(|group| matches!(group.standing(&seen), Standing::Acknowledged(_)));
    let about = html! { (counted(groups.len() as u64, "error", "errors")) " of " (jobs(&read)) };
    let main = html! {
        (head("Errors", about, Markup::default()))
        (tabs(&wanted))
        (panel("errors", "By fingerprint, the most frequent first", html! {
            (filters::form("/errors", &[("state", wanted.state.map(JobState::as_str))], &[
                typed("queue", "Queue", wanted.queue.as_deref()),
                typed("kind", "Kind", wanted.kind.as_deref()),
            ]))
            @if groups.is_empty() { (nothing()) } @else { (rows(&groups, &seen, &wanted)) }
            (limit(&read))
        }))
        (copies(&wanted.command(), &wanted.api()))
    };
    Ok(view.page(&caller, Head::new("Errors", "/errors").live([Topic::Queues]), main))
}

/// Which of these errors an operator has seen.
async fn acknowledged(caller: &Caller, view: &View, groups: &[Group]) -> Vec<AcknowledgementView> {
    let names: Vec<String> = groups.iter().map(|group| group.fingerprint.id()).collect();
    view.panel(caller.store().acknowledged_of(caller.tenant(), &names)).await.unwrap_or_default()
}

fn jobs(read: &Read) -> Markup {
    html! {
        @if read.more { "the newest " }
        (counted(read.jobs.len() as u64, "job that is dead or tried again", "jobs that are dead or tried again"))
    }
}

/// What was not looked at is said.
fn limit(read: &Read) -> Markup {
    html! {
        @if read.more {
            p class="muted" {
                "The newest " (count(LOOKED_AT as u64)) " jobs were looked at, by when they were enqueued; there are more. A \
                 queue or a kind narrows it."
            }
        }
    }
}

fn tabs(wanted: &Wanted) -> Markup {
    let tab = |name: &'static str, state: Option<JobState>| Tab {
        name,
        href: wanted.address("/errors", state),
        count: None,
        current: wanted.state == state,
    };
    filters::tabs("States", &[tab("all", None), tab("dead", Some(JobState::Dead)), tab("retry", Some(JobState::Retry))])
}

fn nothing() -> Markup {
    empty("Nothing fails", "No job is dead, and none waits for another attempt after a failure.", &[])
}

fn rows(groups: &[Group], seen: &[AcknowledgementView], wanted: &Wanted) -> Markup {
    let columns = [
        wide("Error"),
        column("Is"),
        column("Kind"),
        column("By hour"),
        numbers("Last hour"),
        numbers("Last day"),
        numbers("Jobs"),
        numbers("Dead"),
        column("First"),
        column("Last"),
        column("Queues"),
    ];
    table("groups", "Errors by fingerprint", &columns, groups.iter().map(|group| one(group, seen, wanted)))
}

fn one(group: &Group, seen: &[AcknowledgementView], wanted: &Wanted) -> Row {
    let id = group.fingerprint.id();
    let href = wanted.address(&format!("/errors/{id}"), wanted.state);
    let cells = [
        html! { a href=(href) { (links::cut(&group.fingerprint.message, 160)) } },
        standing(group.standing(seen)),
        html! { (group.fingerprint.kind) },
        trend(group),
        count_or_none(group.recent.0),
        count_or_none(group.recent.1),
        count(group.jobs.len() as u64),
        count_or_none(group.dead),
        time::instant(group.seen.0),
        time::instant(group.seen.1),
        html! { (group.queues.join(", ")) },
    ];
    row(id, cells)
}

/// Whether it has to be looked at.
fn standing(standing: Standing<'_>) -> Markup {
    match standing {
        Standing::New => state::state(Icon::Warning, "new", Tone::Bad),
        Standing::Acknowledged(_) => state::state(Icon::Done, "seen", Tone::Good),
        Standing::Back(_) => state::state(Icon::Warning, "back", Tone::Careful),
    }
}

/// How many failed in each hour of the last day.
fn trend(group: &Group) -> Markup {
    let about = format!("By hour: {} in the last day, {} of them in the last hour", group.recent.1, group.recent.0);
    spark(&about, &group.trend)
}

/// Who has seen it, and what they say.
fn seen_by(standing: Standing<'_>) -> Markup {
    let said = |seen: &AcknowledgementView| {
        html! { (seen.by) ", " (time::instant(seen.at)) @if let Some(reason) = &seen.reason { ": " (reason) } }
    };
    match standing {
        Standing::New => html! { "no operator yet" },
        Standing::Acknowledged(seen) => said(seen),
        Standing::Back(seen) => html! { (said(seen)) "; it has come again since" },
    }
}

/// Acknowledge it, or take that back.
fn switch(caller: &Caller, group: &Group, standing: Standing<'_>) -> Markup {
    if !caller.may(Permission::JobsControl) {
        return Markup::default();
    }
    let to = |verb: &str| format!("/errors/{}/{verb}", group.fingerprint.id());
    let seen = "It moves to the end of the list until it comes again.";
    let acknowledge = Action::confirmed("acknowledge", to("acknowledge"), "Acknowledge", seen);
    match standing {
        Standing::New | Standing::Back(_) => acknowledge.form(),
        Standing::Acknowledged(_) => {
            Action::light("reopen", to("reopen"), "Reopen", "It has to be looked at again").form()
        }
    }
}

async fn acknowledge(
    caller: Allowed<perm::JobsControl>,
    Path(fingerprint): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    caller.service().acknowledge_error(&caller.order(&change), &fingerprint).await?;
    Ok(Redirect::to("/errors").saying(Flash::done(format!("The error {fingerprint} is acknowledged."))))
}

async fn reopen(
    caller: Allowed<perm::JobsControl>,
    Path(fingerprint): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.finish()?;
    caller.service().reopen_error(&caller.order(&change), &fingerprint).await?;
    Ok(Redirect::to("/errors").saying(Flash::done(format!("The error {fingerprint} is open again."))))
}

async fn show(
    caller: Allowed<perm::JobsRead>,
    view: View,
    Path(id): Path<String>,
    Params(wanted): Params<Wanted>,
) -> Paged {
    let read = groups::read(&caller, &view, &wanted.filter(caller.tenant())).await?;
    let jobs: Vec<JobView> = read.jobs.iter().filter(|job| fingerprint(job).id() == id).cloned().collect();
    let Some(group) = groups::grouped(&jobs, view.now()).into_iter().next() else {
        return Err(ApiError::not_found("no job that is dead or tried again has this error now")
            .hint("they may have gone through"));
    };
    let seen = acknowledged(&caller, &view, std::slice::from_ref(&group)).await;
    let now = group.standing(&seen);
    let of_kind = Wanted { kind: Some(group.fingerprint.kind.clone()), ..wanted };
    let main = html! {
        (head(links::cut(&group.fingerprint.message, 120), html! { "An error of " (group.fingerprint.kind) " " (standing(now)) }, switch(&caller, &group, now)))
        (panel("error", "The newest, word for word", html! { pre { code { (group.sample.chars().take(4_000).collect::<String>()) } } (about(&group, now)) }))
        (panel("jobs", "Its jobs, newest first", html! {
            (listed(&caller, &jobs))
            @if jobs.len() > LISTED { p class="muted" { "The newest " (count(LISTED as u64)) " of " (count(jobs.len() as u64)) "." } }
            (limit(&read))
        }))
        (acts(&caller, &view, &group))
        (copies(&of_kind.command(), &of_kind.api()))
    };
    Ok(view.page(&caller, Head::new(format!("Error {id}"), "/errors").live([Topic::Queues]), main))
}

fn about(group: &Group, now: Standing<'_>) -> Markup {
    facts([
        ("Fingerprint", html! { code { (group.fingerprint.id()) } }),
        ("Class", html! { @if group.fingerprint.class.is_empty() { "–" } @else { (group.fingerprint.class) } }),
        ("Seen by", seen_by(now)),
        ("By hour", trend(group)),
        ("Dead", count(group.dead)),
        ("Tried again", count(group.retrying())),
        ("First", time::instant(group.seen.0)),
        ("Last", time::instant(group.seen.1)),
        ("Queues", html! { (group.queues.join(", ")) }),
    ])
}

fn listed(caller: &Caller, jobs: &[JobView]) -> Markup {
    let chooses = caller.may(Permission::JobsControl);
    let columns = [
        column("Choose"),
        column("Job"),
        column("State"),
        column("Queue"),
        column("Batch"),
        numbers("Attempts"),
        column("Failed"),
        wide("Error"),
    ];
    let line = |job: &JobView| {
        let tick = chooses.then(|| match job.state {
            JobState::Dead => selection::tick(TICKED, "job", job.id, format_args!("job {}", job.id)),
            _ => Markup::default(),
        });
        let cells = [
            links::job(job.id),
            state::job(job.state),
            html! { a href={ "/queues/" (job.queue) } { (job.queue) } },
            html! { @if let Some(batch) = job.batch { (links::batch(batch)) } },
            html! { (job.attempt) " of " (job.max_attempts) },
            time::instant(failed_at(job)),
            html! { (links::cut(job.error.as_deref().unwrap_or_default(), 160)) },
        ];
        row(job.id.to_string(), tick.into_iter().chain(cells))
    };
    table("list", "Jobs with this error", &columns[usize::from(!chooses)..], jobs.iter().take(LISTED).map(line))
}

/// Dead ones are brought back or discarded; those that are tried again need no hand.
fn acts(caller: &Caller, view: &View, group: &Group) -> Markup {
    let verbs = [
        caller.may(Permission::JobsControl).then_some(Verb { name: "Redrive", to: "/dead/redrive", word: None }),
        caller.may(Permission::JobsDelete).then_some(Verb {
            name: "Discard",
            to: "/dead/discard",
            word: Some("discard"),
        }),
    ];
    let verbs: Vec<Verb<'_>> = verbs.into_iter().flatten().collect();
    if group.dead == 0 { Markup::default() } else { selection::bar(TICKED, view, "dead letters", &verbs) }
}
