//! A form that enqueues a job. What is wrong stands at its field, as the kind of the job says.

use gristmill_core::duration::{self, Span};
use gristmill_core::job::Priority;
use gristmill_service::JobRequest;
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use crate::api::jobs::request::job_of;
use crate::gate::{Allowed, ApiError, Caller, Change, Moment, Parameters, Params, Query, Result, Time, perm};
use crate::pages::answer::Sent;
use crate::pages::flash::Flash;
use crate::pages::parts::copies::copies;
use crate::pages::parts::field::{other_faults, required, text};
use crate::pages::parts::icon::Icon;
use crate::pages::parts::panel::{head, note};
use crate::pages::parts::state::Tone;
use crate::pages::{Form, Head, Page, Paged, Redirect, View};

/// What the form begins with.
pub(super) struct Wanted {
    kind: Option<String>,
    queue: Option<String>,
}

impl Parameters for Wanted {
    fn read(query: &mut Query) -> Self {
        Self {
            kind: query.one("kind", "The kind that the form begins with"),
            queue: query.one("queue", "The queue that the form begins with"),
        }
    }
}

pub(super) async fn ask(caller: Allowed<perm::JobsEnqueue>, view: View, Params(wanted): Params<Wanted>) -> Paged {
    let (kind, queue) = (wanted.kind.unwrap_or_default(), wanted.queue.unwrap_or_default());
    let once = Uuid::new_v4().to_string();
    Ok(page(&caller, &view, &Form::filled(&[("kind", &kind), ("queue", &queue), ("once", &once)]), None))
}

fn page(caller: &Caller, view: &View, form: &Form, would: Option<Markup>) -> Page {
    let about = "What is left empty is as the settings of its kind say.";
    let main = html! {
        (head("Enqueue a job", about, html! {}))
        section class="panel" { (fields(form, would)) }
        (copies("gristmill enqueue KIND --payload '{}'", "/api/v1/jobs"))
    };
    view.page(caller, Head::new("Enqueue a job", "/jobs"), main)
}

fn fields(form: &Form, would: Option<Markup>) -> Markup {
    let priorities = Priority::ALL.map(|priority| (priority.as_str(), priority.as_str()));
    let priorities: Vec<(&str, &str)> = std::iter::once(("", "as its kind says")).chain(priorities).collect();
    html! {
        form method="post" action="/jobs/new" class="stack" {
            (other_faults(form))
            @if let Some(would) = would { (would) }
            input type="hidden" name="once" value=(form.given("once"));
            (required("kind", "Kind", "What it does: email, webhook, exec, http, or a kind of your own").show(form))
            (text("payload", "Payload", "Its input, as JSON").show_lines(form, 6))
            (text("queue", "Queue", "On which it waits").show(form))
            (text("priority", "Priority", "Among those that wait").show_choice(form, &priorities))
            (text("at", "Start", "After so long, such as 5m, or at an instant, such as 2030-01-31T08:00:00Z").show(form))
            (text("job_key", "Key", "Whose turn and limit it falls under, such as a customer").show(form))
            (text("unique", "Unique key", "Only one job with this key at a time").show(form))
            (text("max_attempts", "Attempts", "How many it has").show(form))
            (text("timeout", "Timeout", "How long one attempt may take, such as 90s").show(form))
            (text("reason", "Reason", "For those who look later").show(form))
            div class="acts" {
                button class="primary" name="do" value="enqueue" { "Enqueue" }
                button name="do" value="check" { "Only check" }
            }
        }
    }
}

/// When it starts: after a while, or at an instant.
fn start(form: &mut Form, request: &mut JobRequest) {
    let Some(text) = form.text("at") else { return };
    match (duration::parse(&text), text.parse::<Moment>()) {
        (Ok(after), _) => request.after = Some(Span(after)),
        (_, Ok(Moment(at))) => request.at = Some(at),
        _ => form.fault("at", "is neither a time such as `5m` nor an instant such as `2030-01-31T08:00:00Z`"),
    }
}

fn read(form: &mut Form) -> JobRequest {
    let payload = form.text("payload").map_or(Ok(Value::Null), |text| gristmill_core::json::kept(&text));
    let payload = payload.unwrap_or_else(|wrong| {
        form.fault("payload", format!("is no JSON: {wrong}"));
        Value::Null
    });
    let mut request = JobRequest {
        kind: form.required("kind").unwrap_or_default(),
        payload,
        queue: form.text("queue"),
        priority: form.optional("priority"),
        key: form.text("job_key"),
        unique: form.text("unique"),
        idempotency_key: form.text("once").map(|once| format!("page/{once}")),
        max_attempts: form.optional("max_attempts"),
        timeout: form.optional::<Time>("timeout").map(|time| Span(time.0)),
        ..JobRequest::default()
    };
    start(form, &mut request);
    request
}

pub(super) async fn enqueue(caller: Allowed<perm::JobsEnqueue>, view: View, mut form: Form) -> Result<Sent> {
    let (change, request) = (form.change(), read(&mut form));
    let rehearsal = form.text("do").as_deref() == Some("check");
    let _ = form.finish();
    let again = |form: &Form| Ok(Sent::Again(Box::new(page(&caller, &view, form, None).refused())));
    if form.is_faulty() {
        return again(&form);
    }
    let job = match job_of(&caller, request) {
        Ok(job) => job,
        Err(faults) => {
            form.take(ApiError::invalid(faults))?;
            return again(&form);
        }
    };
    match caller.service().enqueue(&caller.order(&Change { dry_run: rehearsal, ..change }), job).await {
        Ok(Some(job)) => {
            let said = if job.created { "The job is enqueued." } else { "Such a job was there already: this is it." };
            Ok(Sent::Done(Redirect::to(format!("/jobs/{}", job.id)).saying(Flash::done(said))))
        }
        Ok(None) => {
            let fine = note(Tone::Good, Icon::Done, html! { "Nothing is wrong with it. Nothing was enqueued." });
            Ok(Sent::Again(Box::new(page(&caller, &view, &form, Some(fine)))))
        }
        Err(error) => {
            form.refuse(error.into())?;
            again(&form)
        }
    }
}
