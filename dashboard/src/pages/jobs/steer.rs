//! What can be done to a job: the buttons, and what they do.

use gristmill_core::access::Permission;
use gristmill_core::id::JobId;
use gristmill_core::job::{JobState, Priority, RunAt};
use gristmill_core::job_edit::JobEdit;
use gristmill_store::{ControlReport, JobView};
use maud::{Markup, html};

use crate::api::jobs::edit::edited;
use crate::api::jobs::find;
use crate::gate::{Allowed, Caller, Moment, Path, Result, Time, perm};
use crate::pages::answer::local;
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::field::{required, text};
use crate::pages::{Form, Redirect};

/// What the caller may do to a job as it is.
pub(super) fn actions(caller: &Caller, job: &JobView, back: &str) -> Vec<Action<'static>> {
    let to = |verb: &str| format!("/jobs/{}/{verb}", job.id);
    let mut all = Vec::new();
    if caller.may(Permission::JobsControl) {
        match job.state {
            JobState::Retry | JobState::Scheduled => {
                all.push(Action::light("retry", to("retry"), "Run now", "It waits no longer for its time").key('r'));
            }
            JobState::Dead => {
                all.push(Action::confirmed("redrive", to("redrive"), "Redrive", "It gets further attempts.").key('r'));
            }
            JobState::Queued | JobState::Running | JobState::Done | JobState::Cancelled => {}
        }
        if !job.state.is_final() {
            all.push(Action::confirmed("cancel", to("cancel"), "Cancel", CANCEL).destroying().key('c'));
        }
    }
    let splits = !matches!(job.state, JobState::Running | JobState::Done | JobState::Cancelled);
    if job.seq.is_some() && job.items > 1 && splits && caller.may(Permission::BatchesControl) {
        all.push(Action::confirmed(
            "split",
            to("split"),
            "Split",
            "Two halves take its place, so that what fails is narrowed down.",
        ));
    }
    let way_back = html! { input type="hidden" name="next" value=(back); };
    all.into_iter().map(|action| action.with(way_back.clone())).collect()
}

const CANCEL: &str = "It does not run any more. If it runs now, it is stopped. Items of a chunk count as cancelled.";

/// The way back that a form names, or the page of its job.
fn back(form: &mut Form, job: JobId) -> String {
    form.text("next").map_or_else(|| format!("/jobs/{job}"), |next| local(&next).to_owned())
}

/// What was done, or that nothing was: another person may have been faster.
fn said(done: &str, report: &ControlReport) -> Flash {
    if report.affected > 0 { Flash::done(done) } else { Flash::careful("Nothing was left to do: it is as it was.") }
}

pub(super) async fn retry(
    caller: Allowed<perm::JobsControl>,
    Path(job): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, job));
    form.finish()?;
    let report = caller.service().retry_job(&caller.order(&change), job).await?;
    Ok(Redirect::to(back).saying(said("It may run now.", &report)))
}

/// The form that changes a job, where the caller may change it as it is.
pub(super) fn editor(caller: &Caller, job: &JobView, back: &str) -> Markup {
    let waits = matches!(job.state, JobState::Queued | JobState::Scheduled | JobState::Retry);
    if !waits || !caller.may(Permission::JobsControl) {
        return Markup::default();
    }
    let form = Form::filled(&[("queue", &job.queue), ("priority", job.priority.as_str())]);
    let priorities: Vec<(&str, &str)> = Priority::ALL.map(|one| (one.as_str(), one.as_str())).to_vec();
    let fields = html! {
        input type="hidden" name="next" value=(back);
        input type="hidden" name="edition" value=(job.edition());
        (required("queue", "Queue", "Where it waits").show(&form))
        (required("priority", "Priority", "What goes first on its queue").show_choice(&form, &priorities))
        (text("start", "Start", "After a time such as 5m, or at an instant such as 2030-01-31T08:00:00Z").show(&form))
    };
    Action::confirmed("edit", format!("/jobs/{}/edit", job.id), "Edit", EDIT).key('e').with(fields).form()
}

const EDIT: &str = "What it was before stays in the audit.";

/// When a job is to start: a time from now, or an instant.
fn start(form: &mut Form) -> Option<RunAt> {
    let text = form.text("start")?;
    let after = text.parse::<Time>().map(|time| RunAt::In(time.0));
    match after.or_else(|_| text.parse::<Moment>().map(|moment| RunAt::At(moment.0))) {
        Ok(run) => Some(run),
        Err(wrong) => {
            form.fault("start", wrong);
            None
        }
    }
}

pub(super) async fn edit(
    caller: Allowed<perm::JobsControl>,
    Path(id): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, id));
    let (edition, run) = (form.text("edition"), start(&mut form));
    let (priority, queue) = (form.required("priority"), form.required("queue"));
    form.finish()?;
    let job = find(&caller, id).await?;
    let edit = JobEdit { priority, queue, run, payload: None, edition };
    let report = edited(&caller, &change, &job, &edit).await?;
    Ok(Redirect::to(back).saying(said("It is changed.", &report)))
}

pub(super) async fn cancel(
    caller: Allowed<perm::JobsControl>,
    Path(job): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, job));
    form.finish()?;
    let report = caller.service().cancel_job(&caller.order(&change), job).await?;
    Ok(Redirect::to(back).saying(said("It is cancelled.", &report)))
}

pub(super) async fn redrive(
    caller: Allowed<perm::JobsControl>,
    Path(job): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, job));
    form.finish()?;
    // A job of another tenant is none.
    find(&caller, job).await?;
    let report = caller.service().redrive_dead(&caller.order(&change), &[job]).await?;
    Ok(Redirect::to(back).saying(said("It has further attempts, and is queued.", &report)))
}

pub(super) async fn split(
    caller: Allowed<perm::BatchesControl>,
    Path(job): Path<JobId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, job));
    form.finish()?;
    caller.service().split_chunk(&caller.order(&change), job).await?;
    Ok(Redirect::to(back).saying(Flash::done("Two halves have taken its place.")))
}
