//! Dead letters: by their errors, or one by one; redrive or discard one, those that are ticked, or all of one error.

use futures::FutureExt;
use gristmill_core::Instant;
use gristmill_core::access::Permission;
use gristmill_core::id::{BatchId, JobId};
use gristmill_core::job::JobState;
use gristmill_core::query::{List, Query as Asked, parse};
use gristmill_service::control::dead::RedriveReport;
use gristmill_store::{JobFilter, JobView};
use maud::{Markup, html};

use super::groups::{self, Group, LOOKED_AT, failed_at, fingerprint};
use crate::api::dead_letters::named;
use crate::api::jobs::as_of_now;
use crate::gate::{
    Allowed, ApiError, Caller, Change, Moment, Paging, Parameters, Params, Path, Query, Result, Routes, asked, perm,
};
use crate::live::Topic;
use crate::pages::answer::{Paged, Redirect};
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::action::Action;
use crate::pages::parts::copies::{copies, path, shell};
use crate::pages::parts::empty::empty;
use crate::pages::parts::filters::{self, Tab, typed};
use crate::pages::parts::number::{count, count_or_none, counted};
use crate::pages::parts::pager::pager;
use crate::pages::parts::panel::{head, panel};
use crate::pages::parts::selection::{self, Ticked, Verb, back, reasoned};
use crate::pages::parts::table::{Row, actions, column, numbers, row, table, wide};
use crate::pages::parts::{links, time};
use crate::pages::view::{Head, View};

const TICKED: &str = "ticked";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/dead", "Dead letters, by error or one by one", list)
        .post_slowly("/dead/redrive", "Bring dead letters back that are ticked", redrive)
        .post_slowly("/dead/discard", "Delete dead letters for good that are ticked", discard)
        .post("/dead/{job}/redrive", "Bring a dead letter back", redrive_one)
        .post("/dead/{job}/discard", "Delete a dead letter for good", discard_one)
        .post_slowly("/dead/errors/{fingerprint}/redrive", "Bring all dead letters of one error back", redrive_group)
        .post_slowly(
            "/dead/errors/{fingerprint}/discard",
            "Delete all dead letters of one error for good",
            discard_group,
        )
}

gristmill_core::words! {
    /// How dead letters are shown.
    #[derive(Default)]
    pub(super) enum By {
        /// Put together by their errors.
        #[default]
        Error = "error",
        /// One by one.
        Job = "job",
    }
}

/// Which dead letters are shown.
#[derive(Debug, Default)]
struct Wanted {
    by: Option<By>,
    queue: Option<String>,
    kind: Option<String>,
    batch: Option<BatchId>,
    error: Option<String>,
    since: Option<Instant>,
    asked: Asked,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            by: filters::value(query, "by", "By `error`, or by `job`"),
            queue: filters::text(query, "queue", "Only on this queue"),
            kind: filters::text(query, "kind", "Only of this kind"),
            batch: filters::value(query, "batch", "Only of this batch"),
            error: filters::text(query, "error", "Only with this text in the error, whatever its case"),
            since: filters::value::<Moment>(query, "since", "Only those that died since then").map(|at| at.0),
            asked: asked(query, List::DeadLetters),
        }
    }
}

impl Wanted {
    /// What the store is asked for, as of now.
    async fn filter(&self, caller: &Caller) -> Result<JobFilter> {
        Ok(JobFilter {
            tenant: caller.tenant().to_owned(),
            query: as_of_now(caller, self.asked.clone()).await?,
            states: vec![JobState::Dead],
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            batch: self.batch,
            error: self.error.clone(),
            since: self.since,
            ..JobFilter::default()
        })
    }

    /// What limits the list, as parameters.
    fn limits(&self) -> [(&'static str, Option<String>); 6] {
        [
            ("q", Some(self.asked.to_string()).filter(|text| !text.is_empty())),
            ("queue", self.queue.clone()),
            ("kind", self.kind.clone()),
            ("batch", self.batch.map(|batch| batch.to_string())),
            ("error", self.error.clone()),
            ("since", self.since.map(|since| since.to_rfc3339())),
        ]
    }

    fn address(&self, at: &str, by: Option<By>) -> String {
        let limits = self.limits();
        let limits = limits.iter().map(|(name, value)| (*name, value.as_deref()));
        path(at, &std::iter::once(("by", by.map(By::as_str))).chain(limits).collect::<Vec<_>>())
    }

    fn command(&self) -> String {
        let limits = self.limits();
        let flags = limits.iter().filter_map(|(name, value)| {
            let flag = if *name == "q" { "query" } else { name };
            Some(format!(" --{flag} {}", shell(value.as_deref()?)))
        });
        format!("gristmill dead list{}", flags.collect::<String>())
    }

    fn is_everything(&self) -> bool {
        self.limits().iter().all(|(_, value)| value.is_none())
    }
}

async fn list(
    caller: Allowed<perm::JobsRead>,
    view: View,
    Params((wanted, paging)): Params<(Wanted, Paging)>,
) -> Paged {
    let main = match wanted.by.unwrap_or_default() {
        By::Error => by_error(&caller, &view, &wanted).await?,
        By::Job => by_job(&caller, &view, &wanted, &paging).await?,
    };
    let main = html! {
        (head("Dead letters", "Jobs whose last attempt has failed. They wait for a person.", Markup::default()))
        (tabs(&wanted))
        (main)
        (copies(&wanted.command(), &wanted.address("/api/v1/dead-letters", None)))
    };
    Ok(view.page(&caller, Head::new("Dead letters", "/dead").live([Topic::Queues]), main))
}

fn tabs(wanted: &Wanted) -> Markup {
    let current = wanted.by.unwrap_or_default();
    let tab = |name: &'static str, by: By| Tab {
        name,
        href: wanted.address("/dead", Some(by)),
        count: None,
        current: current == by,
    };
    filters::tabs("How they are shown", &[tab("by error", By::Error), tab("one by one", By::Job)])
}

fn form(wanted: &Wanted) -> Markup {
    let [query, queue, kind, batch, error, since] = wanted.limits().map(|(_, value)| value);
    let fields = [
        typed("q", "Query", query.as_deref()),
        typed("queue", "Queue", queue.as_deref()),
        typed("kind", "Kind", kind.as_deref()),
        typed("batch", "Batch", batch.as_deref()),
        typed("error", "Text in the error", error.as_deref()),
        typed("since", "Died since", since.as_deref()),
    ];
    filters::form("/dead", &[("by", wanted.by.map(By::as_str))], &fields)
}

fn nothing(wanted: &Wanted) -> Markup {
    match wanted.is_everything() {
        true => empty("Nothing is dead", "A job whose last attempt fails comes here, and waits for you.", &[]),
        false => empty("No dead letter is like that", "Other filters may show some.", &[]),
    }
}

async fn by_error(caller: &Caller, view: &View, wanted: &Wanted) -> Result<Markup> {
    let read = groups::read(caller, view, &wanted.filter(caller).await?).await?;
    let groups = groups::grouped(&read.jobs, view.now());
    let columns = [
        wide("Error"),
        column("Kind"),
        numbers("Last day"),
        numbers("Dead"),
        column("First"),
        column("Last"),
        actions(),
    ];
    let rows = groups.iter().map(|group| of_group(caller, view, wanted, group));
    Ok(panel(
        "list",
        "By error, the most frequent first",
        html! {
            (form(wanted))
            @if groups.is_empty() { (nothing(wanted)) } @else { (table("groups", "Dead letters by error", &columns, rows)) }
            @if read.more {
                p class="muted" { "The newest " (count(LOOKED_AT as u64)) " were looked at; there are more." }
            }
        },
    ))
}

fn of_group(caller: &Caller, view: &View, wanted: &Wanted, group: &Group) -> Row {
    let id = group.fingerprint.id();
    let cells = [
        html! { a href={ "/errors/" (id) "?state=dead" } { (links::cut(&group.fingerprint.message, 160)) } },
        html! { (group.fingerprint.kind) },
        count_or_none(group.recent.1),
        count(group.dead),
        time::instant(group.seen.0),
        time::instant(group.seen.1),
        html! {
            @if caller.may(Permission::JobsControl) { (group_form(view, wanted, group, "redrive")) }
            @if caller.may(Permission::JobsDelete) { (group_form(view, wanted, group, "discard")) }
        },
    ];
    row(id, cells)
}

/// The form for all of one error. What dies after the page was shown is not among them.
fn group_form(view: &View, wanted: &Wanted, group: &Group, verb: &str) -> Markup {
    let id = group.fingerprint.id();
    let (form, to) = (format!("{verb}-{id}"), format!("/dead/errors/{id}/{verb}"));
    let many = counted(group.dead, "dead letter", "dead letters");
    let limits = wanted.limits();
    let hidden = html! {
        input type="hidden" name="until" value=(view.now().to_rfc3339());
        input type="hidden" name="next" value=(view.address());
        @for (name, value) in &limits {
            @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
        }
    };
    match verb {
        "redrive" => {
            let about = format!("Brings {many} back, with as many attempts again as they had.");
            selection::whole(&form, Verb { name: "Redrive", to: &to, word: None }, &about, hidden)
        }
        _ => {
            let about = format!("Deletes {many} for good; chunks go with their batch.");
            selection::whole(&form, Verb { name: "Discard", to: &to, word: Some("discard") }, &about, hidden)
        }
    }
}

async fn by_job(caller: &Caller, view: &View, wanted: &Wanted, paging: &Paging) -> Result<Markup> {
    let jobs = view.read(caller.store().jobs(&wanted.filter(caller).await?, &paging.0)).await?;
    let next = paging.next(&jobs, |job| job.id.to_string());
    let chooses = caller.may(Permission::JobsControl);
    let columns = [
        column("Choose"),
        column("Job"),
        column("Kind"),
        column("Queue"),
        column("Batch"),
        numbers("Attempts"),
        column("Died"),
        wide("Error"),
        actions(),
    ];
    let rows = jobs.iter().map(|job| of_job(caller, view, job));
    Ok(html! {
        (panel("list", "One by one, newest first", html! {
            (form(wanted))
            @if jobs.is_empty() { (nothing(wanted)) } @else {
                (table("dead", "Dead letters, newest first", &columns[usize::from(!chooses)..], rows))
                (pager(view, jobs.len(), next.as_deref()))
            }
        }))
        @if chooses && !jobs.is_empty() { (selection::bar(TICKED, view, "dead letters", &verbs(caller))) }
    })
}

fn verbs(caller: &Caller) -> Vec<Verb<'static>> {
    let redrive = Verb { name: "Redrive", to: "/dead/redrive", word: None };
    let discard = Verb { name: "Discard", to: "/dead/discard", word: Some("discard") };
    std::iter::once(redrive).chain(caller.may(Permission::JobsDelete).then_some(discard)).collect()
}

fn of_job(caller: &Caller, view: &View, job: &JobView) -> Row {
    let chooses = caller.may(Permission::JobsControl);
    let tick = chooses.then(|| selection::tick(TICKED, "job", job.id, format_args!("dead letter {}", job.id)));
    let back = || html! { input type="hidden" name="next" value=(view.address()); };
    let to = |verb: &str| format!("/dead/{}/{verb}", job.id);
    let cells = [
        links::job(job.id),
        html! { (job.kind) },
        html! { a href={ "/queues/" (job.queue) } { (job.queue) } },
        html! { @if let Some(batch) = job.batch { (links::batch(batch)) } },
        html! { (job.attempt) " of " (job.max_attempts) },
        time::instant(failed_at(job)),
        html! { (links::cut(job.error.as_deref().unwrap_or_default(), 160)) },
        html! {
            @if chooses {
                (Action::light(format!("redrive-{}", job.id), to("redrive"), "Redrive", "Bring it back").with(back()).form())
            }
            @if caller.may(Permission::JobsDelete) {
                (Action::confirmed(format!("discard-{}", job.id), to("discard"), "Discard", "Deletes it for good.")
                    .destroying().with(back()).form())
            }
        },
    ];
    row(job.id.to_string(), tick.into_iter().chain(cells))
}

/// What was done, with the first reason why something was not.
fn said(report: &RedriveReport, others: &[String], verb: &str) -> Flash {
    let done = format!("{} {verb}.", counted(report.redriven.affected, "dead letter", "dead letters"));
    let refused = report.refused + others.len() as u64;
    match others.first().or(report.reasons.first()) {
        Some(why) if refused > 0 => Flash::careful(format!("{done} {refused} could not be: {why}")),
        _ if report.redriven.affected == 0 => Flash::careful(format!("{done} None of them is dead any more.")),
        _ => Flash::done(done),
    }
}

/// Brings jobs back: those of one batch adjacent, so that its next generation is opened once.
async fn bring_back(caller: &Caller, change: &Change, mut dead: Vec<JobView>) -> Result<RedriveReport> {
    dead.sort_by_key(|job| (job.batch, job.id));
    let ids: Vec<JobId> = dead.iter().map(|job| job.id).collect();
    let (service, order) = (caller.service().clone(), caller.order(change));
    Ok(async move { service.redrive_each(&order, &ids).await }.boxed().await?)
}

async fn delete(caller: &Caller, change: &Change, dead: &[JobView]) -> Result<RedriveReport> {
    let jobs: Vec<(JobId, Instant)> = dead.iter().filter_map(|job| Some((job.id, job.finished_at?))).collect();
    let options = caller.api().program().pruner_options();
    let (service, order) = (caller.service().clone(), caller.order(change));
    Ok(async move { service.discard_dead(&order, &jobs, &options).await }.boxed().await?)
}

async fn redrive(caller: Allowed<perm::JobsControl>, mut form: Form) -> Result<Redirect> {
    let Ticked { values, change, next } = selection::ticked::<JobId>(&mut form, "job", None)?;
    let (dead, others) = named(&caller, values).await?;
    let report = bring_back(&caller, &change, dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &others, "brought back")))
}

async fn discard(caller: Allowed<perm::JobsDelete>, mut form: Form) -> Result<Redirect> {
    let Ticked { values, change, next } = selection::ticked::<JobId>(&mut form, "job", Some("discard"))?;
    let (dead, others) = named(&caller, values).await?;
    let report = delete(&caller, &change, &dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &others, "discarded")))
}

async fn redrive_one(caller: Allowed<perm::JobsControl>, Path(job): Path<JobId>, mut form: Form) -> Result<Redirect> {
    let (change, next) = (form.change(), back(&mut form));
    form.finish()?;
    let (dead, others) = named(&caller, vec![job]).await?;
    let report = bring_back(&caller, &change, dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &others, "brought back")))
}

async fn discard_one(caller: Allowed<perm::JobsDelete>, Path(job): Path<JobId>, mut form: Form) -> Result<Redirect> {
    let (change, next) = (form.change(), back(&mut form));
    form.finish()?;
    let (dead, others) = named(&caller, vec![job]).await?;
    let report = delete(&caller, &change, &dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &others, "discarded")))
}

/// All dead letters of one error that were dead when the page was shown, as far as they are looked at.
async fn of_error(caller: &Caller, view: &View, id: &str, form: &mut Form) -> Result<(Vec<JobView>, Change, String)> {
    let (change, next, until) = (reasoned(form), back(form), form.required::<Moment>("until"));
    let wanted = Wanted {
        by: None,
        queue: form.text("queue"),
        kind: form.text("kind"),
        batch: form.optional("batch"),
        error: form.text("error"),
        since: form.optional::<Moment>("since").map(|at| at.0),
        asked: parsed(form),
    };
    form.finish()?;
    let Some(Moment(until)) = until else { return Err(ApiError::internal("a form without a fault lacks its time")) };
    let read = groups::read(caller, view, &wanted.filter(caller).await?).await?;
    let own = |job: &JobView| fingerprint(job).id() == id && failed_at(job) <= until;
    Ok((read.jobs.into_iter().filter(own).collect(), change, next))
}

/// The query that the list had.
fn parsed(form: &mut Form) -> Asked {
    let text = form.text("q").unwrap_or_default();
    parse(List::DeadLetters, &text).unwrap_or_else(|wrong| {
        form.fault("q", wrong.to_string());
        Asked::default()
    })
}

async fn redrive_group(
    caller: Allowed<perm::JobsControl>,
    view: View,
    Path(id): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let (dead, change, next) = of_error(&caller, &view, &id, &mut form).await?;
    let report = bring_back(&caller, &change, dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &[], "brought back")))
}

async fn discard_group(
    caller: Allowed<perm::JobsDelete>,
    view: View,
    Path(id): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    form.confirm("discard");
    let (dead, change, next) = of_error(&caller, &view, &id, &mut form).await?;
    let report = delete(&caller, &change, &dead).await?;
    Ok(Redirect::to(next).saying(said(&report, &[], "discarded")))
}
