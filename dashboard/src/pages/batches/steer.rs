//! What can be done to a batch: the buttons, and what they do.

use gristmill_core::access::Permission;
use gristmill_core::batch::{BatchState, FailureBudget};
use gristmill_core::id::BatchId;
use gristmill_store::{BatchView, ControlReport, Restart};
use maud::html;

use crate::api::batches::find;
use crate::gate::{Allowed, Caller, Path, Result, perm};
use crate::pages::answer::local;
use crate::pages::flash::Flash;
use crate::pages::parts::action::Action;
use crate::pages::parts::number::counted;
use crate::pages::{Form, Redirect};

/// What the caller may do to a batch as it is. In a list only what is often done; `back` is where the caller is.
pub(super) fn actions(caller: &Caller, batch: &BatchView, back: &str, in_list: bool) -> Vec<Action<'static>> {
    let id = |verb: &str| if in_list { format!("{verb}-{}", batch.id) } else { verb.to_owned() };
    let to = |verb: &str| format!("/batches/{}/{verb}", batch.id);
    let way_back = html! { input type="hidden" name="next" value=(back); };
    let (ended, mut all) = (batch.state.is_final(), Vec::new());
    if caller.may(Permission::BatchesControl) && !ended {
        let keyed = |action: Action<'static>, key: char| if in_list { action } else { action.key(key) };
        all.push(match batch.paused {
            true => keyed(Action::light(id("resume"), to("resume"), "Resume", "Let its chunks be claimed again"), 's'),
            false => keyed(Action::confirmed(id("pause"), to("pause"), "Pause", PAUSE), 's'),
        });
        all.push(Action::typed(id("cancel"), to("cancel"), "Cancel", CANCEL, batch.name.clone()));
    }
    let restarts = matches!(batch.state, BatchState::Halted | BatchState::Cancelled);
    if caller.may(Permission::BatchesControl) && restarts && !in_list {
        let fields = html! {
            label for="budget" { "Failure budget " span class="muted" { "(empty keeps " (batch.failure_budget) ")" } }
            input id="budget" name="failure_budget" autocomplete="off";
            label { input type="checkbox" name="dead" value="yes"; " Its dead chunks too" }
        };
        all.push(Action::confirmed(id("restart"), to("restart"), "Restart", RESTART).with(fields));
    }
    if caller.may(Permission::BatchesDelete) && ended && !in_list {
        all.push(Action::typed(id("delete"), to("delete"), "Delete", DELETE, batch.name.clone()));
    }
    let with_way_back = |action: Action<'static>| {
        let fields = html! { (way_back) (action.fields) };
        action.with(fields)
    };
    all.into_iter().map(with_way_back).collect()
}

const PAUSE: &str = "No further chunk of it is claimed; those that run are finished. It can be resumed.";
const CANCEL: &str = "What runs is stopped, and what waits never runs. Its finished chunks keep their results.";
const RESTART: &str = "Its cancelled chunks run in a new generation. What is done is not done again.";
const DELETE: &str = "The batch goes, with its chunks, results and quarantined items. The files that it wrote stay.";

/// The way back that a form names, or the page of its batch.
fn back(form: &mut Form, batch: BatchId) -> String {
    form.text("next").map_or_else(|| format!("/batches/{batch}"), |next| local(&next).to_owned())
}

fn said(verb: &str, report: &ControlReport) -> Flash {
    let chunks = counted(report.affected, "chunk", "chunks");
    if report.affected == 0 && report.generation.is_none() {
        return Flash::careful("Nothing was left to do: it is as it was.");
    }
    let generation = report.generation.map(|number| format!(", in generation {number}")).unwrap_or_default();
    Flash::done(format!("{verb}: {chunks}{generation}."))
}

pub(super) async fn pause(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, batch));
    form.finish()?;
    caller.service().pause_batch(&caller.order(&change), batch).await?;
    Ok(Redirect::to(back).saying(Flash::done("The batch is paused. What runs is finished.")))
}

pub(super) async fn resume(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, batch));
    form.finish()?;
    caller.service().resume_batch(&caller.order(&change), batch).await?;
    Ok(Redirect::to(back).saying(Flash::done("The batch goes on.")))
}

pub(super) async fn cancel(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, batch));
    form.confirm(&find(&caller, batch).await?.name);
    form.finish()?;
    let report = caller.service().cancel_batch(&caller.order(&change), batch).await?;
    Ok(Redirect::to(back).saying(said("Cancelled", &report)))
}

pub(super) async fn restart(
    caller: Allowed<perm::BatchesControl>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let (change, back) = (form.change(), back(&mut form, batch));
    let (failure_budget, dead) = (form.optional::<FailureBudget>("failure_budget"), form.flag("dead"));
    form.finish()?;
    let restart = Restart { batch, failure_budget, dead };
    let report = caller.service().restart_batch(&caller.order(&change), &restart).await?;
    Ok(Redirect::to(back).saying(said("Restarted", &report)))
}

pub(super) async fn delete(
    caller: Allowed<perm::BatchesDelete>,
    Path(batch): Path<BatchId>,
    mut form: Form,
) -> Result<Redirect> {
    let change = form.change();
    form.text("next");
    form.confirm(&find(&caller, batch).await?.name);
    form.finish()?;
    let options = caller.api().program().pruner_options();
    let (report, _) = caller.service().delete_batches(&caller.order(&change), &[batch], options, |_| {}).await?;
    Ok(Redirect::to("/batches").saying(said("Deleted", &report)))
}
