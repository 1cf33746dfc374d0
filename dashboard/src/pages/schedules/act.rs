//! Schedules: run now, or one slot; enable, disable.

use crate::api::schedules::change::switch;
use crate::api::schedules::run::{Started, start};
use crate::gate::{Allowed, Caller, Path, Result, perm};
use crate::pages::answer::Redirect;
use crate::pages::flash::Flash;
use crate::pages::form::Form;
use crate::pages::parts::selection::back;

/// Where the person was, or the schedule's own page.
fn way_back(form: &mut Form, name: &str) -> String {
    match back(form) {
        next if next == "/" => format!("/schedules/{name}"),
        next => next,
    }
}

pub(super) async fn run(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    mut form: Form,
) -> Result<Redirect> {
    let (slot, change, next) = (form.text("slot"), form.change(), way_back(&mut form, &name));
    form.finish()?;
    let Started::Row(row) = start(&caller, &name, slot.as_deref(), &change).await? else {
        return Ok(Redirect::to(next));
    };
    let run = match (row.batch, row.job) {
        (Some(batch), _) => format!("the batch {batch}"),
        (None, Some(job)) => format!("the job {job}"),
        (None, None) => "nothing".to_owned(),
    };
    let which = slot.map_or(String::new(), |slot| format!(" for the slot {slot}"));
    Ok(Redirect::to(next).saying(Flash::done(format!("{name} has started {run}{which}."))))
}

pub(super) async fn enable(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Redirect> {
    switched(&caller, name, form, true).await
}

pub(super) async fn disable(
    caller: Allowed<perm::SchedulesControl>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Redirect> {
    switched(&caller, name, form, false).await
}

async fn switched(caller: &Caller, name: String, mut form: Form, enabled: bool) -> Result<Redirect> {
    let (change, next) = (form.change(), way_back(&mut form, &name));
    form.finish()?;
    let affected = switch(caller, &name, &change, enabled).await?;
    let word = if enabled { "enabled" } else { "disabled" };
    let flash = match (affected, enabled) {
        (0, _) => Flash::careful(format!("{name} was {word} already.")),
        (_, true) => Flash::done(format!("{name} runs by itself again.")),
        (_, false) => Flash::done(format!("{name} does not run by itself any more. What runs is finished.")),
    };
    Ok(Redirect::to(next).saying(flash))
}
